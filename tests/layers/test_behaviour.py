"""What every layer has to do, whatever it computes: the same checks for all."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasner import layers
from kerasner.losses import CRFLoss


class Case(NamedTuple):
    """A layer and an input for it.

    Attributes:
        make: makes the layer, with keyword arguments of `keras.layers.Layer`.
        inputs: a batch.
        free: axes of the inputs that may have any length.
        half: dtype of the outputs under the policy mixed_float16.
        loss, targets: what to train the layer with.
    """

    make: Callable[..., keras.layers.Layer]
    inputs: np.ndarray
    free: tuple[int, ...] = (0, 1)
    half: str | None = None
    loss: Any = "mse"
    targets: np.ndarray | None = None


def embedding(**kwargs):
    layer = layers.QuantizedEmbedding(3, trainable_rows=3, frozen_rows=4, **kwargs)
    layer.set_frozen(np.random.default_rng(0).normal(size=(4, 3)))
    return layer


STEPS = np.random.default_rng(0).normal(size=(4, 5, 6)).astype("float32")
WORDS = np.array([["Zoë", "lives", "in", "New", "York"], ["U.S.", "", "I", "GmbH", "'s"]], object)
TAGS = ["O", "B-PER", "I-PER"]

CASES = {
    "CRF": Case(
        lambda **kw: layers.CRF(tags=TAGS, constraints="always", **kw),
        STEPS, half="float32", loss=CRFLoss(), targets=np.ones([4, 5], "int32"),
    ),
    "LSTM": Case(
        lambda **kw: layers.LSTM(3, bidirectional=True, **kw),
        STEPS, half="float16", targets=np.ones([4, 5, 6], "float32"),
    ),
    "CharCNN": Case(
        lambda **kw: layers.CharCNN([2, 3], [2, 3], char_dim=4, vocabulary_size=9, **kw),
        np.random.default_rng(0).integers(0, 9, (4, 5, 7)).astype("int32"),
        free=(0, 1, 2), half="float16", targets=np.ones([4, 5, 5], "float32"),
    ),
    "QuantizedEmbedding": Case(
        embedding, np.array([[1, 2, 0], [2, 6, 3]], "int32"),
        half="float16", targets=np.ones([2, 3, 3], "float32"),
    ),
    "Capitalization": Case(lambda **kw: layers.Capitalization("extended", **kw), WORDS),
    "CharSplitter": Case(lambda **kw: layers.CharSplitter(max_chars=4, **kw), WORDS),
    "Lowercase": Case(layers.Lowercase, WORDS),
    "Sanitizer": Case(lambda **kw: layers.Sanitizer(nums=True, **kw), WORDS),
    "Tokenizer": Case(
        lambda **kw: layers.Tokenizer("unicode", **kw),
        np.array(["Zoë lives in\nNew York.", "", "It's"], object), free=(0,),
    ),
}  # fmt: skip
ALL = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
TRAINABLE = {name: case for name, case in CASES.items() if case.half}
TRAINED = pytest.mark.parametrize("case", TRAINABLE.values(), ids=TRAINABLE.keys())


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(1)


def tensor(values):
    return tf.constant(values, tf.string if values.dtype == object else values.dtype)


def spec(case):
    shape = [None if axis in case.free else n for axis, n in enumerate(case.inputs.shape)]
    return tf.TensorSpec(shape, tensor(case.inputs).dtype)


def model_of(case):
    """A functional model of the layer alone."""
    shape, dtype = spec(case).shape[1:], spec(case).dtype.name
    inputs = keras.Input(shape, dtype=dtype)
    return keras.Model(inputs, case.make()(inputs))


def assert_same(a, b, **tolerance):
    a, b = tf.nest.flatten(a, expand_composites=True), tf.nest.flatten(b, expand_composites=True)
    for x, y in zip(a, b, strict=True):
        assert x.dtype == y.dtype
        if x.dtype.is_floating:
            np.testing.assert_allclose(x, y, **{"rtol": 1e-5, "atol": 1e-6, **tolerance})
        else:
            np.testing.assert_array_equal(x, y)


@ALL
def test_config_makes_the_same_layer(case):
    layer = case.make(name="mine")
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    assert config["registered_name"] == f"kerasner>{type(layer).__name__}"
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is type(layer) and copy.name == "mine"
    assert copy.get_config() == layer.get_config()
    inputs = tensor(case.inputs)
    expected = layer(inputs)
    copy(inputs)
    copy.set_weights(layer.get_weights())
    assert_same(copy(inputs), expected)


@ALL
def test_any_shape_in_a_function(case):
    layer = case.make()
    expected = layer(tensor(case.inputs))
    function = tf.function(layer, input_signature=[spec(case)])
    outputs = function(tensor(case.inputs))
    assert_same(outputs, expected)
    for axis in case.free:
        empty = tensor(case.inputs.take([], axis))
        shapes = [x.shape for x in tf.nest.flatten(layer(empty), expand_composites=True)]
        results = tf.nest.flatten(function(empty), expand_composites=True)
        assert [x.shape for x in results] == shapes


@ALL
def test_keras_file(case, tmp_path):
    model = model_of(case)
    inputs = tensor(case.inputs)
    expected = model(inputs)
    model.save(tmp_path / "model.keras")
    assert_same(keras.models.load_model(tmp_path / "model.keras")(inputs), expected)


@ALL
def test_saved_model(case, tmp_path):
    exported = tf.Module()
    exported.layer = case.make()
    exported.serve = tf.function(exported.layer, input_signature=[spec(case)])
    inputs = tensor(case.inputs)
    expected = exported.serve(inputs)
    tf.saved_model.save(exported, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    assert_same(loaded.serve(inputs), expected)


@TRAINED
def test_weights_file(case, tmp_path):
    model, other = model_of(case), model_of(case)
    weights = [w + np.ones_like(w) for w in model.get_weights()]
    model.set_weights(weights)
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    for loaded, weight in zip(other.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(loaded, weight)


@TRAINED
def test_static_shape_is_the_real_one(case):
    model = model_of(case)
    outputs = model(tensor(case.inputs))
    for known, real in zip(model.outputs[0].shape, outputs.shape, strict=True):
        assert known in (None, real)
    assert model.outputs[0].shape[-1] == outputs.shape[-1]
    assert case.make().compute_output_shape(case.inputs.shape) == tuple(outputs.shape)


@TRAINED
def test_mixed_precision(case):
    exact, mixed = case.make(), case.make(dtype="mixed_float16")
    inputs = tensor(case.inputs)
    expected = exact(inputs)
    mixed(inputs)
    mixed.set_weights(exact.get_weights())
    outputs = mixed(inputs)
    assert outputs.dtype == case.half
    for weight in mixed.trainable_weights:
        assert tf.as_dtype(weight.dtype) == tf.float32
    finite = expected > -1e8  # The CRF's forbidden potentials.
    difference = tf.where(finite, tf.cast(outputs, tf.float32) - expected, 0.0)
    np.testing.assert_allclose(difference, tf.zeros_like(expected), atol=0.02)


@TRAINED
def test_gradients_reach_all_weights(case):
    layer = case.make()
    inputs = tensor(case.inputs)
    layer(inputs)
    with tf.GradientTape() as tape:
        outputs = layer(inputs)
        loss = tf.reduce_sum(outputs**2) if case.loss == "mse" else case.loss(case.targets, outputs)
    variables = layer.trainable_variables
    sources = [v if isinstance(v, tf.Variable) else v.value for v in variables]
    assert variables
    for gradient in tape.gradient(loss, sources):
        gradient = tf.convert_to_tensor(gradient).numpy()
        assert np.isfinite(gradient).all() and gradient.any()


@TRAINED
def test_fits(case):
    model = model_of(case)
    model.compile(keras.optimizers.SGD(0.1), case.loss)
    losses = model.fit(case.inputs, case.targets, epochs=3, verbose=0).history["loss"]
    assert losses[0] > losses[1] > losses[2]
    outputs = model.predict(case.inputs, verbose=0)
    np.testing.assert_allclose(outputs, model(tensor(case.inputs)), rtol=1e-5, atol=1e-6)
