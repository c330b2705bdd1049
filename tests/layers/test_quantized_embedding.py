import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner.layers.quantized_embedding import QuantizedEmbedding
from kerasner.vectors import QuantizedVectors, quantize_rows

TRAINABLE = np.float32([[9, 9], [1, -1], [0.5, 0.25]])
CODES = np.int8([[127, -127], [0, 0], [1, 2], [64, -3]])
SCALES = np.float32([0.5, 0, 1, 0.125])
# Ids 0 ... 6: padding, two trainable rows, four frozen ones.
TABLE = np.float32([[0, 0], [1, -1], [0.5, 0.25], [63.5, -63.5], [0, 0], [1, 2], [8, -0.375]])


def layer(**kwargs):
    layer = QuantizedEmbedding(2, trainable_rows=3, frozen_rows=4, **kwargs)
    layer.set_trainable(TRAINABLE)
    layer.set_frozen_quantized(CODES, SCALES)
    return layer


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
@pytest.mark.parametrize("shape", [(), (7,), (0,), (2, 0), (0, 5), (2, 3), (2, 1, 4)])
def test_looks_up_both_tables(dtype, shape):
    ids = (np.arange(np.prod(shape, dtype=int)) % 7).reshape(shape).astype(dtype)
    outputs = layer()(tf.constant(ids))
    assert outputs.dtype == tf.float32
    np.testing.assert_array_equal(outputs, TABLE[ids.astype(int)])


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.integers(1, 5), st.integers(0, 5), st.integers(1, 4), st.integers(0, 2**31), st.data())
def test_any_split_of_the_rows(trainable, frozen, dim, seed, data):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(trainable + frozen, dim)).astype(np.float32)
    layer = QuantizedEmbedding(dim, trainable, frozen)
    layer.set_trainable(matrix[:trainable])
    layer.set_frozen(matrix[trainable:])
    ids = data.draw(st.lists(st.integers(0, trainable + frozen - 1), max_size=8))
    codes, scales = quantize_rows(matrix[trainable:])
    expected = np.concatenate([matrix[:trainable], codes * scales[:, None]])
    expected[0] = 0
    outputs = layer(tf.constant(ids, tf.int32))
    np.testing.assert_allclose(outputs, expected[np.array(ids, int)], rtol=1e-6)


def test_tf_function_of_unknown_shape():
    built = layer()

    @tf.function(input_signature=[tf.TensorSpec(None, tf.int64)])
    def call(ids):
        return built(ids)

    for ids in ([], [1, 6], [[0, 3], [5, 2]]):
        ids = np.array(ids, np.int64)
        np.testing.assert_array_equal(call(ids), TABLE[ids])


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("frozen", [0, 4])
@pytest.mark.parametrize("bad", [-1, None, 2**32 + 1])
def test_ids_out_of_range_raise(in_graph, frozen, bad):
    built = QuantizedEmbedding(2, trainable_rows=3, frozen_rows=frozen)
    bad = 3 + frozen if bad is None else bad
    call = tf.function(lambda ids: built(ids)) if in_graph else built
    assert call(tf.constant([2 + frozen], tf.int64)).shape == (1, 2)
    with tf.device("CPU:0"), pytest.raises(tf.errors.InvalidArgumentError):
        call(tf.constant([1, bad], tf.int64))


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_gradient_is_sparse_and_only_of_trainable_rows(policy):
    built = layer(dtype=policy)

    @tf.function
    def gradient(ids):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.cast(built(ids), "float32") * [[1.0, 10.0]])
        (gradient,) = tape.gradient(loss, built.trainable_variables)
        assert isinstance(gradient, tf.IndexedSlices)
        return tf.convert_to_tensor(gradient)

    np.testing.assert_array_equal(
        gradient(tf.constant([0, 1, 3, 1, 6, 0])), [[0, 0], [2, 20], [0, 0]]
    )
    np.testing.assert_array_equal(gradient(tf.constant([0, 3, 6])), np.zeros((3, 2)))


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_fit_moves_the_trainable_rows_in_use_alone(optimizer, policy):
    built = layer(dtype=policy)
    model = keras.Sequential(
        [keras.Input((None,), dtype="int64"), built, keras.layers.GlobalAveragePooling1D()]
    )
    if optimizer == "momentum":
        optimizer = keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True)
    model.compile(optimizer, "mse")
    ids = np.array([[1, 0, 3], [6, 3, 1]])
    model.fit(ids, np.ones((2, 2)), epochs=3, verbose=0)
    embeddings, codes, scales = built.get_weights()
    np.testing.assert_array_equal(embeddings[[0, 2]], TRAINABLE[[0, 2]])
    assert (embeddings[1] != TRAINABLE[1]).all()
    np.testing.assert_array_equal(codes, CODES)
    np.testing.assert_array_equal(scales, SCALES)


def test_mixed_precision_keeps_the_tables():
    built = layer(dtype="mixed_float16")
    outputs = built(tf.constant([[6, 1]]))
    assert outputs.dtype == tf.float16
    np.testing.assert_array_equal(outputs, TABLE[[[6, 1]]])
    assert [weight.dtype for weight in built.get_weights()] == [np.float32, np.int8, np.float32]


def test_from_vectors():
    vectors = QuantizedVectors(list("abcd"), CODES, SCALES)
    made = QuantizedEmbedding.from_vectors(vectors, 3, name="words", mask_zero=True)
    assert made.name == "words" and made.mask_zero and made.frozen_rows == 4
    np.testing.assert_array_equal(made(tf.range(3, 7)), TABLE[3:])


def test_weights_and_their_roles():
    built = layer()
    assert [tuple(weight.shape) for weight in built.weights] == [(3, 2), (4, 2), (4,)]
    assert len(built.trainable_weights) == 1
    alone = QuantizedEmbedding(2, trainable_rows=1, frozen_rows=0)
    np.testing.assert_array_equal(alone(tf.constant([0, 0])), np.zeros((2, 2)))
    assert [tuple(weight.shape) for weight in alone.weights] == [(1, 2)]
    alone.set_frozen(np.zeros((0, 2)))


def test_mask():
    ids = tf.constant([[4, 0, 1]])
    assert layer().compute_mask(ids) is None
    np.testing.assert_array_equal(layer(mask_zero=True).compute_mask(ids), [[True, False, True]])
    inputs = keras.Input((None,), dtype="int64")
    model = keras.Model(
        inputs, keras.layers.GlobalAveragePooling1D()(layer(mask_zero=True)(inputs))
    )
    np.testing.assert_allclose(model(np.array([[5, 0, 1]])), [[1, 0.5]])  # mean of two, not three


def test_bad_arguments():
    for kwargs in ({"output_dim": 0}, {"trainable_rows": 0}, {"frozen_rows": -1}):
        ((name, value),) = kwargs.items()
        with pytest.raises(ValueError, match=f"Received: {name}={value}"):
            QuantizedEmbedding(**{"output_dim": 2, "trainable_rows": 1, "frozen_rows": 1, **kwargs})
    with pytest.raises(ValueError, match=r"\(3, 2\). Received: \(2, 2\)"):
        layer().set_trainable(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"\(4, 2\). Received: \(4, 3\)"):
        layer().set_frozen(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="int8. Received: float64"):
        layer().set_frozen_quantized(np.zeros((4, 2)), np.zeros(4))
    with pytest.raises(ValueError, match=r"scales .*\(4,\). Received: \(4, 1\)"):
        layer().set_frozen_quantized(CODES, SCALES[:, None])


def model(**kwargs):
    inputs = keras.Input((None,), dtype="int64")
    return keras.Model(inputs, QuantizedEmbedding(2, 3, 4, name="words", **kwargs)(inputs))


def filled_model():
    filled = model(embeddings_initializer=keras.initializers.RandomNormal(), mask_zero=True)
    filled.get_layer("words").set_trainable(TRAINABLE)
    filled.get_layer("words").set_frozen_quantized(CODES, SCALES)
    return filled


def test_config_round_trip():
    config = layer(
        mask_zero=True, embeddings_initializer=keras.initializers.Constant(3.0)
    ).get_config()
    again = QuantizedEmbedding.from_config(config)
    assert again.get_config() == config
    again.build((None, None))
    np.testing.assert_array_equal(again.get_weights()[0], np.full((3, 2), 3.0))


def test_saves_and_loads_keras_file(tmp_path):
    filled_model().save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(np.arange(7)[None]), TABLE[None])
    assert loaded.get_weights()[1].dtype == np.int8


def test_saves_and_loads_weights(tmp_path):
    filled_model().save_weights(tmp_path / "model.weights.h5")
    loaded = model()
    loaded.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(loaded(np.arange(7)[None]), TABLE[None])


def test_exports_as_saved_model(tmp_path):
    built = layer()
    module = tf.Module()
    module.layer = built
    module.call = tf.function(built.call, input_signature=[tf.TensorSpec([None, None], tf.int64)])
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    ids = [[6, 0, 1]]
    np.testing.assert_array_equal(loaded.call(tf.constant(ids, tf.int64)), TABLE[ids])


def test_output_shape():
    assert tuple(layer().compute_output_shape((None, 5))) == (None, 5, 2)
    assert tuple(model().output_shape) == (None, None, 2)
