"""The component `ner`: its network, its optimizer, and what is said about wrong parameters."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasner.components import Ner
from kerasner.encoders import BidirectionalGRU, Convolution
from kerasner.errors import ConfigError
from kerasner.layers import CRF, LSTM, QuantizedEmbedding

TAGS = ["O", "B-X", "I-X"]


def embedding(dim=6):
    return QuantizedEmbedding(dim, trainable_rows=3, frozen_rows=0)


def test_defaults_are_deeppavlovs():
    defaults = {n: p.default for n, p in inspect.signature(Ner).parameters.items()}
    expected = {
        "net_type": "rnn", "cell_type": "lstm", "use_cudnn_rnn": False, "two_dense_on_top": False,
        "n_hidden_list": (128,), "cnn_filter_width": 7, "use_crf": False, "use_batch_norm": False,
        "dropout_keep_prob": 0.5, "embeddings_dropout": False, "top_dropout": False,
        "intra_layer_dropout": False, "l2_reg": 0.0, "gpu": None, "seed": None,
        "learning_rate": 3e-3, "learning_rate_decay": "no", "learning_rate_drop_patience": 5,
        "learning_rate_drop_div": 10.0, "clip_norm": 5.0, "optimizer": "adam",
    }  # fmt: skip
    assert {name: defaults[name] for name in expected} == expected


def test_the_network_of_the_settings():
    ner = Ner(
        n_hidden_list=[3, 2], char_filters=4, char_emb_dim=5, dropout_keep_prob=0.75,
        top_dropout=True, use_crf=True, l2_reg=0.1, constraints="always", n_tags=3, token_emb_dim=6,
        adversarial=0.03,
    )  # fmt: skip
    network = ner.network(TAGS, embedding(), 7, {})
    inputs = {"words": tf.ones([1, 2], tf.int32), "chars": tf.ones([1, 2, 3], tf.int32)}
    assert network(inputs).shape == (1, 3 + 2, 3 + 1)
    assert network.tags == TAGS
    assert [type(layer) for layer in network.encoder_layers] == [LSTM, LSTM]
    assert [layer.units for layer in network.encoder_layers] == [3, 2]
    assert network.token_features(inputs).shape == (1, 2, 6 + 4)
    assert network.char_features.char_dim == 5
    assert isinstance(network.crf, CRF)
    expected = {
        "dropout": 0.25, "embeddings_dropout": False, "intra_layer_dropout": False,
        "top_dropout": True, "l2_reg": 0.1, "constraints": "always", "two_dense_on_top": False,
        "adversarial": 0.03,
    }  # fmt: skip
    settings = network.get_config()
    assert {name: settings[name] for name in expected} == expected
    assert Ner().network(TAGS, embedding(), None, {}).char_features is None


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"cell_type": "gru"}, BidirectionalGRU),
        ({"net_type": "cnn", "cnn_filter_width": 5, "use_batch_norm": True}, Convolution),
    ],
)
def test_other_networks(settings, kind):
    network = Ner(n_hidden_list=[3], two_dense_on_top=True, **settings).network(
        TAGS, embedding(), None, {}
    )
    assert [type(layer) for layer in network.encoder_layers] == [kind]
    assert network.dense.units == 3 and not network.use_crf
    if kind is Convolution:
        layer = network.encoder_layers[0]
        assert layer.kernel_size == 5 and layer.batch_norm


def test_characters_as_deeppavlov_has_them():
    matrix = np.arange(8.0).reshape(4, 2)
    network = Ner(char_emb_mat=matrix, char_emb_dim=2).network(TAGS, embedding(), 4, {})
    chars = network.char_features
    assert chars.kernel_size == [3, 4, 5, 7] and chars.filters == [2] * 4
    assert chars.activation is keras.activations.linear
    np.testing.assert_array_equal(chars.embeddings, matrix[1:])  # padding has no row
    assert chars(tf.constant([[[1, 3, 0], [2, 0, 0]]])).shape == (1, 2, 8)
    ours = Ner(char_filters=[3, 4], char_filter_width=[2, 3]).network(TAGS, embedding(), 4, {})
    assert ours.char_features.filters == [3, 4] and ours.char_features.char_dim == 30


def test_words_as_ids_of_a_vocabulary():
    matrix = np.random.default_rng(0).normal(size=(5, 3))
    network = Ner(token_emb_mat=matrix, n_hidden_list=[2]).network(TAGS, 5, None, {})
    inputs = {"words": tf.constant([[1, 4, 2, 0]])}
    vectors = network.token_features(inputs)[0]
    np.testing.assert_allclose(vectors[:3], matrix[[1, 4, 2]], rtol=1e-6)
    assert not np.any(vectors[3])
    network(inputs)
    assert any("embeddings" in w.name for w in network.trainable_weights)
    assert Ner(token_emb_dim=7).network(TAGS, 5, None, {}).token_embedding.output_dim == 7


def test_words_as_vectors():
    network = Ner(token_emb_dim=4, n_hidden_list=[2]).network(TAGS, None, None, {})
    inputs = {"words": tf.ones([1, 2, 4]), "mask": tf.ones([1, 2])}
    assert network(inputs).shape == (1, 3 + 2, 3 + 1)


def test_a_seed_gives_the_same_weights():
    weights = []
    for seed in (5, 5, 6):
        network = Ner(n_hidden_list=[2], seed=seed).network(TAGS, embedding(), None, {})
        network(dict(words=tf.ones([1, 2], tf.int32)))
        weights.append(network.encoder_layers[0].get_weights()[0])
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.allclose(weights[0], weights[2])


WIDTHS = {"cap": 4, "pos": 20, "gazetteer": 4}


def test_widths_that_agree():
    ner = Ner(
        capitalization_dim=4, pos_features_dim=20, additional_features=[["g", 4]], n_tags=3,
        token_emb_dim=6,
    )  # fmt: skip
    ner.network(TAGS, embedding(), None, WIDTHS)


@pytest.mark.parametrize(
    ("settings", "words", "n_chars", "expected"),
    [
        ({"n_tags": 4}, embedding(), None, "n_tags 4; the pipeline has 3 tags"),
        ({"token_emb_dim": 5}, embedding(), None, "token_emb_dim 5; the word vectors have 6"),
        ({"capitalization_dim": 6}, embedding(), None, "capitalization_dim 6; .*'cap': 4"),
        (
            {"additional_features": [["a", 4], ["b", 4], ["c", 4]]}, embedding(), None,
            "additional_features: c 4; the pipeline has",
        ),
        ({}, 9, None, "expected token_emb_mat or token_emb_dim, received neither"),
        ({"token_emb_mat": np.ones([8, 3])}, 9, None, "token_emb_mat: expected 9 rows.* 8"),
        ({"token_emb_mat": np.ones([9, 3])}, None, None, "expected ids of a vocabulary as first"),
        ({}, embedding(), 5, "expected char_emb_dim or char_filters, received neither"),
        ({"char_emb_mat": np.ones([4, 3])}, embedding(), 5, "char_emb_mat: expected 5 rows.* 4"),
        ({"char_emb_dim": 3}, embedding(), None, "expected character ids of a vocabulary among"),
    ],
)  # fmt: skip
def test_parameters_that_contradict_the_pipeline(settings, words, n_chars, expected):
    with pytest.raises(ConfigError, match=expected):
        Ner(**settings).network(TAGS, words, n_chars, WIDTHS)


def test_optimizers():
    adam = Ner(learning_rate=[0.1, 0.5], learning_rate_decay="linear", momentum=0.8).optimizer()
    assert isinstance(adam, keras.optimizers.Adam)
    assert (adam.beta_1, adam.global_clipnorm) == (0.8, 5.0)
    np.testing.assert_allclose(float(tf.convert_to_tensor(adam.learning_rate)), 0.1, rtol=1e-6)
    sgd = Ner(optimizer="sgd", momentum=0.7, clip_norm=None).optimizer()
    assert isinstance(sgd, keras.optimizers.SGD)
    assert (sgd.momentum, sgd.global_clipnorm) == (0.7, None)
    for name, kind in (("Adam", keras.optimizers.Adam), ("Momentum", keras.optimizers.SGD)):
        assert isinstance(Ner(optimizer=f"tensorflow.train:{name}Optimizer").optimizer(), kind)


def test_the_schedule_of_the_settings():
    schedule = Ner(
        learning_rate=0.8, learning_rate_decay="linear", learning_rate_decay_batches=8,
        learning_rate_drop_patience=3, learning_rate_drop_div=2,
    ).schedule(steps_per_epoch=4, epochs=9)  # fmt: skip
    assert schedule.drop_patience == 3
    np.testing.assert_allclose([schedule.rate(0, 2), schedule.rate(1, 2)], [0.6, 0.2])
    schedule.drops = 1
    np.testing.assert_allclose(schedule.rate(0, 2), 0.3)
    falling = Ner(learning_rate=0.1, learning_rate_decay=0.5).schedule(10, 3)
    np.testing.assert_allclose([falling.rate(e) for e in range(3)], [0.1, 0.1 / 1.5, 0.05])
    assert Ner(learning_rate_decay="linear").schedule(10, 4).rate(2) == 3e-3 / 2


def test_older_names():
    ner = Ner(lr_drop_patience=7, lr_drop_value=0.1, clip_grad_norm=2.0)
    schedule = ner.schedule(1, 1)
    assert schedule.drop_patience == 7 and ner.optimizer().global_clipnorm == 2.0
    schedule.drops = 1
    np.testing.assert_allclose(schedule.rate(0), 3e-4)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"optimizer": "sdg"}, "optimizer 'sdg'; expected one of 'adam', 'sgd', 'tensorflow.train"),
        ({"optimizer": ["sgd"]}, r"optimizer \['sgd'\]; expected one of 'adam', 'sgd'"),
        ({"learning_rate": "fast"}, "learning_rate: expected 0 or more, received 'fast'"),
        ({"learning_rate_decay": "linaer"}, "unknown decay 'linaer'; did you mean 'linear'"),
        ({"dropout_keep_prob": 1.5}, "dropout_keep_prob: expected 1e-06 to 1, received 1.5"),
        ({"dropout_keep_prob": 0}, "dropout_keep_prob: expected 1e-06 to 1, received 0"),
        ({"moving_average": -0.1}, "moving_average: expected 0 to 1, received -0.1"),
        ({"clip_norm": float("nan")}, "clip_norm: expected 0 or more, received nan"),
        ({"use_crf": "true"}, "use_crf: expected true or false, received 'true'"),
        ({"n_hidden_list": 128}, "n_hidden_list: expected a list, received 128"),
        ({"n_hidden_list": [1.5]}, "n_hidden_list: expected 1 or more, a whole number"),
        ({"n_tags": 0}, "n_tags: expected 1 or more, a whole number, received 0"),
        ({"gpu": "0"}, "gpu: expected 0 or more, a whole number, received '0'"),
        ({"mode": 3}, "mode: expected a string, received 3"),
        ({"additional_features": 5}, r"expected a list of \[name, width\], received 5"),
        ({"additional_features": [["a", 0]]}, "additional_features: a: expected 1 or more"),
        ({"token_emb_mat": [1, 2]}, r"token_emb_mat: expected a matrix \[V, D\], received shape"),
        ({"char_emb_dim": 3, "char_emb_mat": np.ones([2, 4])}, r"a matrix \[V, 3\]"),
        ({"fit_batch_size": 64}, "no search for a learning rate; leave it out"),
        ({"momentum": [0.9, 0.5]}, r"momentum: expected 0 to 1, received \[0.9, 0.5\]"),
        ({"momentum_decay": "linear"}, "momentum_decay 'linear' .*momentum is constant"),
        (
            {"lr_drop_patience": 3, "learning_rate_drop_patience": 4},
            "lr_drop_patience is an older name of learning_rate_drop_patience",
        ),
        ({"lr_drop_value": 0.1, "learning_rate_drop_div": 2}, "older name of learning_rate_drop_d"),
        ({"clip_grad_norm": 1, "clip_norm": None}, "clip_grad_norm is an older name of clip_norm"),
        ({"lr_drop_value": 0}, "lr_drop_value: expected"),
    ],
)
def test_wrong_parameters(settings, expected):
    with pytest.raises(ConfigError, match=expected):
        Ner(**settings)
