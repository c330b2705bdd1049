"""The group "train" of a configuration."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kerasner.config import check_number
from kerasner.data._input import PARTS
from kerasner.data.letter_case import LETTER_CASES, in_letter_case
from kerasner.data.pipeline import Change
from kerasner.data.typography import in_other_typography
from kerasner.errors import ConfigError
from kerasner.registry import check_keys, unknown

TRAINERS = ("nn_trainer", "fit_trainer")


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """The group "train" of a configuration, checked.

    Names are DeepPavlov's. Its defaults of epochs 0, batch_size 1, validation_patience 5 and
    val_every_n_epochs 0 trained without a validation; these are for a tagger of sentences.

    Args:
        class_name: "nn_trainer" or "fit_trainer"; the pipeline decides what is trained.
        epochs: at most; 0: no limit but patience.
        batch_size: sentences a batch.
        metrics: names, or objects of a name and the "inputs" of the metric: the variables of the
            right and of the predicted tags. The first one chooses the best model.
        metric_optimization: "maximize" or "minimize" the first metric.
        validation_patience: stop after so many validations without a better one; 0 or less: never.
        val_every_n_epochs, val_every_n_batches: validate so often; 0 or less: never. Without
            either, after every epoch.
        log_every_n_epochs, log_every_n_batches: score the training part so often; 0 or less: never.
        show_examples: report the tags of the first sentences with each score.
        validate_best, test_best: whether the best model is scored on the part valid, on test.
        evaluation_targets: names of the parts to score it on, in place of these two.
        max_batches: stop after so many batches; 0 or less: no limit.
        tensorboard_log_dir: folder for TensorBoard (needs the extra kerasner[tensorboard]).
        train_on_valid: train on the parts train and valid together. Nothing is left to choose an
            epoch by: training runs for all `epochs` and keeps the last.
        letter_case: share of the sentences that an epoch shows in capital letters ("upper"), in
            small ones ("lower"), or with each token capitalized ("title"); drawn anew for each
            epoch. The rest is shown as it is.
        typography: the same with other quotes, apostrophes and dashes, which are drawn once for
            each sentence.
        seed: of initial weights, order and dropout; None: another run each time.
    """

    class_name: str = "nn_trainer"
    epochs: int = 100
    batch_size: int = 10
    metrics: Any = ("ner_f1",)
    metric_optimization: str = "maximize"
    validation_patience: int = 7
    val_every_n_epochs: int | None = None
    val_every_n_batches: int = 0
    log_every_n_epochs: int = 0
    log_every_n_batches: int = 0
    show_examples: bool = False
    validate_best: bool = True
    test_best: bool = True
    evaluation_targets: Any = None
    max_batches: int = 0
    tensorboard_log_dir: str | None = None
    train_on_valid: bool = False
    letter_case: Mapping[str, float] = field(default_factory=dict)
    typography: float = 0.0
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, least in (
            ("epochs", 0),
            ("batch_size", 1),
            ("validation_patience", -1),
            ("val_every_n_epochs", -1),
            ("val_every_n_batches", -1),
            ("log_every_n_epochs", -1),
            ("log_every_n_batches", -1),
            ("max_batches", -1),
        ):
            if (value := getattr(self, name)) is not None or name != "val_every_n_epochs":
                check_number(f"train.{name}", value, least, whole=True)
        if self.val_every_n_epochs is None:
            object.__setattr__(self, "val_every_n_epochs", int(self.val_every_n_batches <= 0))
        if self.seed is not None:
            check_number("train.seed", self.seed, 0, 2**32 - 1, whole=True)
        for name in ("show_examples", "validate_best", "test_best", "train_on_valid"):
            _check(
                name, getattr(self, name), isinstance(getattr(self, name), bool), "true or false"
            )
        self._check_forms()
        logs = self.tensorboard_log_dir
        _check("tensorboard_log_dir", logs, logs is None or isinstance(logs, str), "a folder")
        for name, valid in (
            ("class_name", TRAINERS),
            ("metric_optimization", ("maximize", "minimize")),
        ):
            value = getattr(self, name)
            if value not in valid:
                raise ConfigError(f"train.{name}: unknown {unknown(value, valid)}")
        targets = self.evaluation_targets
        is_list = targets is None or isinstance(targets, (list, tuple))
        _check("evaluation_targets", targets, is_list, f"a list of {', '.join(PARTS)}")
        for part in targets or ():
            if part not in PARTS:
                raise ConfigError(f"train.evaluation_targets: unknown {unknown(part, PARTS)}")
        _check("metrics", self.metrics, bool(self.metric_entries), "a list of metrics")
        if not self.validates and self.epochs == 0 and self.max_batches <= 0:
            raise ConfigError(
                "train.epochs: without validation nothing but epochs or max_batches ends the "
                "training; expected 1 or more, received 0"
            )

    def _check_forms(self) -> None:
        given = self.letter_case
        expected = f"probabilities of {', '.join(LETTER_CASES)}"
        _check("letter_case", given, isinstance(given, Mapping), expected)
        check_keys(given, LETTER_CASES, "train.letter_case")
        for name, probability in given.items():
            check_number(f"train.letter_case.{name}", probability, 0, 1)
        check_number("train.typography", self.typography, 0, 1)
        together = math.fsum([*given.values(), self.typography])
        _check(
            "letter_case",
            given,
            together <= 1,
            f"{expected}, 1 at most with typography {self.typography}",
        )

    @property
    def forms(self) -> list[tuple[float, Change]]:
        """Probabilities of other forms of a sentence, and what makes them."""
        forms = [(p, in_letter_case(case)) for case, p in self.letter_case.items()]
        forms.append((self.typography, in_other_typography(self.seed)))
        return [(p, change) for p, change in forms if p]

    @property
    def metric_entries(self) -> list[dict[str, Any]]:
        """`metrics` as a list of objects with a "name" and perhaps "inputs"."""
        given = [self.metrics] if isinstance(self.metrics, str) else self.metrics
        if not isinstance(given, (list, tuple)):
            return []
        entries = []
        for index, entry in enumerate(given):
            where = f"metrics[{index}]"
            entry = {"name": entry} if isinstance(entry, str) else entry
            _check(where, entry, isinstance(entry, dict), 'a name or {"name": ..., "inputs": ...}')
            check_keys(entry, ("name", "inputs"), f"train.{where}")
            name = entry.get("name")
            _check(f"{where}.name", name, isinstance(name, str), "the name of a metric")
            entries.append(entry)
        return entries

    @property
    def validates(self) -> bool:
        """Whether the part valid is scored in training."""
        every = (self.val_every_n_epochs, self.val_every_n_batches)
        return not self.train_on_valid and max(every) > 0

    @property
    def evaluated_parts(self) -> list[str]:
        """The parts that a trained model is scored on."""
        if self.evaluation_targets is not None:
            return list(self.evaluation_targets)
        return ["valid"] * self.validate_best + ["test"] * self.test_best


def _check(name: str, value: Any, is_valid: bool, expected: str) -> None:
    if not is_valid:
        raise ConfigError(f"train.{name}: expected {expected}, received {value!r:.200}")
