"""Choosing the best epoch, averaging weights, and resuming a training run that was killed."""

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasner import storage
from kerasner.errors import ArchiveError
from kerasner.metrics import EntityF1

_LOG = logging.getLogger(__name__)
_AVERAGING_STEPS = 10  # the average is renewed every so many batches
_STATE_FILE = "state.npz"


def fingerprint(config: Mapping[str, Any], data: Any) -> str:
    """What a run may not change if it is to be resumed: all but how long it trains.

    Args:
        config: resolved.
        data: what is trained and measured on, as JSON knows it.
    """
    kept = ("batch_size", "seed", "train_on_valid")
    train = {k: v for k, v in config.get("train", {}).items() if k in kept}
    # The state numbers the variables of the optimizer as this version of Keras does.
    content = [keras.__version__, {**config, "train": train}, data]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Progress(keras.callbacks.Callback):
    """Measures validation F1 after each epoch, keeps the best weights, stops, and saves its state.

    The weights that are measured and kept are a moving average over the batches (Polyak averaging).
    The state is one file, written beside its place and renamed: a killed run loses its last epoch
    at most.

    Args:
        folder: for the state.
        run: fingerprint of the run; a state of another run is not taken up.
        validation: batches of (inputs, tags); None: every epoch is better than those before.
        patience: stop after so many epochs without improvement; 0: never.
        moving_average: decay of the average; 0: the weights themselves.
    """

    def __init__(
        self,
        folder: Path,
        run: str,
        validation: tf.data.Dataset | None,
        patience: int,
        moving_average: float,
    ):
        super().__init__()
        self._folder = folder
        self._run = run
        self._validation = validation
        self._patience = patience
        self._decay = moving_average
        self.epochs_done = 0
        self.best = -1.0
        self._impatience = 0
        self._batches = 0
        self._since_average = 0  # batches
        self._best_weights: dict[str, np.ndarray] = {}

    @property
    def finished(self) -> bool:
        """Whether patience has run out."""
        return 0 < self._patience <= self._impatience

    def prepare(self, model) -> None:
        """Takes up the state of an earlier run of a compiled model, if there is one."""
        self._network = model
        self._metric = EntityF1(model.tags, model.scheme)
        self._optimizer = model.optimizer
        self._optimizer.build(model.trainable_variables)
        self._weights = storage.layer_weights(model)
        self._averages = {
            name: tf.Variable(tf.convert_to_tensor(w)) for name, w in self._weights.items()
        }

        @tf.function(reduce_retracing=True)
        def evaluate_batch(inputs, tags):
            self._metric.update_state(tags, model(inputs, training=False))

        @tf.function
        def renew_averages(share):
            for name, average in self._averages.items():
                average.assign_add(share * (tf.convert_to_tensor(self._weights[name]) - average))

        self._evaluate_batch, self._renew_averages = evaluate_batch, renew_averages
        self._resume()

    def on_train_batch_end(self, batch, logs=None):
        self._batches += 1
        self._since_average += 1
        if self._since_average == _AVERAGING_STEPS:
            self._average()

    def on_epoch_end(self, epoch, logs=None):
        self._average()
        current = {name: np.asarray(weight) for name, weight in self._weights.items()}
        averaged = current
        if self._decay:
            averaged = {name: average.numpy() for name, average in self._averages.items()}
        if self._validation is None:
            score = float(epoch)
        else:
            self._assign(averaged)
            score = self._evaluate()
            self._assign(current)
        if score > self.best:
            self.best, self._best_weights, self._impatience = score, averaged, 0
        else:
            self._impatience += 1
        self.epochs_done = epoch + 1
        if logs is not None and self._validation is not None:
            logs["val_f1"] = score
        self._save(current, averaged)
        if self.finished:
            self._network.stop_training = True

    def restore_best(self) -> None:
        """Gives the model the weights of the best epoch."""
        self._assign(self._best_weights)

    def clear(self) -> None:
        """Removes the state."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _average(self) -> None:
        """Takes the batches since the last time into the average."""
        if self._decay and self._since_average:
            # A short memory at first, so that the untrained weights are soon forgotten.
            decay = min(self._decay, (1 + self._batches) / (10 + self._batches))
            self._renew_averages(tf.constant(1 - decay**self._since_average))
        self._since_average = 0

    def _evaluate(self) -> float:
        self._metric.reset_state()
        for inputs, tags in self._validation:
            self._evaluate_batch(inputs, tags)
        return float(self._metric.result())

    def _assign(self, values: Mapping[str, np.ndarray]) -> None:
        for name, value in values.items():
            self._weights[name].assign(value)

    def _save(self, current: Mapping[str, np.ndarray], averaged: Mapping[str, np.ndarray]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        optimizer = {str(i): np.asarray(v) for i, v in enumerate(self._optimizer.variables)}
        groups = {
            "current": current,
            "averaged": averaged,
            "best": self._best_weights,
            "optimizer": optimizer,
        }
        state = {
            f"{g}:{name}": value for g, values in groups.items() for name, value in values.items()
        }
        counters = [self.epochs_done, self._impatience, self._batches]
        state |= {"run": np.array(self._run), "counters": np.array(counters), "score": self.best}
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
        variables = list(self._optimizer.variables)
        expected = {
            f"{group}:{name}": tuple(weight.shape)
            for group in ("current", "averaged", "best")
            for name, weight in self._weights.items()
        }
        expected |= {f"optimizer:{i}": tuple(v.shape) for i, v in enumerate(variables)}
        expected |= {"run": (), "counters": (3,), "score": ()}
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
        self._best_weights = group("best")
        for index, variable in enumerate(variables):
            variable.assign(state[f"optimizer:{index}"])
        self.epochs_done, self._impatience, self._batches = map(int, state["counters"])
        self.best = float(state["score"])
        _LOG.info("resuming after epoch %d, best F1 %.4f", self.epochs_done, self.best)
