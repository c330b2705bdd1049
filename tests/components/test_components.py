"""The component of the network's settings."""

import keras
import pytest
import tensorflow as tf

from kerasner.components import Ner
from kerasner.errors import ConfigError
from kerasner.layers import QuantizedEmbedding


def test_the_learning_rate_falls_from_epoch_to_epoch():
    rate = Ner(learning_rate=0.1, learning_rate_decay=0.5).optimizer(10)._learning_rate
    assert [round(float(rate(step)), 6) for step in (0, 9, 10, 20)] == [
        0.1,
        0.1,
        round(0.1 / 1.5, 6),
        0.05,
    ]


def test_optimizers():
    assert isinstance(Ner(optimizer="adam").optimizer(1), keras.optimizers.Adam)
    sgd = Ner(momentum=0.7, clip_norm=2.0).optimizer(1)
    assert (sgd.momentum, sgd.global_clipnorm) == (0.7, 2.0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"optimizer": "sdg"}, "optimizer 'sdg'; expected 'sgd' or 'adam'"),
        ({"learning_rate": "fast"}, "learning_rate: expected 0 or more, received 'fast'"),
        ({"dropout_keep_prob": 1.5}, "dropout_keep_prob: expected 0 to 1, received 1.5"),
        ({"moving_average": -0.1}, "moving_average: expected 0 to 1, received -0.1"),
        ({"clip_norm": float("nan")}, "clip_norm: expected 0 or more, received nan"),
    ],
)
def test_wrong_settings_of_the_network(settings, expected):
    with pytest.raises(ConfigError, match=expected):
        Ner(**settings)


def test_the_network_of_the_settings():
    ner = Ner(n_hidden_list=(3, 2), char_filters=4, char_emb_dim=5, dropout_keep_prob=0.75)
    embedding = QuantizedEmbedding(6, trainable_rows=3, frozen_rows=0)
    network = ner.network(["O", "B-X", "I-X"], embedding, n_chars=7)
    inputs = {"words": tf.ones([1, 2], tf.int32), "chars": tf.ones([1, 2, 3], tf.int32)}
    assert network(inputs).shape == (1, 3 + 2, 3 + 1)
    assert network.tags == ["O", "B-X", "I-X"]
    assert len(network.recurrent_layers) == 2
    assert network.token_features(inputs).shape == (1, 2, 6 + 4)
    assert network.get_config()["dropout"] == 0.25
    assert ner.network(["O"], embedding, None).char_features is None
