"""Choosing the best epoch, patience, averages, and going on after a stop; without training."""

import json
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasner import storage
from kerasner._compat import KERAS_3
from kerasner.checkpoint import Progress, fingerprint
from kerasner.evaluation import Metric, Scorer
from kerasner.layers import QuantizedEmbedding
from kerasner.losses import CRFLoss
from kerasner.network import NerNetwork
from kerasner.train_settings import TrainSettings

TAGS = ["O", "B-X", "I-X"]


def network() -> NerNetwork:
    model = NerNetwork(TAGS, QuantizedEmbedding(4, trainable_rows=5, frozen_rows=0), None, [2])
    model({"words": tf.constant([[2, 3]])})
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), CRFLoss())
    return model


class Schedule:
    """What of a learning rate's schedule is used."""

    def __init__(self, drop_patience=0):
        self.drop_patience, self.drops = drop_patience, 0


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Makes the progress of a new network; its validation scores are the ones given."""

    def start(
        scores=(), run="a run", moving_average=0.0, drops=0, validation=(), starts_trained=False,
        **settings,
    ):  # fmt: skip
        values = iter(scores)
        monkeypatch.setattr(Scorer, "__call__", lambda self, batches: (18, {"m": next(values)}))
        monkeypatch.setattr(Scorer, "__init__", lambda *arguments: None)
        model = network()
        told = []
        progress = Progress(
            tmp_path / "state",
            run,
            TrainSettings(**{"validation_patience": 2, **settings}),
            [Metric("m", None)],
            tf.data.Dataset.range(5),
            validation,
            Schedule(drops),
            moving_average,
            told.append,
            lambda part: [f"of {part}"],
            starts_trained,
        )
        progress.set_model(model)
        progress.prepare(model)
        progress.told = told
        return progress, model

    return start


def epoch(progress, number, batches=1, logs=None):
    """What Keras calls in an epoch."""
    for batch in range(batches):
        progress.on_train_batch_end(batch)
    progress.on_epoch_end(number, logs)


def fill(model, value):
    """Sets every trained weight."""
    for weight in storage.layer_weights(model).values():
        weight.assign(np.full(weight.shape, value, np.float32))


def values(model) -> set[float]:
    return {float(x) for w in storage.layer_weights(model).values() for x in np.asarray(w).ravel()}


def test_a_run_is_its_configuration_and_its_data_but_not_its_length():
    config = {"chainer": {"in": ["x"]}, "train": {"epochs": 3, "batch_size": 4, "seed": 0}}
    data = [["a"], ["O"]]

    def changed(**train):
        return fingerprint({**config, "train": {**config["train"], **train}}, data)

    same = fingerprint(config, data)
    assert changed(epochs=99, validation_patience=1) == same
    others = {
        changed(batch_size=5),
        changed(seed=1),
        changed(train_on_valid=True),
        changed(letter_case={"upper": 0.1}),
        changed(typography=0.1),
        changed(metrics=["per_token_accuracy"]),
        changed(metric_optimization="minimize"),
        fingerprint({**config, "chainer": {"in": ["y"]}}, data),
        fingerprint(config, [["b"], ["O"]]),
    }
    assert len(others - {same}) == 9


def test_the_best_epoch_is_kept_and_patience_ends_the_run(start, caplog):
    progress, model = start([0.1, 0.5, 0.7, 0.6, 0.7])
    fill(model, -1.0)
    stops, learnt = [], []
    with caplog.at_level("INFO", "kerasner"):
        progress.on_train_begin()
        learnt.append(progress.has_learnt)
        for number in range(4):
            fill(model, float(number))
            epoch(progress, number, logs=(logs := {}))
            learnt.append(progress.has_learnt)
            stops.append((progress.finished, bool(model.stop_training)))
        progress.on_train_end()
    assert stops == [(False, False)] * 3 + [(True, True)]
    assert learnt == [False, True, True, True, True]
    assert logs == {"val_m": 0.7}
    assert progress.best == 0.7
    assert values(model) == {3.0}  # measuring has not changed what is trained
    progress.restore_best()
    assert values(model) == {1.0}  # of the first epoch that reached 0.7
    assert [message for *_, message in caplog.record_tuples] == [
        "New best m of 0.1000",
        "New best m of 0.5000",
        "New best m of 0.7000",
        "Did not improve on the m of 0.7000",
        "Did not improve on the m of 0.7000",
        "Ran out of patience",
    ]


@pytest.mark.parametrize("starts_trained", [False, True])
def test_untrained_weights_are_never_the_best(start, starts_trained):
    progress, model = start([0.4, 0.1, 0.2], starts_trained=starts_trained)
    fill(model, 9.0)
    progress.on_train_begin()
    for number in range(2):
        fill(model, float(number))
        epoch(progress, number)
    assert progress.best == (0.4 if starts_trained else 0.2)
    assert progress.has_learnt != starts_trained
    progress.restore_best()
    assert values(model) == ({9.0} if starts_trained else {1.0})


def test_reports_of_the_validations(start):
    progress, _ = start([0.123456, 0.1], show_examples=True, starts_trained=True)
    progress.on_train_begin()
    epoch(progress, 0, batches=3)
    first, second = progress.told
    assert first == {
        "valid": {
            "eval_examples_count": 18,
            "metrics": {"m": 0.1235},
            "time_spent": "0:00:00",
            "epochs_done": 0,
            "batches_seen": 0,
            "train_examples_seen": 0,
            "impatience": 0,
            "patience_limit": 2,
            "examples": ["of valid"],
        }
    }
    changed = {"metrics": {"m": 0.1}, "epochs_done": 1, "batches_seen": 3, "impatience": 1}
    assert second == {"valid": {**first["valid"], **changed}}


def test_the_smallest_score_is_the_best_where_it_is_asked_for(start):
    progress, model = start([0.3, 0.2, 0.4], metric_optimization="minimize")
    for number in range(3):
        fill(model, float(number))
        epoch(progress, number)
    assert progress.best == 0.2
    progress.restore_best()
    assert values(model) == {1.0}


def test_without_patience_nothing_ends_the_run(start):
    for patience in (0, -1):
        progress, model = start([0.5, 0.4, 0.3, 0.2], validation_patience=patience)
        for number in range(4):
            epoch(progress, number)
        assert not progress.finished
        assert not model.stop_training
        progress.clear()


def test_validations_after_some_epochs_and_at_the_end(start):
    progress, model = start([0.1, 0.5, 0.6], val_every_n_epochs=3)
    progress.on_train_begin()
    logs = [{} for _ in range(5)]
    for number in range(5):
        fill(model, float(number))
        epoch(progress, number, logs=logs[number])
    assert logs == [{}, {}, {"val_m": 0.5}, {}, {}]
    progress.on_train_end()
    assert [event["valid"]["epochs_done"] for event in progress.told] == [0, 3, 5]
    progress.restore_best()
    assert values(model) == {4.0}


def test_validations_after_some_batches(start):
    progress, model = start([0.1, 0.2, 0.2, 0.2], val_every_n_batches=2)
    progress.on_train_begin()
    epoch(progress, 0, batches=3)
    assert not progress.finished
    progress.on_train_batch_end(0)
    assert not model.stop_training
    progress.on_train_batch_end(1)
    progress.on_train_batch_end(2)
    assert progress.finished and model.stop_training
    progress.on_epoch_end(1)  # Keras calls it in the midst of an epoch too
    assert progress.epochs_done == 1
    progress.on_train_end()
    assert [event["valid"]["batches_seen"] for event in progress.told] == [0, 2, 4, 6]
    assert [event["valid"]["epochs_done"] for event in progress.told] == [0, 0, 1, 1]


def test_a_batch_that_was_validated_is_not_validated_again(start):
    progress, _ = start([0.1, 0.2], val_every_n_batches=2, val_every_n_epochs=1)
    progress.on_train_begin()
    epoch(progress, 0, batches=2, logs=(logs := {}))
    progress.on_train_end()
    assert logs == {"val_m": 0.2}
    assert len(progress.told) == 2


def test_a_limit_of_batches(start, caplog):
    caplog.set_level("INFO", "kerasner")
    progress, model = start([0.1, 0.2], max_batches=3)
    progress.on_train_begin()
    for batch in range(3):
        assert not model.stop_training
        fill(model, float(batch))
        progress.on_train_batch_end(batch)
    assert progress.finished and model.stop_training
    progress.on_epoch_end(0)
    progress.on_train_end()
    assert [event["valid"]["batches_seen"] for event in progress.told] == [0, 3]
    assert caplog.messages == ["New best m of 0.1000", "New best m of 0.2000"]
    progress.restore_best()
    assert values(model) == {2.0}


def test_without_validation_the_last_weights_are_kept(start):
    progress, model = start(validation=None)
    progress.on_train_begin()
    for number in range(4):
        fill(model, float(number))
        epoch(progress, number, logs=(logs := {}))
    progress.on_train_end()
    assert (logs, progress.told, progress.finished) == ({}, [], False)
    fill(model, 9.0)
    progress.restore_best()
    assert values(model) == {3.0}


def test_the_learning_rate_drops_where_no_validation_is_better(start):
    progress, _ = start([0.5, 0.4, 0.3, 0.2, 0.6, 0.1, 0.1], drops=2, validation_patience=0)
    drops = []
    for number in range(7):
        epoch(progress, number)
        drops.append(progress._schedule.drops)
    assert drops == [0, 0, 1, 1, 1, 1, 2]


def test_the_average_moves_every_ten_batches(start):
    progress, model = start([0.5], moving_average=0.999)
    fill(model, 0.0)
    before = {n: np.asarray(a) for n, a in progress._averages.items()}
    fill(model, 8.0)
    for batch in range(9):
        progress.on_train_batch_end(batch)
    for name, average in progress._averages.items():
        np.testing.assert_array_equal(average, before[name])
    progress.on_train_batch_end(9)
    kept = ((1 + 10) / (10 + 10)) ** 10
    for name, average in progress._averages.items():
        np.testing.assert_allclose(average, kept * before[name] + (1 - kept) * 8, rtol=1e-5)
    progress.on_epoch_end(0)
    progress.restore_best()
    for name, weight in storage.layer_weights(model).items():
        np.testing.assert_array_equal(np.asarray(weight), progress._averages[name])


def test_an_epoch_of_few_batches_is_averaged_before_it_is_measured(start):
    progress, model = start([0.5], moving_average=0.999)
    before = {n: np.asarray(a) for n, a in progress._averages.items()}
    fill(model, 8.0)
    epoch(progress, 0, batches=3)
    kept = ((1 + 3) / (10 + 3)) ** 3
    for name, best in progress._best_weights.items():
        np.testing.assert_allclose(best, kept * before[name] + (1 - kept) * 8, rtol=1e-5)


def test_a_moving_average_of_0_is_the_weights_themselves(start):
    progress, model = start([0.5], moving_average=0.0)
    fill(model, 5.0)
    epoch(progress, 0)
    fill(model, 6.0)
    progress.restore_best()
    assert values(model) == {5.0}


def test_a_new_process_goes_on_where_the_old_one_was(start, tmp_path):
    progress, model = start([0.1, 0.5, 0.4], moving_average=0.9, drops=1)
    progress.on_train_begin()
    for number in range(2):
        fill(model, number + 1.0)
        epoch(progress, number)
    for index, variable in enumerate(progress._optimizer.variables):
        variable.assign(tf.cast(tf.fill(variable.shape, index + 1), variable.dtype))
    for variable in progress._random:
        variable.assign([7, 9])
    progress._save()
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["state.npz"]

    later, other = start([0.45], moving_average=0.9)
    assert (later.epochs_done, later.best) == (2, 0.5)
    assert later._counts == {**progress._counts, "drops": 1}
    assert later._counts["impatience"] == 1
    assert later._counts["batches_seen"] == 2
    assert later._schedule.drops == 1
    assert values(other) == {2.0}
    for name, average in progress._averages.items():
        np.testing.assert_array_equal(later._averages[name], average)
    for index, variable in enumerate(later._optimizer.variables):
        assert np.all(np.asarray(variable) == index + 1)
    assert len(later._random) == (2 if KERAS_3 else 0)
    for variable in later._random:
        np.testing.assert_array_equal(variable, [7, 9])
    later.on_train_begin()  # measures nothing: there is a best score
    epoch(later, 2)
    assert later.finished  # the second epoch without improvement, one of them before the stop
    later.restore_best()
    for name, weight in storage.layer_weights(other).items():
        np.testing.assert_array_equal(np.asarray(weight), progress._best_weights[name])
    later.clear()
    assert not list(tmp_path.iterdir())


def test_epochs_that_count_as_done(start):
    progress, model = start()
    progress.prepare(model, 7)
    assert progress.epochs_done == 7


def test_another_run_starts_anew_with_a_warning(start, caplog):
    progress, _ = start([0.5])
    epoch(progress, 0)
    with caplog.at_level(logging.WARNING, "kerasner"):
        other, _ = start(run="another run")
    assert (other.epochs_done, other.best) == (0, -np.inf)
    assert "another configuration or other data; training starts anew" in caplog.text


@pytest.mark.parametrize("change", ["missing", "reshaped", "count"])
def test_a_state_that_does_not_fit_starts_anew(start, tmp_path, caplog, change):
    progress, _ = start([0.5])
    epoch(progress, 0)
    path = tmp_path / "state" / "state.npz"
    state = storage.load_weights(path)
    name = next(name for name in state if name.startswith("averaged:"))
    if change == "missing":
        del state[name]
    elif change == "reshaped":
        state[name] = np.zeros((1, *state[name].shape))
    else:
        del state["count:impatience"]
    storage.save_weights(path, state)
    with caplog.at_level(logging.WARNING, "kerasner"):
        other, _ = start()
    assert (other.epochs_done, other.best) == (0, -np.inf)
    assert "training starts anew" in caplog.text


def test_a_damaged_state_starts_anew_with_a_warning(start, tmp_path, caplog):
    progress, _ = start([0.5])
    epoch(progress, 0)
    path = tmp_path / "state" / "state.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING, "kerasner"):
        other, _ = start()
    assert other.epochs_done == 0
    assert "training starts anew" in caplog.text


def test_a_fingerprint_is_the_same_for_equal_configurations():
    config = json.loads('{"train": {"seed": 1, "batch_size": 2}, "chainer": {}}')
    turned = json.loads('{"chainer": {}, "train": {"batch_size": 2, "seed": 1}}')
    assert fingerprint(config, []) == fingerprint(turned, [])
