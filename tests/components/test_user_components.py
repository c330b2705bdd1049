"""What a user registers, class, Keras layer or function, is a component like the others."""

import copy
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasner
from kerasner import config as configuration
from kerasner.chainer import Chainer
from kerasner.errors import ConfigError

DATA = {
    "x": tf.constant(["Ivo", "lives", "in", "Lund", "since", "1996"]),
    "y": tf.constant(["B-PER", "O", "O", "B-LOC", "O", "O"]),
}


@kerasner.register("user_lengths")
class Lengths:
    """A class with state: lengths over the mean length of the training tokens."""

    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def fit(self, tokens: tf.Tensor) -> None:
        self.mean = float(tf.reduce_mean(tf.cast(tf.strings.length(tokens), tf.float32)))

    def save(self, folder: Path, name: str) -> None:
        (folder / f"{name}.txt").write_text(str(self.mean))

    def load(self, folder: Path, name: str) -> None:
        self.mean = float((folder / f"{name}.txt").read_text())

    def __call__(self, tokens: tf.Tensor) -> tf.Tensor:
        lengths = tf.cast(tf.strings.length(tokens), tf.float32)
        return self.scale * lengths[:, None] / self.mean


@kerasner.register("user_digits")
class Digits(keras.layers.Layer):
    """A Keras layer: which tokens are numbers."""

    def __init__(self, pattern: str = "[0-9]+", **kwargs):
        super().__init__(**kwargs)
        self.pattern = pattern
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True

    def call(self, tokens: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.strings.regex_full_match(tokens, self.pattern), tf.float32)[:, None]


@kerasner.register("user_begins")
def begins(tokens: tf.Tensor, letters: str = "aeiou") -> tf.Tensor:
    """A function: whether a token begins with one of some letters."""
    return tf.cast(tf.strings.regex_full_match(tokens, f"[{letters}].*"), tf.float32)[:, None]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    vectors = tmp_path_factory.mktemp("vectors") / "vectors.txt"
    vectors.write_text("lives 1 0\nin 0 1\nlund 1 1\n")
    settings = [
        f"chainer.pipe.glove.load_path={vectors}",
        "chainer.pipe.ner.n_hidden_list=[2]",
        "chainer.pipe.ner.char_filters=2",
    ]
    loaded = configuration.override(configuration.load("ner_conll2003"), settings)
    config = configuration.resolve(loaded)["chainer"]
    own = [
        {"class_name": "user_lengths", "scale": 2.0, "fit_on": ["x_tokens"], "out": ["long"]},
        {"class_name": "user_digits", "out": ["number"]},
        {"class_name": "user_begins", "letters": "IL", "out": ["begins"]},
    ]
    position = next(i for i, entry in enumerate(config["pipe"]) if "in_y" in entry)
    config["pipe"][position:position] = [{**entry, "in": ["x_tokens"]} for entry in own]
    config["pipe"][position + len(own)]["in"] += ["long", "number", "begins"]
    return config


def test_they_are_inputs_of_the_network(config, tmp_path):
    chainer = Chainer(config, data=DATA)
    tokens = tf.constant(["1996", "Lund"])
    inputs = chainer.encode(tokens)
    mean = (3 + 5 + 2 + 4 + 5 + 4) / 6
    np.testing.assert_allclose(inputs["long"], [[8 / mean], [8 / mean]], rtol=1e-6)
    np.testing.assert_array_equal(inputs["number"], [[1], [0]])
    np.testing.assert_array_equal(inputs["begins"], [[0], [1]])
    chainer.save(tmp_path)
    loaded = Chainer(config, folder=tmp_path).encode(tokens)
    np.testing.assert_allclose(loaded["long"], inputs["long"], rtol=1e-6)


@kerasner.register("user_names")
class Names(Lengths):
    """Learns from tokens and their tags."""

    def fit(self, tokens: tf.Tensor, tags: tf.Tensor) -> None:
        self.names = tf.boolean_mask(tokens, tags != "O").numpy().tolist()
        super().fit(tokens)


def test_what_learns_from_tokens_and_tags_gets_one_tag_a_token(config):
    own = copy.deepcopy(config)
    entry = next(entry for entry in own["pipe"] if entry.get("class_name") == "user_lengths")
    entry |= {"class_name": "user_names", "fit_on": ["x_tokens", "y"]}
    # The part valid adds tags to the vocabulary of tags, and no tokens.
    chainer = Chainer(own, data={**DATA, "y": tf.concat([DATA["y"], ["O", "B-ORG"]], 0)})
    (names,) = (s.component for s in chainer._steps if isinstance(s.component, Names))
    assert names.names == [b"Ivo", b"Lund"]
    assert "B-ORG" in chainer.network.tags


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("scal", 1, "unknown key 'scal': did you mean 'scale'"),
        ("scale", "wide", "chainer.pipe"),
    ],
)
def test_their_parameters_are_checked(config, key, value, expected):
    wrong = copy.deepcopy(config)
    entry = next(entry for entry in wrong["pipe"] if entry.get("class_name") == "user_lengths")
    entry[key] = value
    with pytest.raises(ConfigError, match=expected):
        Chainer(wrong, data=DATA)
