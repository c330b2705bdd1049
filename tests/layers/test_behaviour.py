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
        targets, loss: what to train the layer with, if it can be trained.
        float32: the outputs are float32 whatever the policy.
        mask: of the mask that goes on: "passed" as it came, "made" of the inputs, or None.
        call: calls the layer on the inputs.
    """

    make: Callable[..., keras.layers.Layer]
    inputs: np.ndarray
    free: tuple[int, ...] = (0, 1)
    targets: np.ndarray | None = None
    loss: Any = "mse"
    float32: bool = False
    mask: str | None = None
    call: Callable[..., Any] = lambda layer, inputs, **kwargs: layer(inputs, **kwargs)


def embedding(**kwargs):
    layer = layers.QuantizedEmbedding(3, trainable_rows=3, frozen_rows=4, mask_zero=True, **kwargs)
    layer.set_frozen(np.random.default_rng(0).normal(size=(4, 3)))
    return layer


def product_embedding(**kwargs):
    layer = layers.ProductQuantizedEmbedding(
        4, trainable_rows=3, frozen_rows=4, subspaces=2, centroids=3, mask_zero=True, **kwargs
    )
    layer.set_frozen(np.random.default_rng(0).normal(size=(4, 4)))
    return layer


def split_sentences(layer, texts):
    tokenized = TOKENIZER(texts)
    return layer(tokenized["tokens"], tokenized["paragraph_starts"])


STEPS = np.random.default_rng(0).normal(size=(4, 5, 6)).astype("float32")
IDS = np.array([[1, 2, 0], [2, 6, 3]], "int32")
WORDS = np.array([["Zoë", "lives", "in", "New", "York"], ["U.S.", "", "I", "GmbH", "'s"]], object)
TEXTS = np.array(["Zoë lives in\nNew York. She works.", "", "It's"], object)
TAGS = ["O", "B-PER", "I-PER"]
TOKENIZER = layers.Tokenizer("unicode")

# A new layer needs a line here and no tests of its own for what is below.
CASES = {
    "CRF": Case(
        lambda **kw: layers.CRF(tags=TAGS, constraints="always", **kw),
        STEPS, targets=np.ones([4, 5], "int32"), loss=CRFLoss(), float32=True,
    ),
    "LSTM": Case(
        lambda **kw: layers.LSTM(3, bidirectional=True, **kw),
        STEPS, targets=np.ones([4, 5, 6], "float32"), mask="passed",
    ),
    "CharCNN": Case(
        lambda **kw: layers.CharCNN([2, 3], [2, 3], char_dim=4, vocabulary_size=9, **kw),
        np.random.default_rng(0).integers(0, 9, (4, 5, 7)).astype("int32"),
        free=(0, 1, 2), targets=np.ones([4, 5, 5], "float32"),
    ),
    "QuantizedEmbedding": Case(
        embedding, IDS, targets=np.ones([2, 3, 3], "float32"), mask="made"
    ),
    "ProductQuantizedEmbedding": Case(
        product_embedding, IDS, targets=np.ones([2, 3, 4], "float32"), mask="made"
    ),
    "Capitalization": Case(lambda **kw: layers.Capitalization("extended", **kw), WORDS),
    "CharSplitter": Case(lambda **kw: layers.CharSplitter(max_chars=4, **kw), WORDS),
    "Lowercase": Case(layers.Lowercase, WORDS),
    "Sanitizer": Case(lambda **kw: layers.Sanitizer(nums=True, **kw), WORDS),
    "SentenceSplitter": Case(
        lambda **kw: layers.SentenceSplitter(max_tokens=3, **kw),
        TEXTS, free=(0,), call=split_sentences,
    ),
    "Tokenizer": Case(lambda **kw: layers.Tokenizer("unicode", **kw), TEXTS, free=(0,)),
}  # fmt: skip
ALL = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
TRAINABLE = {name: case for name, case in CASES.items() if case.targets is not None}
TRAINED = pytest.mark.parametrize("case", TRAINABLE.values(), ids=TRAINABLE.keys())


def test_every_layer_has_a_case():
    public = {name: getattr(layers, name) for name in layers.__all__}
    assert CASES.keys() == {
        name
        for name, value in public.items()
        if isinstance(value, type) and issubclass(value, keras.layers.Layer)
    }


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
    return keras.Model(inputs, case.call(case.make(), inputs))


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
    expected = case.call(layer, inputs)
    case.call(copy, inputs)
    copy.set_weights(layer.get_weights())
    assert_same(case.call(copy, inputs), expected)


@ALL
def test_any_shape_in_a_function(case):
    layer = case.make()
    expected = case.call(layer, tensor(case.inputs))
    function = tf.function(lambda inputs: case.call(layer, inputs), input_signature=[spec(case)])
    outputs = function(tensor(case.inputs))
    assert_same(outputs, expected)
    for axis in case.free:
        empty = tensor(case.inputs.take([], axis))
        results = tf.nest.flatten(case.call(layer, empty), expand_composites=True)
        shapes = [x.shape for x in results]
        results = tf.nest.flatten(function(empty), expand_composites=True)
        assert [x.shape for x in results] == shapes


@ALL
def test_in_an_input_pipeline(case):
    layer = case.make()
    expected = case.call(layer, tensor(case.inputs))
    dataset = tf.data.Dataset.from_tensor_slices(tensor(case.inputs)).batch(len(case.inputs))
    [outputs] = dataset.map(lambda inputs: case.call(layer, inputs))
    assert_same(outputs, expected)


def beginning(values, like):
    if isinstance(values, tf.RaggedTensor):
        return values[: like.shape[0]]
    return values[tuple(slice(size) for size in like.shape)]


@ALL
def test_padding_changes_nothing(case):
    """Empty words, characters and texts behind the others, or any numbers that are masked."""
    layer = case.make()
    expected = case.call(layer, tensor(case.inputs))
    nothing = {"f": 1e4, "i": 0, "O": ""}[case.inputs.dtype.kind]
    for axis in case.free[1:] or case.free:
        widths = [(0, 2 * (i == axis)) for i in range(case.inputs.ndim)]
        padded = np.pad(case.inputs, widths, constant_values=nothing)
        mask = {}
        if padded.dtype.kind == "f":
            mask["mask"] = tf.sequence_mask([case.inputs.shape[1]] * len(padded), padded.shape[1])
        outputs = case.call(layer, tensor(padded), **mask)
        assert_same(tf.nest.map_structure(beginning, outputs, expected), expected)


@TRAINED
def test_mask_that_goes_on(case):
    inputs = tensor(case.inputs)
    mask = tf.sequence_mask(np.arange(len(inputs)), inputs.shape[1])
    takes_mask = inputs.dtype.is_floating
    outputs = case.make()(inputs, **({"mask": mask} if takes_mask else {}))
    got = getattr(outputs, "_keras_mask", None)
    if case.mask is None:
        assert got is None
    else:
        np.testing.assert_array_equal(got, mask if case.mask == "passed" else inputs != 0)


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
    exported.model = model_of(case)
    exported.tokenizer = TOKENIZER
    exported.serve = tf.function(lambda x: exported.model(x), input_signature=[spec(case)])
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


@pytest.mark.parametrize("half, tolerance", [("float16", 0.02), ("bfloat16", 0.1)])
@TRAINED
def test_mixed_precision(case, half, tolerance):
    exact, mixed = case.make(), case.make(dtype=f"mixed_{half}")
    inputs = tensor(case.inputs)
    expected = exact(inputs)
    mixed(inputs)
    mixed.set_weights(exact.get_weights())
    outputs = mixed(inputs)
    assert outputs.dtype == ("float32" if case.float32 else half)
    for weight in mixed.trainable_weights:
        assert tf.as_dtype(weight.dtype) == tf.float32
    finite = expected > -1e8  # The CRF's forbidden potentials.
    difference = tf.where(finite, tf.cast(outputs, tf.float32) - expected, 0.0)
    np.testing.assert_allclose(difference, tf.zeros_like(expected), atol=tolerance)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@TRAINED
def test_gradients_reach_all_weights(case, policy):
    layer = case.make(dtype=policy)
    inputs = tensor(case.inputs)
    layer(inputs)
    with tf.GradientTape() as tape:
        outputs = tf.cast(layer(inputs, training=True), tf.float32)
        loss = tf.reduce_sum(outputs**2) if case.loss == "mse" else case.loss(case.targets, outputs)
    variables = layer.trainable_variables
    sources = [v if isinstance(v, tf.Variable) else v.value for v in variables]
    assert variables
    for gradient in tape.gradient(loss, sources):
        assert gradient.dtype == tf.float32
        gradient = tf.convert_to_tensor(gradient).numpy()
        assert np.isfinite(gradient).all() and gradient.any()


def compiled(case):
    model = model_of(case)
    model.compile(keras.optimizers.SGD(0.1), case.loss)
    return model


def losses(model, case):
    return model.fit(case.inputs, case.targets, epochs=3, verbose=0).history["loss"]


@TRAINED
def test_fits(case):
    model = compiled(case)
    first, second, third = losses(model, case)
    assert first > second > third
    outputs = model.predict(case.inputs, verbose=0)
    np.testing.assert_allclose(outputs, model(tensor(case.inputs)), rtol=1e-5, atol=1e-6)


@TRAINED
def test_fits_under_a_strategy(case):
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = compiled(case)
    first, second, third = losses(model, case)
    assert first > second > third
