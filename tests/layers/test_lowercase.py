import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner.layers.lowercase import Lowercase


def decoded(strings: tf.Tensor) -> list:
    return np.vectorize(bytes.decode, otypes=[object])(strings.numpy()).tolist()


def test_values_and_shapes():
    assert decoded(Lowercase()([["Göttingen", "ÄRA"], ["МОСКВА", ""]])) == [
        ["göttingen", "ära"],
        ["москва", ""],
    ]
    assert Lowercase()("ABC").numpy() == b"abc"
    assert Lowercase()(["A\0B", "\0"]).numpy().tolist() == [b"a\0b", b"\0"]
    assert Lowercase()(tf.zeros([0, 3], tf.string)).shape == (0, 3)
    assert Lowercase()(np.array(["A"], object)).numpy().tolist() == [b"a"]


# The letters of common scripts: newer ones have cases in some Unicode versions only.
@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.text(st.characters(max_codepoint=0x586, exclude_categories=["Cs"]), max_size=20))
def test_as_python_does(text):
    assert Lowercase()([text])[0].numpy().decode() == text.lower()


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.binary(max_size=20))
def test_any_bytes(raw):
    text = raw.decode("utf-8", "replace")
    assert Lowercase()([raw])[0].numpy() == Lowercase()([text])[0].numpy()


def test_in_models_and_pipelines(tmp_path):
    inputs = keras.Input((None,), dtype="string")
    model = keras.Model(inputs, Lowercase()(inputs))
    assert model(tf.constant([["Ab", "C"]])).numpy().tolist() == [[b"ab", b"c"]]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded(tf.constant([["Ab", "C"]])).numpy().tolist() == [[b"ab", b"c"]]
    data = tf.data.Dataset.from_tensor_slices(["Ab", "C"]).batch(2).map(Lowercase())
    assert next(iter(data)).numpy().tolist() == [b"ab", b"c"]


@pytest.mark.parametrize("shape", [[None], [None, None], None])
def test_static_shape_is_kept(shape):
    function = tf.function(Lowercase().call, input_signature=[tf.TensorSpec(shape, tf.string)])
    outputs = function.get_concrete_function().structured_outputs
    assert outputs.shape.rank == (None if shape is None else len(shape))
