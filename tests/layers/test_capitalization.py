import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner.layers.capitalization import Capitalization

NONE = -1
WORDS = {
    "word": 0,
    "iPhone": 0,
    "été": 0,
    "ж": 0,
    "a1": 0,
    "A": 1,
    "É": 1,
    "Word": 2,
    "McDonald": 2,
    "Москва": 2,
    "A1b": 2,
    "NATO": 3,
    "ЕС": 3,
    "A1": 4,
    "1996": 4,
    "1st": 4,
    "U.N.": 5,
    "'s": 5,
    "O'BRIEN": 5,
    "日本": 5,
    ".": NONE,
    "--": NONE,
    "": NONE,
    "½": NONE,
}


def kinds(words, scheme) -> list[int]:
    vectors = Capitalization(scheme)(words).numpy()
    assert vectors.dtype == np.float32
    assert set(vectors.sum(axis=-1)) <= {0.0, 1.0}
    return [int(v.argmax()) if v.any() else NONE for v in vectors]


def test_extended():
    assert kinds(list(WORDS), "extended") == list(WORDS.values())


def test_basic():
    assert kinds(list(WORDS), "basic") == [k if k < 4 else NONE for k in WORDS.values()]


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.text(st.characters(max_codepoint=0x7F, categories=["L", "N", "P"]), max_size=5))
def test_as_deeppavlov_does(word):
    if word and word[0].islower():
        expected = 0
    elif len(word) == 1 and word.isupper():
        expected = 1
    elif len(word) > 1 and word[0].isupper() and any(c.islower() for c in word):
        expected = 2
    elif len(word) > 1 and all(c.isupper() for c in word):
        expected = 3
    else:
        expected = NONE
    assert kinds([word], "basic") == [expected]


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.binary(max_size=6))
def test_any_bytes(raw):
    text = raw.decode("utf-8", "replace").encode()
    layer = Capitalization("extended")
    np.testing.assert_array_equal(layer([raw]), layer([text]))


@pytest.mark.parametrize("scheme, dim", [("basic", 4), ("extended", 6)])
def test_shapes(scheme, dim):
    layer = Capitalization(scheme)
    assert layer.dim == dim
    for shape in ([], [0], [2, 3], [2, 0, 1]):
        assert layer(tf.zeros(shape, tf.string)).shape == (*shape, dim)
    function = tf.function(layer.call, input_signature=[tf.TensorSpec([None, None], tf.string)])
    output = function.get_concrete_function().structured_outputs
    assert output.shape.as_list() == [None, None, dim]
    assert output.dtype == tf.float32


def test_in_models_and_pipelines(tmp_path):
    inputs = keras.Input((None,), dtype="string")
    model = keras.Model(inputs, Capitalization("extended")(inputs))
    words = tf.constant([["Ab", "1"]])
    expected = [[[0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 0]]]
    assert model(words).numpy().tolist() == expected
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded(words).numpy().tolist() == expected
    data = tf.data.Dataset.from_tensors(words).map(Capitalization("extended"))
    assert next(iter(data)).numpy().tolist() == expected


def test_bad_scheme():
    with pytest.raises(ValueError, match="'basic', 'extended'.*'full'"):
        Capitalization("full")
