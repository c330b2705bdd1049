import collections

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from kerasner.layers import LSTM
from kerasner.layers import lstm as module

WIDTH, UNITS = 5, 3


def built(bidirectional=True, seed=0, units=UNITS, width=WIDTH):
    layer = LSTM(units, bidirectional=bidirectional)
    layer.build((None, None, width))
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(size=w.shape) * 0.5 for w in layer.get_weights()])
    return layer


def compiled(layer, training=False):
    specs = [tf.TensorSpec([None, None, WIDTH]), tf.TensorSpec([None, None], tf.bool)]

    @tf.function(input_signature=specs)
    def function(inputs, mask):
        return layer(inputs, mask=mask, training=training)

    return function


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def value(weight):
    return weight if isinstance(weight, tf.Variable) else weight.value


FUNCTIONS = {
    (bidirectional, training): compiled(built(bidirectional), training)
    for bidirectional in (False, True)
    for training in (False, True)
}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_equals_keras_forward_and_backward(bidirectional, training):
    ours = built(bidirectional)
    theirs = keras.layers.LSTM(UNITS, return_sequences=True)
    if bidirectional:
        theirs = keras.layers.Bidirectional(theirs)
    inputs = tf.constant(normal(1, 4, 7, WIDTH))
    mask = tf.sequence_mask([7, 1, 4, 0], 7)
    theirs(inputs)
    theirs.set_weights(ours.get_weights())
    weights = tf.where(mask[..., None], normal(2, 4, 7, ours._width), 0.0)
    results = []
    for layer in (ours, theirs):
        variables = [value(v) for v in layer.trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, mask=mask, training=training)
            total = tf.reduce_sum(outputs * weights)
        gradients = tape.gradient(total, [inputs, *variables])
        results.append([tf.where(mask[..., None], outputs, 0.0), *gradients])
    assert len(results[0]) == 2 + 3 * (1 + bidirectional)
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(
    st.booleans(),
    st.booleans(),
    st.lists(st.integers(0, 6), max_size=4),
    st.integers(0, 10**6),
)
def test_padding_anywhere_and_the_batch_do_not_matter(bidirectional, training, lengths, seed):
    function = FUNCTIONS[bidirectional, training]
    rng = np.random.default_rng(seed)
    width = max(lengths, default=0) + int(rng.integers(0, 3))
    inputs = rng.normal(size=(len(lengths), width, WIDTH)).astype("float32")
    mask = np.zeros(inputs.shape[:2], bool)
    for row, length in enumerate(lengths):
        places = np.arange(length) if rng.random() < 0.5 else rng.permutation(width)[:length]
        mask[row, places] = True
    inputs[~mask] = rng.choice([0.0, 1e4])
    outputs = function(inputs, mask).numpy()
    assert outputs.shape == (len(lengths), width, UNITS * (1 + bidirectional))
    assert not outputs[~mask].any()
    for row, own in enumerate(mask):
        alone = function(inputs[row : row + 1, own], np.ones([1, own.sum()], bool))
        np.testing.assert_allclose(outputs[row, own], alone[0], atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("batch, steps", [(0, 0), (0, 3), (2, 0)])
def test_nothing_in_nothing_out(batch, steps, training):
    layer = built()

    @tf.function(input_signature=[tf.TensorSpec([None, None, WIDTH])])
    def gradients(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=training)
        return outputs, tape.gradient(outputs, [inputs, value(layer.forward_kernel)])

    outputs, (of_inputs, of_kernel) = gradients(np.zeros([batch, steps, WIDTH], "float32"))
    assert outputs.shape == (batch, steps, 2 * UNITS)
    assert of_inputs.shape == (batch, steps, WIDTH)
    np.testing.assert_array_equal(of_kernel, np.zeros([WIDTH, 4 * UNITS]))


def test_initial_weights():
    keras.utils.set_random_seed(0)
    layer = LSTM(2, bidirectional=True)
    layer.build((None, None, WIDTH))
    for bias in (layer.forward_bias, layer.backward_bias):
        np.testing.assert_array_equal(bias, [0, 0, 1, 1, 0, 0, 0, 0])
    recurrent = np.asarray(tf.convert_to_tensor(layer.forward_recurrent_kernel))
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(2), atol=1e-5)
    half = len(layer.get_weights()) // 2
    for forward, backward in zip(layer.get_weights()[:2], layer.get_weights()[half:], strict=False):
        assert np.abs(forward - backward).max() > 0.01  # the directions do not start alike
    plain = LSTM(2, unit_forget_bias=False, bias_initializer="ones")
    plain.build((None, None, WIDTH))
    np.testing.assert_array_equal(plain.forward_bias, np.ones(8))


def test_regularizers_reach_their_weights():
    layer = LSTM(
        2,
        bias_initializer="ones",
        unit_forget_bias=False,
        bias_regularizer=keras.regularizers.L1(1.0),
        kernel_initializer="ones",
        kernel_regularizer=keras.regularizers.L1(0.5),
    )
    layer = LSTM.from_config(layer.get_config())
    layer.build((None, None, WIDTH))
    np.testing.assert_allclose(sum(layer.losses), 8 + 0.5 * WIDTH * 8)


def test_the_mask_goes_on():
    inputs = keras.Input([None], dtype="int32")
    embedded = keras.layers.Embedding(9, WIDTH, mask_zero=True)(inputs)
    outputs = keras.layers.GlobalAveragePooling1D()(built()(embedded))
    model = keras.Model(inputs, outputs)
    padded = model(np.array([[1, 2, 0, 0]]))
    np.testing.assert_allclose(padded, model(np.array([[1, 2]])), atol=1e-6)


@pytest.mark.parametrize("units", [0, -1])
def test_bad_units_are_an_error(units):
    with pytest.raises(ValueError, match=f"units={units}"):
        LSTM(units)


@pytest.mark.parametrize("shape", [(None, 4), (None, None, None)])
def test_bad_shapes_are_errors(shape):
    with pytest.raises(ValueError, match="received"):
        LSTM(2).build(shape)


def in_a_loop(layer):
    """Calls the layer on each of two halves of the batch inside tf.while_loop."""

    def function(inputs):
        half = tf.shape(inputs)[0] // 2
        results = tf.TensorArray(tf.float32, 2, element_shape=[None, None, 2 * UNITS])

        def body(index, results):
            rows = inputs[index * half : (index + 1) * half]
            return index + 1, results.write(index, layer(rows, training=False))

        _, results = tf.while_loop(lambda index, _: index < 2, body, (0, results))
        return results.concat()

    return function


@pytest.mark.parametrize("looped", [False, True])
def test_an_export_holds_both_kernels_under_one_interface(tmp_path, looped):
    layer = built()
    call = in_a_loop(layer) if looped else lambda inputs: layer(inputs, training=False)
    exported = tf.Module()
    exported.layer = layer
    exported.serve = tf.function(call, input_signature=[tf.TensorSpec([None, None, WIDTH])])
    tf.saved_model.save(exported, str(tmp_path))

    graph = SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes()).meta_graphs[0]
    kernels = collections.defaultdict(set)
    for function in graph.graph_def.library.function:
        if "api_implements" in function.attr:
            device = function.attr["api_preferred_device"].s.decode()
            is_cudnn = any(node.op == "CudnnRNNV3" for node in function.node_def)
            kernels[function.attr["api_implements"].s].add((device, is_cudnn))
    assert list(kernels.values()) == [{("CPU", False), ("GPU", True)}]

    inputs = tf.constant(normal(3, 4, 6, WIDTH))
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(loaded.serve(inputs), layer(inputs), atol=1e-6)


def cudnn_in_numpy(input, params, sequence_lengths, is_training, **arguments):
    """What cuDNN computes, from its documentation: one direction of a one-layer LSTM."""
    assert arguments["rnn_mode"] == "lstm" and arguments["time_major"]
    x, lengths, flat = input.numpy(), sequence_lengths.numpy(), params.numpy().tolist()
    steps, batch, width = x.shape
    units = arguments["input_h"].shape[2]
    assert steps and batch and len(lengths) == batch
    assert ((lengths >= 1) & (lengths <= steps)).all()
    assert arguments["input_h"].shape == arguments["input_c"].shape == (1, batch, units)

    def take(*shape):
        size = int(np.prod(shape))
        taken = np.array(flat[:size]).reshape(shape)
        del flat[:size]
        return taken

    of_input = [take(units, width) for _ in range(4)]
    of_state = [take(units, units) for _ in range(4)]
    biases = [take(units) for _ in range(8)]
    assert not flat
    output = np.zeros([steps, batch, units], "float32")
    for row in range(batch):
        state, cell = np.zeros(units), np.zeros(units)
        for step in range(lengths[row]):
            i, f, g, o = (
                of_input[k] @ x[step, row] + biases[k] + of_state[k] @ state + biases[4 + k]
                for k in range(4)
            )
            i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
            cell = f * cell + i * np.tanh(g)
            state = o * np.tanh(cell)
            output[step, row] = state
    result = collections.namedtuple("CudnnRNNV3", "output")
    return result(tf.constant(output))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch, steps", [(4, 6), (1, 1), (0, 3), (2, 0)])
def test_the_cudnn_kernel_gets_what_it_takes(monkeypatch, batch, steps, bidirectional):
    """As a machine with a GPU would train, with cuDNN's own part played by NumPy."""
    layer = built(bidirectional)
    inputs = normal(5, batch, steps, WIDTH)
    mask = np.arange(steps) < np.array([6, 0, 3, 1, 6])[:batch, None]
    expected = layer(inputs, mask=mask, training=False)
    monkeypatch.setattr(tf.raw_ops, "CudnnRNNV3", cudnn_in_numpy)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: [kind])
    np.testing.assert_allclose(layer(inputs, mask=mask, training=True), expected, atol=1e-5)


def test_the_kernel_for_the_device_at_hand_is_picked(monkeypatch, tmp_path):
    """With the devices exchanged, this CPU is where the second kernel is meant for.

    No other test has a layer of this shape: its kernels would be candidates as well.
    """
    monkeypatch.setattr(module, "_DEVICES", ("GPU", "CPU"))
    marked = lambda inputs, *others: tf.fill([*tf.unstack(tf.shape(inputs)[:2]), 3], 7.0)  # noqa: E731
    monkeypatch.setattr(module, "_cudnn", marked)
    layer = LSTM(3)
    layer.build((None, None, 11))

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, None, 11])])
        def run(self, inputs):
            start = tf.zeros([tf.shape(inputs)[0], tf.shape(inputs)[1], 3])
            body = lambda i, _: (i + 1, layer(inputs, training=False))  # noqa: E731
            shapes = (tf.TensorShape([]), tf.TensorShape([None, None, 3]))
            return tf.while_loop(lambda i, _: i < 2, body, (0, start), shape_invariants=shapes)[1]

    model = Model()
    model.weights = (
        list(layer.weights)
        if not keras.__version__.startswith("3")
        else [weight.value for weight in layer.weights]
    )
    module._kernels.cache_clear()
    try:
        inputs = tf.ones([2, 4, 11])
        np.testing.assert_array_equal(model.run(inputs), np.full((2, 4, 3), 7.0))
        tf.saved_model.save(model, str(tmp_path))
        loaded = tf.saved_model.load(str(tmp_path))
        np.testing.assert_array_equal(loaded.run(inputs), np.full((2, 4, 3), 7.0))
    finally:
        module._kernels.cache_clear()


def test_layers_of_one_shape_share_their_kernels():
    module._kernels.cache_clear()
    inputs = normal(6, 2, 3, WIDTH)
    assert not np.allclose(built(seed=1)(inputs), built(seed=2)(inputs))
    assert module._kernels.cache_info().misses == 1
    built(units=UNITS + 1)(inputs)
    assert module._kernels.cache_info().misses == 2
