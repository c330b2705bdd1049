"""The metrics of a configuration, and what they say of a model."""

import datetime
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kerasner import bio, registry
from kerasner.errors import ConfigError
from kerasner.layers.crf import unpack
from kerasner.metrics import EntityF1
from kerasner.network import TaggingNetwork
from kerasner.pipe import names, variables

Rows = Sequence[Sequence[str]]
FAST = "ner_f1"


class Metric(NamedTuple):
    """A function of the right and the predicted tags of some sentences."""

    name: str
    function: Callable[[Rows, Rows], float]

    def __call__(self, gold: Rows, predicted: Rows) -> float:
        return float(self.function(gold, predicted))


def metrics(entries: Sequence[Mapping[str, Any]], chainer: Mapping[str, Any]) -> list[Metric]:
    """The metrics that the group "train" names.

    Args:
        entries: objects with the "name" of a registered function and perhaps its "inputs".
        chainer: the group "chainer", whose variables the inputs name.
    """
    found = []
    for index, entry in enumerate(entries):
        where = f"train.metrics[{index}]"
        function = registry.get(entry["name"], f"{where}.name")
        if not inspect.isroutine(function):
            raise ConfigError(
                f"{where}.name: expected a registered function (y_true, y_pred) -> number, "
                f"received {entry['name']!r}"
            )
        if "inputs" in entry:
            _check_inputs(names(entry["inputs"], f"{where}.inputs"), chainer, f"{where}.inputs")
        found.append(Metric(entry["name"], function))
    return found


def _check_inputs(inputs: list[str], chainer: Mapping[str, Any], where: str) -> None:
    """A metric compares the tags of the data with those of the model, whatever their variables."""
    given, targets = variables(chainer)
    of_targets, known = set(targets), {*given, *targets}
    for entry in chainer["pipe"]:
        outputs = names(entry["out"], where) if "out" in entry else []
        derives = "in" in entry and of_targets & set(names(entry["in"], where))
        of_targets = of_targets | set(outputs) if derives else of_targets - set(outputs)
        known.update(outputs)
    for name in inputs:
        if name not in known:
            raise ConfigError(f"{where}: unknown variable {registry.unknown(name, known)}")
    if len(inputs) != 2 or inputs[0] not in of_targets or inputs[1] in of_targets:
        raise ConfigError(
            f"{where}: expected the variable of the right tags, then that of the predicted tags, "
            f"such as {[targets[0], names(chainer.get('out'), where)[-1]]!r}; received {inputs!r}"
        )


class Scorer:
    """Scores a network on batches of ids, with the weights that it has just then.

    Entity F1 alone is counted in the graph; any other metric gets lists of tags.
    """

    def __init__(self, model: TaggingNetwork, metrics: Sequence[Metric]):
        self._metrics = list(metrics)
        self._tags = np.array(model.tags, dtype=object)
        self._scheme = model.scheme
        self._in_graph = all(metric.name == FAST for metric in metrics)
        f1 = EntityF1(model.tags, model.scheme)

        @tf.function
        def count(inputs, tags):
            f1.update_state(tags, model(inputs, training=False))

        @tf.function
        def predict(inputs):
            potentials = unpack(model(inputs, training=False))
            return potentials.decode(), potentials.mask

        self._f1, self._count, self._predict = f1, count, predict

    def __call__(self, batches: tf.data.Dataset) -> tuple[int, dict[str, float]]:
        """Number of sentences and their scores; F1 in percent."""
        sentences = 0
        if self._in_graph:
            self._f1.reset_state()
            # Traced once, for all lengths, where calls alone would trace for the first one too.
            count = self._count.get_concrete_function(*batches.element_spec)
            for inputs, tags in batches:
                count(inputs, tags)
                sentences += len(tags)
            return sentences, {FAST: 100 * float(self._f1.result())}
        gold, predicted = [], []
        predict = self._predict.get_concrete_function(batches.element_spec[0])
        for inputs, tags in batches:
            found, mask = (value.numpy() for value in predict(inputs))
            gold += self._rows(tags.numpy(), mask)
            predicted += self._rows(found, mask)
        return len(gold), {metric.name: metric(gold, predicted) for metric in self._metrics}

    def _rows(self, ids: np.ndarray, mask: np.ndarray) -> list[list[str]]:
        rows = [
            self._tags[row[: int(length)]].tolist()
            for row, length in zip(ids, mask.sum(axis=1), strict=True)
        ]
        return bio.in_bio(rows, self._scheme)


@dataclass(frozen=True)
class Evaluation:
    """What a model is worth on some sentences.

    Attributes:
        examples: number of sentences.
        metrics: scores by name, the F1 of entities ("ner_f1") in percent.
        seconds: that it took.
        report: conlleval's counts and scores, total and by type.
    """

    examples: int
    metrics: dict[str, float]
    seconds: float
    report: bio.Report

    def event(self) -> dict[str, Any]:
        """For JSON: DeepPavlov's keys, and the scores of the total and of each type."""
        types = {label: _scores(score) for label, score in self.report.types.items()}
        return {
            **event(self.examples, self.metrics, self.seconds),
            "tokens": self.report.tokens,
            **_scores(self.report.total),
            "types": types,
        }


def evaluation(gold: Rows, predict: Callable[[], Rows], metrics: Sequence[Metric]) -> Evaluation:
    """Scores the BIO tags that `predict` returns against the right tags of any scheme."""
    started = time.monotonic()
    gold = bio.in_bio(gold)
    predicted = predict()
    scores = {metric.name: metric(gold, predicted) for metric in metrics}
    report = bio.report(gold, predicted)
    return Evaluation(len(gold), scores, time.monotonic() - started, report)


def event(examples: int, metrics: Mapping[str, float], seconds: float) -> dict[str, Any]:
    """What DeepPavlov printed of a score, for JSON."""
    return {
        "eval_examples_count": examples,
        "metrics": {name: round(value, 4) for name, value in metrics.items()},
        "time_spent": str(datetime.timedelta(seconds=round(seconds))),
    }


def _scores(score: bio.Score) -> dict[str, float]:
    return {
        "f1": round(score.f1, 2),
        "precision": round(score.precision, 2),
        "recall": round(score.recall, 2),
        "gold": score.gold,
        "predicted": score.predicted,
        "correct": score.correct,
    }
