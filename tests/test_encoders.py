import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner.encoders import BidirectionalGRU, Convolution
from kerasner.losses import CRFLoss
from kerasner.network import NerNetwork

WIDTH = 3


def made(kind, **kwargs):
    keras.utils.set_random_seed(0)
    if kind == "gru":
        layer = BidirectionalGRU(4, **kwargs)
    else:
        layer = Convolution(4, 4, batch_norm=True, **kwargs)
    layer.build((None, None, WIDTH))
    rng = np.random.default_rng(0)
    layer.set_weights([np.abs(rng.normal(size=w.shape)) for w in layer.get_weights()])
    return layer


@pytest.fixture(scope="module", params=["gru", "convolution"])
def traced(request):
    layer = made(request.param)
    specs = [tf.TensorSpec([None, None, WIDTH]), tf.TensorSpec([None, None], tf.bool)]
    return tf.function(lambda x, mask: layer(x, mask=mask), input_signature=specs)


@settings(deadline=None, max_examples=20, derandomize=True)
@given(
    mask=st.lists(st.lists(st.booleans(), min_size=5, max_size=5), max_size=4),
    seed=st.integers(0, 10**6),
)
def test_each_sentence_is_its_tokens_alone(traced, mask, seed):
    """Padding anywhere, other sentences and empty ones change nothing."""
    mask = np.array(mask, bool).reshape(-1, 5)
    inputs = np.random.default_rng(seed).normal(size=(*mask.shape, WIDTH)).astype("float32")
    outputs = traced(inputs, mask).numpy()
    assert not outputs[~mask].any()
    for row, steps in enumerate(mask):
        alone = traced(inputs[row : row + 1, steps], np.ones([1, steps.sum()], bool))
        np.testing.assert_allclose(outputs[row, steps], alone[0], atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 5), (2, 0), (0, 0)])
def test_nothing_to_do(traced, shape):
    assert traced(tf.zeros([*shape, WIDTH]), tf.ones(shape, tf.bool)).shape[:2] == shape


def test_gru_is_that_of_keras():
    layer = made("gru")
    theirs = keras.layers.Bidirectional(keras.layers.GRU(4, return_sequences=True))
    theirs.build((None, None, WIDTH))
    theirs.set_weights(layer.get_weights())
    inputs = np.random.default_rng(1).normal(size=(2, 6, WIDTH)).astype("float32")
    np.testing.assert_allclose(layer(inputs), theirs(inputs), atol=1e-6)


def test_convolution_by_hand():
    layer = Convolution(1, 3)
    layer.build((None, None, 1))
    layer.set_weights([np.array([1.0, 10.0, 100.0]).reshape(3, 1, 1), np.array([-5.0])])
    inputs = np.array([[[1.0], [2.0], [7.0]], [[-1.0], [0.0], [0.0]]], "float32")
    outputs = layer(inputs, mask=np.array([[True, True, False], [True, True, True]]))
    # Before, here and after; 7 is masked.
    np.testing.assert_allclose(outputs[0, :, 0], [10 + 200 - 5, 1 + 20 - 5, 0])
    np.testing.assert_allclose(outputs[1, :, 0], [0, 0, 0])


def test_batch_norm_counts_tokens_alone():
    layer = Convolution(2, 1, batch_norm=True)
    layer.build((None, None, 2))
    convolution, normalization = layer.convolution, layer.normalization
    convolution.set_weights([np.eye(2)[None], np.zeros(2)])
    tokens = np.array([[1.0, 10.0], [3.0, 30.0], [8.0, -40.0]], "float32")
    inputs = np.full([2, 3, 2], 99.0, "float32")
    inputs[0, :2], inputs[1, 0] = tokens[:2], tokens[2]
    mask = np.array([[True, True, False], [True, False, False]])
    mean, variance = tokens.mean(0), tokens.var(0)
    outputs = layer(inputs, mask=mask, training=True).numpy()
    expected = np.maximum((tokens - mean) / np.sqrt(variance + 1e-3), 0)
    np.testing.assert_allclose(outputs[mask], expected, rtol=1e-4)
    # Keras keeps 0.99 of what was there, 0 and 1.
    np.testing.assert_allclose(normalization.moving_mean, 0.01 * mean, rtol=1e-5)
    np.testing.assert_allclose(normalization.moving_variance, 0.99 + 0.01 * variance, rtol=1e-5)
    layer(inputs, mask=np.zeros([2, 3], bool), training=True)
    assert np.isfinite(np.concatenate(normalization.get_weights())).all()


@pytest.mark.parametrize("kind", ["gru", "convolution"])
def test_config_makes_the_same_layer(kind):
    layer = made(kind, kernel_regularizer=keras.regularizers.L2(0.5), name="mine")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(copy) is type(layer) and copy.get_config() == layer.get_config()
    copy.build((None, None, WIDTH))
    copy.set_weights(layer.get_weights())
    inputs = tf.ones([2, 4, WIDTH])
    np.testing.assert_allclose(copy(inputs), layer(inputs), atol=1e-6)
    assert layer.compute_output_shape(inputs.shape) == layer(inputs).shape


@pytest.mark.parametrize("kind", ["gru", "convolution"])
def test_mixed_precision(kind):
    exact, mixed = made(kind), made(kind, dtype="mixed_float16")
    inputs, mask = tf.random.normal([2, 4, WIDTH], seed=1), tf.sequence_mask([4, 2])
    outputs = mixed(inputs, mask=mask)
    assert outputs.dtype == tf.float16
    np.testing.assert_allclose(outputs, exact(inputs, mask=mask), atol=0.02)
    assert {tf.as_dtype(w.dtype) for w in mixed.trainable_weights} == {tf.float32}


@pytest.mark.parametrize("settings", [{"cell_type": "gru"}, {"net_type": "cnn"}])
def test_gradients_reach_all_layers(settings):
    model = NerNetwork(["O", "B-X"], None, None, [3, 3], **settings)
    inputs = {"words": tf.random.normal([2, 5, WIDTH], seed=1), "mask": tf.sequence_mask([5, 2])}
    with tf.GradientTape() as tape:
        loss = CRFLoss()(np.array([[0, 1, 0, 1, 1], [1, 0, 0, 0, 0]]), model(inputs))
    variables = model.trainable_variables
    sources = [w if isinstance(w, tf.Variable) else w.value for w in variables]
    for gradient in tape.gradient(loss, sources):
        assert np.isfinite(gradient).all() and np.any(gradient)
