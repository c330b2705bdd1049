import collections
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from kerasner.layers import LSTM, _lstm_cudnn
from kerasner.layers import lstm as module

WIDTH, UNITS = 5, 3


def built(bidirectional=True, seed=0, units=UNITS, **options):
    layer = LSTM(units, bidirectional=bidirectional, **options)
    layer.build((None, None, WIDTH))
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


LAYERS = {bidirectional: built(bidirectional) for bidirectional in (False, True)}
FUNCTIONS = {
    (bidirectional, training): compiled(LAYERS[bidirectional], training)
    for bidirectional in (False, True)
    for training in (False, True)
}


def keras_layer(bidirectional, return_sequences):
    layer = keras.layers.LSTM(UNITS, return_sequences=return_sequences)
    return keras.layers.Bidirectional(layer) if bidirectional else layer


# Padding at the end, none, at the front, everywhere, and a row of nothing else.
MASK = np.array(
    [[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1], [0, 1, 0, 1, 1, 0], [0] * 6], bool
)


@pytest.mark.parametrize(
    "bidirectional, training, return_sequences, mask",
    [
        (False, False, True, MASK),
        (False, True, True, MASK),
        (True, False, True, MASK),
        (True, True, True, MASK),
        (True, False, True, None),
        (True, True, True, None),
        (False, True, False, MASK),
        (True, False, False, MASK),
        (True, True, False, MASK),
    ],
)
def test_equals_keras_forward_and_backward(bidirectional, training, return_sequences, mask):
    ours = built(bidirectional, return_sequences=return_sequences)
    theirs = keras_layer(bidirectional, return_sequences)
    inputs = tf.constant(normal(1, 5, 6, WIDTH))
    theirs(inputs)
    theirs.set_weights(ours.get_weights())
    mask = None if mask is None else tf.constant(mask)
    real = mask[..., None] if return_sequences and mask is not None else True
    shape = (5, 6, ours._width) if return_sequences else (5, ours._width)
    weights = tf.where(real, normal(2, *shape), 0.0)
    results = []
    for layer in (ours, theirs):
        variables = [value(v) for v in layer.trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, mask=mask, training=training)
            total = tf.reduce_sum(outputs * weights)
        gradients = tape.gradient(total, [inputs, *variables])
        results.append([tf.where(real, outputs, 0.0), *gradients])
    assert len(results[0]) == 2 + 3 * (1 + bidirectional)
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 6), max_size=4),
    n_rows=st.integers(1, 5),
    form=st.sampled_from(sorted(FUNCTIONS)),
    seed=st.integers(0, 1000),
)
def test_rows_that_steps_share_give_what_each_step_with_its_own_gives(lengths, n_rows, form, seed):
    bidirectional, training = form
    layer = LAYERS[bidirectional]
    rng = np.random.default_rng(seed)
    steps = max(lengths, default=0)
    # Padding at the end, or wherever it falls.
    mask = np.arange(steps) < np.array(lengths, int)[:, None]
    if seed % 2:
        mask = rng.permuted(mask, axis=1) if mask.size else mask
    rows = normal(seed, n_rows, WIDTH)
    places = rng.integers(0, n_rows, [len(lengths), steps])
    results = []
    for inputs, chosen in ((rows, places), (rows[places], None)):
        with tf.GradientTape() as tape:
            found = layer(inputs, mask=mask, training=training, places=chosen)
        results.append([found, *tape.gradient(found, [value(w) for w in layer.weights])])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_weights_of_keras_load(bidirectional):
    theirs = keras_layer(bidirectional, return_sequences=True)
    inputs = normal(8, 2, 4, WIDTH)
    expected = theirs(inputs)
    ours = built(bidirectional)
    ours.set_weights(theirs.get_weights())
    np.testing.assert_allclose(ours(inputs), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_gradient_of_a_loop_around_the_layer(compiled):
    layer = built()
    inputs = tf.constant(normal(4, 2, 3, 4, WIDTH))

    def gradients(whole):
        with tf.GradientTape() as tape:
            run = lambda x: layer(x, training=True)  # noqa: E731
            outputs = run(tf.reshape(inputs, [6, 4, WIDTH])) if whole else tf.map_fn(run, inputs)
            loss = tf.reduce_sum(outputs**2)
        return tape.gradient(loss, [value(v) for v in layer.trainable_variables])

    one_by_one = (tf.function(gradients) if compiled else gradients)(False)
    for a, b in zip(one_by_one, gradients(True), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


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


def test_constraints_reach_their_weights():
    layer = LSTM(2, recurrent_constraint="non_neg", bias_constraint=keras.constraints.MaxNorm(0.5))
    layer = LSTM.from_config(layer.get_config())
    model = keras.Sequential([keras.Input([4, WIDTH]), layer])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    assert np.min(layer.get_weights()[1]) < 0
    model.fit(normal(9, 2, 4, WIDTH), normal(10, 2, 4, 2), verbose=0)
    _, recurrent, bias = layer.get_weights()
    assert np.min(recurrent) == 0
    np.testing.assert_allclose(np.linalg.norm(bias), 0.5, rtol=1e-5)


def test_no_mask_leaves_with_one_state_a_row():
    layer = built(return_sequences=False)
    assert layer.compute_mask(tf.zeros([2, 3, WIDTH]), tf.ones([2, 3], tf.bool)) is None
    assert layer.compute_output_shape((2, 3, WIDTH)) == (2, 2 * UNITS)


def test_xla_is_left_out():
    assert LSTM(2).supports_jit is False


def test_a_mask_of_another_shape_is_an_error():
    expected = r"mask of shape \(2, 3\); received \(2, 3, 1\)"
    with pytest.raises(ValueError, match=expected):
        built()(tf.zeros([2, 3, WIDTH]), mask=tf.ones([2, 3, 1], tf.bool))


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


def export(layer, call, path):
    """The graph of a SavedModel of `call`."""
    exported = tf.Module()
    exported.layer = layer
    exported.serve = tf.function(call, input_signature=[tf.TensorSpec([None, None, WIDTH])])
    tf.saved_model.save(exported, str(path))
    saved = SavedModel.FromString((path / "saved_model.pb").read_bytes())
    return saved.meta_graphs[0].graph_def


def assert_no_length_is_zero(function):
    """The lengths that cuDNN gets are the maximum of something and 1."""
    nodes = {node.name: node for node in function.node_def}
    for node in function.node_def:
        if node.op == "CudnnRNNV3":
            lengths = nodes[node.input[4].split(":")[0]]
            assert lengths.op == "Maximum"
            one = nodes[lengths.input[1].split(":")[0]]
            assert tf.make_ndarray(one.attr["value"].tensor) == 1


def test_two_exports_have_the_same_functions(tmp_path):
    names = []
    for i in range(2):
        module._kernels.cache_clear()
        graph = export(layer := built(), layer.__call__, tmp_path / str(i))
        # TensorFlow counts the functions of a process.
        names.append(
            sorted(
                (re.sub(r"_\d+\b", "", function.signature.name), len(function.node_def))
                for function in graph.library.function
            )
        )
    assert names[0] == names[1]


def of_rows(layer):
    """The layer over rows of which each step of its inputs reads one."""

    def function(inputs):
        shape = tf.shape(inputs)[:2]
        places = tf.reshape(tf.range(tf.reduce_prod(shape)), shape)
        return layer(tf.reshape(inputs, [-1, inputs.shape[-1]]), places=places)

    return function


@pytest.mark.parametrize("form", ["plain", "looped", "rows"])
def test_an_export_holds_both_kernels_under_one_interface(tmp_path, form):
    layer = built()
    call = {
        "plain": lambda inputs: layer(inputs, training=False),
        "looped": in_a_loop(layer),
        "rows": of_rows(layer),
    }[form]
    graph = export(layer, call, tmp_path)
    kernels = collections.defaultdict(set)
    for function in graph.library.function:
        if "api_implements" in function.attr:
            device = function.attr["api_preferred_device"].s.decode()
            is_cudnn = any(node.op == "CudnnRNNV3" for node in function.node_def)
            kernels[function.attr["api_implements"].s].add((device, is_cudnn))
            assert_no_length_is_zero(function)
    interface = b"kerasner_lstm_2x5x12_float32" + b"_rows" * (form == "rows")
    assert kernels == {interface: {("CPU", False), ("GPU", True)}}

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
    flat, places = inputs.reshape(-1, WIDTH), np.arange(batch * steps).reshape(batch, steps)
    weights = layer._weights_of("forward", tf.float32)
    weights += layer._weights_of("backward", tf.float32) if bidirectional else []
    lengths = tf.constant(mask.sum(axis=1), tf.int32)
    of_rows = module.cudnn_of_rows(tf.constant(flat), tf.constant(places), lengths, *weights)
    np.testing.assert_allclose(of_rows, expected, atol=1e-5)


@pytest.mark.parametrize("width, form", [(11, lambda layer: layer), (12, of_rows)])
def test_the_kernel_for_the_device_at_hand_is_picked(monkeypatch, tmp_path, width, form):
    """With the devices exchanged, this CPU is where the second kernel is meant for.

    No other test has a layer of these shapes: its kernels would be candidates as well.
    """
    monkeypatch.setattr(module, "_DEVICES", ("GPU", "CPU"))
    marked = lambda inputs, *others: tf.fill([*tf.unstack(tf.shape(inputs)[:2]), 3], 7.0)  # noqa: E731
    for place in (module, _lstm_cudnn):
        monkeypatch.setattr(place, "cudnn", marked)
    layer = LSTM(3)
    layer.build((None, None, width))

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, None, width])])
        def run(self, inputs):
            start = tf.zeros([tf.shape(inputs)[0], tf.shape(inputs)[1], 3])
            body = lambda i, _: (i + 1, form(layer)(inputs))  # noqa: E731
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
        inputs = tf.ones([2, 4, width])
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
