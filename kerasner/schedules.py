"""How the learning rate goes during training."""

import math
from collections.abc import Sequence

import keras

from kerasner.config import check_number
from kerasner.errors import ConfigError, nearest

_DECAYS = ("no", "linear", "cosine", "exponential", "polynomial", "onecycle", "trapezoid")
_FROM_PAIR = ("exponential", "onecycle", "trapezoid")  # to 0 these would make no sense


class LearningRate(keras.callbacks.Callback):
    """Sets the learning rate of the optimizer: before each epoch, and before a batch if it changes.

    With p for the part of the decay that is done, from 0 to 1, a named decay goes from `start` to
    `end`:

    - "no": start;
    - "linear": start + p * (end - start);
    - "cosine": end + (start - end) * (1 + cos(pi * p)) / 2;
    - "exponential": start * (end / start) ** p;
    - ["polynomial", K]: end + (start - end) * (1 - p) ** K;
    - "onecycle": up to the end in the first half and back to the start in the second;
    - "trapezoid": up to the end in the first tenth, back to the start in the last four.

    A number instead of a name: the rate of epoch e, counted from 0, is start / (1 + decay * e).

    The rate follows from the numbers of epoch and batch alone, but for `drops`, so that a training
    run that is taken up again goes on as if it had not stopped.

    Args:
        learning_rate: start, more than 0, or [start, end], one of them more than 0; without an end
            the decay goes to 0.
        decay: a number, or a name as above.
        decay_epochs, decay_batches: length of a named decay, in one unit or the other, which is
            also the time between two changes; without either it is all `epochs`.
        drop_patience: validations without improvement after which the rate is to be divided; 0:
            never. Who validates counts them, and raises `drops`.
        drop_div: what it is divided by.
        steps_per_epoch: batches of an epoch.
        epochs: of the whole training.

    Attributes:
        drop_patience: as given.
        drops: how often the rate has been divided by `drop_div`. It may be changed at any time.

    Example: `model.fit(..., callbacks=[LearningRate([0.01, 0.0001], "exponential", epochs=20)])`

    References:
        Smith (2018): A disciplined approach to neural network hyper-parameters.
    """

    def __init__(
        self,
        learning_rate: float | Sequence[float],
        decay: float | str | Sequence = "no",
        decay_epochs: int = 0,
        decay_batches: int = 0,
        drop_patience: int = 0,
        drop_div: float = 10.0,
        steps_per_epoch: int = 1,
        epochs: int = 1,
    ):
        super().__init__()
        self._start, self._end = _range(learning_rate)
        self._decay, self._power = _decay(decay)
        self._check_end()
        for name, value, least in (
            ("learning_rate_decay_epochs", decay_epochs, 0),
            ("learning_rate_decay_batches", decay_batches, 0),
            ("learning_rate_drop_patience", drop_patience, 0),
            ("steps_per_epoch", steps_per_epoch, 1),
            ("epochs", epochs, 1),
        ):
            check_number(name, value, least, whole=True)
        check_number("learning_rate_drop_div", drop_div, 1)
        if decay_epochs and decay_batches:
            raise ConfigError(
                f"learning_rate_decay_epochs {decay_epochs} and learning_rate_decay_batches "
                f"{decay_batches}: expected one of them"
            )
        self._batches = decay_batches
        self._epochs = decay_epochs or epochs
        self._steps_per_epoch = steps_per_epoch
        self._drop_div = drop_div
        self._epoch = 0
        self.drop_patience = drop_patience
        self.drops = 0

    def rate(self, epoch: int, batch: int = 0) -> float:
        """The rate at a batch of an epoch, both counted from 0."""
        if self._batches:
            part = (epoch * self._steps_per_epoch + batch) / self._batches
        else:
            part = epoch / self._epochs
        return self._decayed(epoch, min(part, 1.0)) / self._drop_div**self.drops

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self._set(self.rate(epoch))

    def on_train_batch_begin(self, batch, logs=None):
        rate = self.rate(self._epoch, batch)
        if rate != self._current:
            self._set(rate)

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["learning_rate"] = self._current

    def _set(self, rate: float) -> None:
        self._current = rate
        self.model.optimizer.learning_rate = rate

    def _decayed(self, epoch: int, part: float) -> float:
        start, end = self._start, self._end
        if not isinstance(self._decay, str):
            return start / (1 + self._decay * epoch)
        return {
            "no": lambda: start,
            "linear": lambda: start + part * (end - start),
            "cosine": lambda: end + (start - end) * (1 + math.cos(math.pi * part)) / 2,
            "exponential": lambda: start * (end / start) ** part,
            "polynomial": lambda: end + (start - end) * (1 - part) ** self._power,
            "onecycle": lambda: start + (end - start) * (1 - abs(2 * part - 1)),
            "trapezoid": lambda: start + (end - start) * min(10 * part, 1, 2.5 * (1 - part)),
        }[self._decay]()

    def _check_end(self) -> None:
        given = self._end is not None
        if not given and self._decay in _FROM_PAIR:
            raise ConfigError(
                f"learning_rate {self._start}: expected [start, end] for the decay {self._decay!r}"
            )
        if given and (self._decay == "no" or not isinstance(self._decay, str)):
            raise ConfigError(
                f"learning_rate {[self._start, self._end]}: expected a number without a named "
                f"decay, received the decay {self._decay!r}"
            )
        self._end = self._end if given else 0.0
        if self._decay == "exponential" and not min(self._start, self._end) > 0:
            raise ConfigError(
                f"learning_rate {[self._start, self._end]}: expected numbers above 0 for the "
                "decay 'exponential'"
            )


def _range(learning_rate: float | Sequence[float]) -> tuple[float, float | None]:
    ends = learning_rate if isinstance(learning_rate, (list, tuple)) else (learning_rate, None)
    if len(ends) != 2:
        raise ConfigError(
            f"learning_rate: expected a number or [start, end], received {learning_rate!r:.200}"
        )
    for value in ends[:1] if ends[1] is None else ends:
        check_number("learning_rate", value, 0)
    if not any(ends):
        raise ConfigError(f"learning_rate {learning_rate!r}: expected more than 0")
    return ends[0], ends[1]


def _decay(decay: float | str | Sequence) -> tuple[float | str, float]:
    """A decay -> a number, or its name, and the power of a polynomial."""
    name, power = decay, None
    if isinstance(decay, (list, tuple)) and len(decay) == 2:
        name, power = decay
        check_number("learning_rate_decay: power", power, 0)
    if not isinstance(name, str):
        check_number("learning_rate_decay", name, 0)
        return name, 1.0
    known = name.lower().replace("1", "one")
    if known not in _DECAYS:
        raise ConfigError(
            f"learning_rate_decay: unknown decay {name!r}; {nearest(name, _DECAYS)} "
            "A number is good as well"
        )
    if (known == "polynomial") != (power is not None):
        raise ConfigError(
            f"learning_rate_decay: expected a name or ['polynomial', power], received {decay!r}"
        )
    return known, 1.0 if power is None else power
