import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasner.errors import ConfigError
from kerasner.schedules import LearningRate

PAIR = [0.1, 0.9]  # from, to


@pytest.mark.parametrize(
    ("learning_rate", "decay", "expected"),
    [
        (0.5, "no", [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]),
        (0.8, "linear", [0.8, 0.6, 0.4, 0.2, 0.0, 0.0]),
        (PAIR, "linear", [0.1, 0.3, 0.5, 0.7, 0.9, 0.9]),
        # cos(pi / 4) = 0.70711
        (0.8, "cosine", [0.8, 0.4 * 1.70711, 0.4, 0.4 * 0.29289, 0.0, 0.0]),
        ([1.6, 0.1], "exponential", [1.6, 0.8, 0.4, 0.2, 0.1, 0.1]),
        (0.8, ["polynomial", 2], [0.8, 0.45, 0.2, 0.05, 0.0, 0.0]),
        ([0.9, 0.1], ["polynomial", 1], [0.9, 0.7, 0.5, 0.3, 0.1, 0.1]),
        (PAIR, "onecycle", [0.1, 0.5, 0.9, 0.5, 0.1, 0.1]),
        (PAIR, "1Cycle", [0.1, 0.5, 0.9, 0.5, 0.1, 0.1]),
        # 5/8 of the way back begun at 0.6: 2.5 * 0.25 = 0.625.
        (PAIR, "trapezoid", [0.1, 0.9, 0.9, 0.1 + 0.8 * 0.625, 0.1, 0.1]),
        (0.6, 0.5, [0.6, 0.4, 0.3, 0.24, 0.2, 0.6 / 3.5]),
    ],
)
def test_rates_of_epochs(learning_rate, decay, expected):
    schedule = LearningRate(learning_rate, decay, decay_epochs=4, epochs=6)
    np.testing.assert_allclose([schedule.rate(e) for e in range(6)], expected, rtol=1e-4, atol=1e-9)


def test_a_trapezoid_rises_in_its_first_tenth():
    schedule = LearningRate(PAIR, "trapezoid", decay_epochs=20)
    rates = [schedule.rate(e) for e in (0, 1, 2, 12, 16, 20)]
    np.testing.assert_allclose(rates, [0.1, 0.5, 0.9, 0.9, 0.5, 0.1])


def test_a_decay_of_unknown_length_takes_all_epochs():
    assert LearningRate(1.0, "linear", epochs=10).rate(5) == 0.5


def test_rates_of_batches():
    schedule = LearningRate(1.0, "linear", decay_batches=8, steps_per_epoch=3)
    rates = [schedule.rate(epoch, batch) for epoch in range(3) for batch in range(3)]
    np.testing.assert_allclose(rates, np.arange(8, -1, -1) / 8)
    assert schedule.rate(7) == 0.0


def test_drops():
    schedule = LearningRate(0.8, "linear", decay_epochs=4, drop_patience=3, drop_div=10)
    assert schedule.drop_patience == 3 and schedule.drops == 0
    schedule.drops = 2
    np.testing.assert_allclose([schedule.rate(0), schedule.rate(2)], [0.008, 0.004])


def test_a_drop_within_an_epoch_counts_from_the_next_batch():
    class Dropping(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            schedule.drops += batch == 0

    model = keras.Sequential([keras.Input([1]), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(9.0), "mse")
    schedule, seen = LearningRate(0.8, drop_div=2), Seen()
    callbacks = [schedule, Dropping(), seen]
    model.fit(np.ones([3, 1]), np.ones([3, 1]), batch_size=1, verbose=0, callbacks=callbacks)
    np.testing.assert_allclose(seen.rates, [0.8, 0.4, 0.4], rtol=1e-6)


class Seen(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.rates = []

    def on_train_batch_end(self, batch, logs=None):
        self.rates.append(float(tf.convert_to_tensor(self.model.optimizer.learning_rate)))


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_training_goes_by_it(policy):
    """Two batches an epoch; the second run takes up where the first ended."""
    model = keras.Sequential([keras.Input([1]), keras.layers.Dense(1, dtype=policy)])
    optimizer = keras.optimizers.SGD(9.0)
    if policy == "mixed_float16":
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
    model.compile(optimizer, "mse")
    x, seen = np.ones([4, 1]), Seen()
    by_batch = LearningRate(0.8, "linear", decay_batches=4, steps_per_epoch=2)
    settings = {"batch_size": 2, "verbose": 0}
    history = model.fit(x, x, epochs=1, callbacks=[by_batch, seen], **settings).history
    np.testing.assert_allclose(history["learning_rate"], [0.6])
    by_batch.drops = 1
    model.fit(x, x, initial_epoch=1, epochs=2, callbacks=[by_batch, seen], **settings)
    by_epoch = LearningRate(0.6, 0.5)
    history = model.fit(x, x, epochs=2, callbacks=[by_epoch, seen], **settings).history
    np.testing.assert_allclose(history["learning_rate"], [0.6, 0.4])
    np.testing.assert_allclose(seen.rates, [0.8, 0.6, 0.04, 0.02, 0.6, 0.6, 0.4, 0.4], rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"learning_rate": "fast"}, "learning_rate: expected 0 or more, received 'fast'"),
        ({"learning_rate": [0.1]}, r"a number or \[start, end\], received \[0.1\]"),
        ({"learning_rate": [0.1, -1]}, "learning_rate: expected 0 or more, received -1"),
        ({"learning_rate": 0}, "learning_rate 0: expected more than 0"),
        ({"learning_rate": [0, 0.0]}, r"learning_rate \[0, 0.0\]: expected more than 0"),
        ({"learning_rate": PAIR}, "expected a number without a named decay"),
        ({"learning_rate": PAIR, "decay": 0.1}, "expected a number without a named decay"),
        ({"decay": "onecycle"}, r"learning_rate 0.1: expected \[start, end\]"),
        ({"learning_rate": [0.1, 0], "decay": "exponential"}, "expected numbers above 0"),
        ({"decay": "linaer"}, "unknown decay 'linaer'; did you mean 'linear'"),
        ({"decay": "polynomial"}, "expected a name or .*'polynomial'"),
        ({"decay": ["linear", 2]}, "expected a name or .*'linear', 2"),
        ({"decay": ["polynomial", "x"]}, "power: expected 0 or more, received 'x'"),
        ({"decay": True}, "learning_rate_decay: expected 0 or more, received True"),
        ({"decay_epochs": 2, "decay_batches": 3}, "expected one of them"),
        ({"decay_epochs": 1.5}, "decay_epochs: expected 0 or more, a whole number"),
        ({"drop_patience": -1}, "drop_patience: expected 0 or more"),
        ({"drop_div": 0}, "drop_div: expected 1 or more, received 0"),
    ],
)
def test_wrong_settings(settings, expected):
    with pytest.raises(ConfigError, match=expected):
        LearningRate(**{"learning_rate": 0.1, **settings})
