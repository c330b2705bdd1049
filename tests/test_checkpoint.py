"""Choosing the best epoch, patience, averages, and going on after a stop; without training."""

import json
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasner import storage
from kerasner.checkpoint import Progress, fingerprint
from kerasner.layers import QuantizedEmbedding
from kerasner.losses import CRFLoss
from kerasner.network import NerNetwork

TAGS = ["O", "B-X", "I-X"]


def network() -> NerNetwork:
    model = NerNetwork(TAGS, QuantizedEmbedding(4, trainable_rows=5, frozen_rows=0), None, [2])
    model({"words": tf.constant([[2, 3]])})
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), CRFLoss())
    return model


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Makes the progress of a new network; its validation scores are the ones given."""

    def start(scores=(), run="a run", patience=2, moving_average=0.0):
        values = iter(scores)
        monkeypatch.setattr(Progress, "_evaluate", lambda self: next(values))
        model = network()
        progress = Progress(tmp_path / "state", run, [], patience, moving_average)
        progress.set_model(model)
        progress.prepare(model)
        return progress, model

    return start


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
        fingerprint({**config, "chainer": {"in": ["y"]}}, data),
        fingerprint(config, [["b"], ["O"]]),
    }
    assert len(others - {same}) == 5


def test_the_best_epoch_is_kept_and_patience_ends_the_run(start):
    progress, model = start([0.5, 0.7, 0.6, 0.7])
    stops = []
    for epoch in range(4):
        fill(model, float(epoch))
        logs = {}
        progress.on_epoch_end(epoch, logs)
        stops.append((progress.finished, bool(model.stop_training)))
    assert stops == [(False, False)] * 3 + [(True, True)]
    assert logs == {"val_f1": 0.7}
    assert progress.best == 0.7
    assert values(model) == {3.0}  # measuring has not changed what is trained
    progress.restore_best()
    assert values(model) == {1.0}  # of the first epoch that reached 0.7


def test_without_patience_nothing_ends_the_run(start):
    progress, model = start([0.5, 0.4, 0.3, 0.2], patience=0)
    for epoch in range(4):
        progress.on_epoch_end(epoch)
    assert not progress.finished
    assert not model.stop_training


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
    progress, model = start([0.5, 0.6], moving_average=0.999)
    before = {n: np.asarray(a) for n, a in progress._averages.items()}
    fill(model, 8.0)
    for batch in range(3):
        progress.on_train_batch_end(batch)
    progress.on_epoch_end(0)
    kept = ((1 + 3) / (10 + 3)) ** 3
    for name, best in progress._best_weights.items():
        np.testing.assert_allclose(best, kept * before[name] + (1 - kept) * 8, rtol=1e-5)
    measured = progress._best_weights
    progress.on_epoch_end(1)  # no batch since: nothing to take into the average
    for name, best in progress._best_weights.items():
        np.testing.assert_array_equal(best, measured[name])


def test_a_moving_average_of_0_is_the_weights_themselves(start):
    progress, model = start([0.5], moving_average=0.0)
    fill(model, 5.0)
    progress.on_train_batch_end(0)
    progress.on_epoch_end(0)
    fill(model, 6.0)
    progress.restore_best()
    assert values(model) == {5.0}


def test_a_new_process_goes_on_where_the_old_one_was(start, tmp_path):
    progress, model = start([0.5, 0.4], moving_average=0.9)
    for epoch in range(2):
        fill(model, epoch + 1.0)
        progress.on_train_batch_end(epoch)
        progress.on_epoch_end(epoch)
    for index, variable in enumerate(progress._optimizer.variables):
        variable.assign(tf.cast(tf.fill(variable.shape, index + 1), variable.dtype))
    progress._save(
        {n: np.asarray(w) for n, w in storage.layer_weights(model).items()},
        {n: a.numpy() for n, a in progress._averages.items()},
    )
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["state.npz"]

    later, other = start([0.45, 0.3], moving_average=0.9)
    assert (later.epochs_done, later.best, later._impatience, later._batches) == (2, 0.5, 1, 2)
    assert values(other) == {2.0}
    for name, average in progress._averages.items():
        np.testing.assert_array_equal(later._averages[name], average)
    for index, variable in enumerate(later._optimizer.variables):
        assert np.all(np.asarray(variable) == index + 1)
    later.on_epoch_end(2)
    assert later.finished  # the second epoch without improvement, one of them before the stop
    later.restore_best()
    for name, weight in storage.layer_weights(other).items():
        np.testing.assert_array_equal(np.asarray(weight), progress._best_weights[name])
    later.clear()
    assert not list(tmp_path.iterdir())


def test_another_run_starts_anew_with_a_warning(start, caplog):
    progress, _ = start([0.5])
    progress.on_epoch_end(0)
    with caplog.at_level(logging.WARNING, "kerasner"):
        other, _ = start(run="another run")
    assert (other.epochs_done, other.best) == (0, -1.0)
    assert "another configuration or other data; training starts anew" in caplog.text


@pytest.mark.parametrize("change", ["missing", "reshaped", "counters"])
def test_a_state_that_does_not_fit_starts_anew(start, tmp_path, caplog, change):
    progress, _ = start([0.5])
    progress.on_epoch_end(0)
    path = tmp_path / "state" / "state.npz"
    state = storage.load_weights(path)
    name = next(name for name in state if name.startswith("averaged:"))
    if change == "missing":
        del state[name]
    elif change == "reshaped":
        state[name] = np.zeros((1, *state[name].shape))
    else:
        state["counters"] = np.array([1])
    storage.save_weights(path, state)
    with caplog.at_level(logging.WARNING, "kerasner"):
        other, _ = start()
    assert (other.epochs_done, other.best) == (0, -1.0)
    assert "training starts anew" in caplog.text


def test_a_damaged_state_starts_anew_with_a_warning(start, tmp_path, caplog):
    progress, _ = start([0.5])
    progress.on_epoch_end(0)
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
