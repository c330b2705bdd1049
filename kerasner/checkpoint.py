"""Choosing the best weights, averaging them, and resuming a training run that was killed."""

import contextlib
import functools
import hashlib
import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasner import storage
from kerasner._compat import mean_loss
from kerasner.data import pipeline
from kerasner.errors import ArchiveError, ConfigError
from kerasner.evaluation import Metric, Scorer, event
from kerasner.schedules import LearningRate
from kerasner.train_settings import TrainSettings

_LOG = logging.getLogger(__name__)
_AVERAGING_STEPS = 10  # the average is renewed every so many batches
_STATE_FILE = "state.npz"
_COUNTERS = (
    "epochs_done",
    "batches_seen",
    "examples_seen",
    "since_score",  # batches since the last validation
    "impatience",  # validations without a better one
    "plateau",  # the same, since the learning rate was dropped
    "drops",  # of the learning rate
)

Weights = Mapping[str, np.ndarray]
Examples = Callable[[str], list[Any]]


def fingerprint(config: Mapping[str, Any], data: Any) -> str:
    """What a run may not change if it is to be resumed: all but how long it trains.

    Args:
        config: resolved.
        data: what is trained and measured on, as JSON knows it.
    """
    kept = (
        "batch_size", "seed", "train_on_valid", "letter_case", "typography", "metrics",
        "metric_optimization",
    )  # fmt: skip
    train = {k: v for k, v in config.get("train", {}).items() if k in kept}
    # The state numbers the variables of the optimizer as this version of Keras does.
    content = [keras.__version__, {**config, "train": train}, data]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Progress(keras.callbacks.Callback):
    """Validates, keeps the best weights, stops, tells, and saves its state after each epoch.

    The weights that are measured and kept are a moving average over the batches (Polyak averaging).
    The state is one file, written beside its place and renamed: a killed run loses its last epoch
    at most. Weights are measured before the first epoch and, where the last validation lies
    further back, at the end. Without validation the last weights are the best.

    Args:
        folder: for the state.
        run: fingerprint of the run; a state of another run is not taken up.
        settings: how often to validate, and when to stop.
        metrics: the first one chooses the best weights.
        learnt: sentences that are trained on, one an element; scored for the log.
        validation: batches of (inputs, tags); None: there is no validation.
        schedule: whose `drops` grows after `drop_patience` validations without a better one.
        moving_average: decay of the average; 0: the weights themselves.
        tell: called with {"train": ...} or {"valid": ...}, DeepPavlov's reports.
        examples: samples of a part, for the reports.
        starts_trained: whether the weights of the start may turn out the best. Random ones are
            worse than those of any epoch, whatever their score.
    """

    def __init__(
        self,
        folder: Path,
        run: str,
        settings: TrainSettings,
        metrics: Sequence[Metric],
        learnt: tf.data.Dataset,
        validation: tf.data.Dataset | None,
        schedule: LearningRate,
        moving_average: float,
        tell: Callable[[dict[str, Any]], None] = lambda event: None,
        examples: Examples = lambda part: [],
        starts_trained: bool = False,
    ):
        super().__init__()
        self._folder = folder
        self._run = run
        self._settings = settings
        self._metrics = list(metrics)
        self._learnt = learnt
        self._validation = validation
        self._schedule = schedule
        self._decay = moving_average
        self._tell = tell
        self._starts_trained = starts_trained
        self._examples = examples
        self._sign = 1 if settings.metric_optimization == "maximize" else -1
        self.best = -self._sign * math.inf
        self.has_learnt = False  # whether the best weights are others than those of the start
        self._counts = dict.fromkeys(_COUNTERS, 0)
        self._best_weights: Weights = {}
        self._started = time.monotonic()
        self._since_average = 0  # batches
        self._in_epoch = False
        self._examples_reported = 0

    @property
    def finished(self) -> bool:
        """Whether patience has run out, or the batches."""
        return self._is_impatient or 0 < self._settings.max_batches <= self._counts["batches_seen"]

    @property
    def _is_impatient(self) -> bool:
        return 0 < self._settings.validation_patience <= self._counts["impatience"]

    @property
    def epochs_done(self) -> int:
        """Whole epochs, those of an earlier run included."""
        return self._counts["epochs_done"]

    def prepare(self, model, first_epoch: int = 0) -> None:
        """Takes up the state of an earlier run of a compiled model, if there is one.

        Args:
            model: compiled.
            first_epoch: number of epochs that count as done where there is no state.
        """
        self._network = model
        self._scorer = Scorer(model, self._metrics)
        self._optimizer = model.optimizer
        self._optimizer.build(model.trainable_variables)
        self._weights = storage.layer_weights(model)
        # Of dropout in Keras 3. Keras 2 keeps its own where it cannot be had.
        self._random = [v for v in model.variables if "seed_generator_state" in v.name]
        self._averages = {
            name: tf.Variable(tf.convert_to_tensor(w)) for name, w in self._weights.items()
        }

        @tf.function
        def renew_averages(share):
            for name, average in self._averages.items():
                average.assign_add(share * (tf.convert_to_tensor(self._weights[name]) - average))

        self._renew_averages = renew_averages
        self._counts["epochs_done"] = first_epoch
        self._resume()

    def on_train_begin(self, logs=None):
        self._started = time.monotonic()
        self._examples_reported = self._counts["examples_seen"]
        if self._validation is not None and not self._counts["batches_seen"]:
            self._validate()

    def on_train_batch_end(self, batch, logs=None):
        self._counts["batches_seen"] += 1
        self._counts["since_score"] += 1
        self._since_average += 1
        self._in_epoch = True
        if self._since_average == _AVERAGING_STEPS:
            self._average()
        if self._is_due(self._settings.log_every_n_batches, "batches_seen"):
            seen, reported = self._examples_seen(), self._examples_reported
            # As many sentences as were trained on since the last time.
            number = min(seen - reported, self._n_sentences)
            self._report_training(logs, reported % self._n_sentences, number)
            self._examples_reported = seen
        if self._validation is not None:
            if self._is_due(self._settings.val_every_n_batches, "batches_seen"):
                self._validate()
        if self.finished:
            self._network.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        if self._network.stop_training:
            return  # in the midst of it
        self._counts["epochs_done"] = epoch + 1
        self._counts["examples_seen"] += self._examples_of_epoch()
        self._in_epoch = False
        if self._is_due(self._settings.log_every_n_epochs, "epochs_done"):
            self._report_training(logs, 0, self._n_sentences)
        if self._validation is None:
            self._keep()
        elif self._is_due(self._settings.val_every_n_epochs, "epochs_done"):
            score = self._validate()
            if logs is not None:
                logs[f"val_{self._metrics[0].name}"] = score
        self._save()
        if self.finished:
            self._network.stop_training = True

    def on_train_end(self, logs=None):
        if self._counts["since_score"]:
            self._validate() if self._validation is not None else self._keep()
            self._save()

    def restore_best(self) -> None:
        """Gives the model the best weights."""
        self._assign(self._best_weights)

    def clear(self) -> None:
        """Removes the state."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _is_due(self, every: int, counter: str) -> bool:
        return every > 0 and self._counts[counter] % every == 0

    def _validate(self) -> float:
        """Scores the average of the weights, unless no batch came since the last time."""
        if self._best_weights and not self._counts["since_score"]:
            return self._score
        self._average()
        with self._averaged() as averaged:
            sentences, scores = self._scorer(self._validation)
            examples = self._shown("valid")
        first = self._metrics[0].name
        score = self._score = scores[first]
        has_batches = self._counts["batches_seen"] > 0
        is_first = not self._best_weights or (
            has_batches and not self.has_learnt and not self._starts_trained
        )
        if is_first or self._sign * score > self._sign * self.best:
            self.best, self._best_weights = score, averaged
            self.has_learnt = has_batches
            self._counts |= {"impatience": 0, "plateau": 0}
            _LOG.info("New best %s of %.4f", first, score)
        else:
            self._counts["impatience"] += 1
            self._counts["plateau"] += 1
            _LOG.info("Did not improve on the %s of %.4f", first, self.best)
        if 0 < self._schedule.drop_patience <= self._counts["plateau"]:
            self._schedule.drops += 1
            self._counts["plateau"] = 0
        self._counts["since_score"] = 0
        patience = {
            "impatience": self._counts["impatience"],
            "patience_limit": self._settings.validation_patience,
        }
        self._report("valid", sentences, scores, patience, examples)
        if self._is_impatient:
            _LOG.info("Ran out of patience")
            self._network.stop_training = True
        return score

    def _keep(self) -> None:
        """Without validation the last weights are the best."""
        with self._averaged() as averaged:
            self._best_weights = averaged
        self.has_learnt = True
        self._counts["since_score"] = 0

    def _report_training(self, logs: Mapping[str, Any] | None, first: int, number: int) -> None:
        """Scores so many sentences of the training part, from the first one on and round again."""
        window = self._learnt.repeat().skip(first).take(number)
        self._average()
        with self._averaged():
            sentences, scores = self._scorer(pipeline.evaluation_batches(window))
            examples = self._shown("train")
        momentum = getattr(self._optimizer, "momentum", getattr(self._optimizer, "beta_1", 0.0))
        more = {
            "learning_rate": _plain(self._optimizer.learning_rate),
            "momentum": _plain(momentum),
            "loss": _plain((logs or {}).get("loss", math.nan)),
        }
        self._report("train", sentences, scores, more, examples)

    def _report(
        self,
        part: str,
        sentences: int,
        scores: Mapping[str, float],
        more: Mapping[str, Any],
        examples: list[Any],
    ) -> None:
        content = event(sentences, scores, time.monotonic() - self._started)
        content["epochs_done"] = self.epochs_done
        content["batches_seen"] = self._counts["batches_seen"]
        content["train_examples_seen"] = self._examples_seen()
        content |= more
        if examples:
            content["examples"] = examples
        self._tell({part: content})

    def _shown(self, part: str) -> list[Any]:
        return self._examples(part) if self._settings.show_examples else []

    @functools.cached_property
    def _n_sentences(self) -> int:
        return int(self._learnt.reduce(0, lambda number, _: number + 1))

    def _examples_seen(self) -> int:
        return self._counts["examples_seen"] + self._examples_of_epoch()

    def _examples_of_epoch(self) -> int:
        """Sentences of this epoch so far: what Keras's mean of the loss is a mean of."""
        if not self._in_epoch:
            return 0
        mean = mean_loss(self._network)
        return 0 if mean is None else int(np.asarray(mean.count))

    def _average(self) -> None:
        """Takes the batches since the last time into the average."""
        if self._decay and self._since_average:
            # A short memory at first, so that the untrained weights are soon forgotten.
            batches = self._counts["batches_seen"]
            decay = min(self._decay, (1 + batches) / (10 + batches))
            self._renew_averages(tf.constant(1 - decay**self._since_average))
        self._since_average = 0

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[Weights]:
        """The model has the averaged weights; these are what it yields."""
        current = self._current()
        averaged = current
        if self._decay:
            averaged = {name: average.numpy() for name, average in self._averages.items()}
        self._assign(averaged)
        try:
            yield averaged
        finally:
            self._assign(current)

    def _current(self) -> Weights:
        return {name: np.array(np.asarray(weight)) for name, weight in self._weights.items()}

    def _assign(self, values: Weights) -> None:
        for name, value in values.items():
            self._weights[name].assign(value)

    def _save(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot write {self._folder}: {error.strerror}") from error
        groups = {
            "current": self._current(),
            "averaged": {name: average.numpy() for name, average in self._averages.items()},
            "best": self._best_weights,
            "optimizer": {str(i): np.asarray(v) for i, v in enumerate(self._optimizer.variables)},
            "random": {str(i): np.asarray(v) for i, v in enumerate(self._random)},
        }
        state = {
            f"{g}:{name}": value for g, values in groups.items() for name, value in values.items()
        }
        counts = self._counts | {"drops": self._schedule.drops}
        state |= {f"count:{name}": np.array(counts[name]) for name in _COUNTERS}
        state |= {"run": np.array(self._run), "score": np.array(self.best)}
        storage.save_weights(self._folder / _STATE_FILE, state)

    def _resume(self) -> None:
        path = self._folder / _STATE_FILE
        if not path.exists():
            return
        try:
            state = storage.load_weights(path)
        except ArchiveError as error:
            _LOG.warning("%s; training starts anew", error)
            return
        variables = {"optimizer": list(self._optimizer.variables), "random": self._random}
        expected = {
            f"{group}:{name}": tuple(weight.shape)
            for group in ("current", "averaged", "best")
            for name, weight in self._weights.items()
        }
        expected |= {
            f"{group}:{i}": tuple(variable.shape)
            for group, listed in variables.items()
            for i, variable in enumerate(listed)
        }
        expected |= {f"count:{name}": () for name in _COUNTERS}
        expected |= {"run": (), "score": ()}
        shapes = {name: value.shape for name, value in state.items()}
        if shapes != expected or str(state["run"]) != self._run:
            _LOG.warning("%s is of another configuration or other data; training starts anew", path)
            return

        def group(name: str) -> dict[str, np.ndarray]:
            prefix = f"{name}:"
            return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}

        self._assign(group("current"))
        for name, value in group("averaged").items():
            self._averages[name].assign(value)
        self._best_weights, self.has_learnt = group("best"), True
        for name, listed in variables.items():
            for index, variable in enumerate(listed):
                variable.assign(state[f"{name}:{index}"])
        self._counts = {name: int(count) for name, count in group("count").items()}
        self._schedule.drops = self._counts["drops"]
        self.best = self._score = float(state["score"])
        _LOG.info(
            "resuming after epoch %d, best %s %.4f",
            self.epochs_done,
            self._metrics[0].name,
            self.best,
        )


def _plain(value: Any) -> float:
    """A number for people: six digits."""
    return float(f"{float(np.asarray(value)):.6g}")
