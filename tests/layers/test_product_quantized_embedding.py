import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner.layers.product_quantized_embedding import ProductQuantizedEmbedding
from kerasner.product_vectors import ProductVectors, product_quantize

TRAINABLE = np.float32([[9, 9, 9, 9], [1, -1, 2, -2], [0.5, 0.25, 0, 8]])
CODES = np.uint8([[0, 1], [2, 2], [1, 0], [0, 0]])
CODEBOOK = np.float32([[[1, 2], [3, 4], [5, 6]], [[-1, -2], [-3, -4], [-5, -6]]])
# Ids 0 ... 6: padding, two trainable rows, four frozen ones.
TABLE = np.float32([
    [0, 0, 0, 0], [1, -1, 2, -2], [0.5, 0.25, 0, 8],
    [1, 2, -3, -4], [5, 6, -5, -6], [3, 4, -1, -2], [1, 2, -1, -2],
])  # fmt: skip


def layer(**kwargs):
    layer = ProductQuantizedEmbedding(4, 3, 4, subspaces=2, centroids=3, **kwargs)
    layer.set_trainable(TRAINABLE)
    layer.set_frozen_quantized(CODES, CODEBOOK)
    return layer


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
@pytest.mark.parametrize("shape", [(), (7,), (0,), (2, 0), (0, 5), (2, 3), (2, 1, 4)])
def test_looks_up_both_tables(dtype, shape):
    ids = (np.arange(np.prod(shape, dtype=int)) % 7).reshape(shape).astype(dtype)
    outputs = layer()(tf.constant(ids))
    assert outputs.dtype == tf.float32
    np.testing.assert_array_equal(outputs, TABLE[ids.astype(int)])


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.integers(1, 5), st.integers(0, 5), st.integers(1, 3), st.integers(1, 3), st.data())
def test_any_split_of_the_rows(trainable, frozen, subspaces, width, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    table = rng.normal(size=(trainable + frozen, subspaces * width)).astype(np.float32)
    layer = ProductQuantizedEmbedding(subspaces * width, trainable, frozen, subspaces)
    layer.set_trainable(table[:trainable])
    layer.set_frozen(table[trainable:])  # fewer rows than centroids: without loss
    ids = data.draw(st.lists(st.integers(0, trainable + frozen - 1), max_size=8))
    table[0] = 0
    np.testing.assert_array_equal(layer(tf.constant(ids, tf.int32)), table[np.array(ids, int)])


def test_set_frozen_is_product_quantize():
    matrix = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    built = ProductQuantizedEmbedding(4, 1, 40, subspaces=2, centroids=8)
    built.set_frozen(matrix, seed=3)
    vectors = ProductVectors([str(i) for i in range(40)], *product_quantize(matrix, 2, 8, seed=3))
    np.testing.assert_array_equal(built(tf.range(1, 41)), vectors.rows())


def test_from_vectors():
    vectors = ProductVectors(list("abcd"), CODES, CODEBOOK)
    made = ProductQuantizedEmbedding.from_vectors(vectors, 3, name="words", mask_zero=True)
    assert made.name == "words" and made.mask_zero
    assert (made.subspaces, made.centroids, made.frozen_rows) == (2, 3, 4)
    np.testing.assert_array_equal(made(tf.range(3, 7)), TABLE[3:])
    none = ProductQuantizedEmbedding.from_vectors(vectors.subset([]), 2)
    assert none(tf.constant([[1]])).shape == (1, 1, 4) and len(none.weights) == 1


def test_tf_function_of_unknown_shape():
    built = layer()

    @tf.function(input_signature=[tf.TensorSpec(None, tf.int64)])
    def call(ids):
        return built(ids)

    for ids in ([], [1, 6], [[0, 3], [5, 2]]):
        ids = np.array(ids, np.int64)
        np.testing.assert_array_equal(call(ids), TABLE[ids])


def test_makes_only_what_is_looked_up():
    """No tensor of the graph has as many numbers as the vectors of the frozen table."""
    built = ProductQuantizedEmbedding(60, 2, 1000, subspaces=6)
    call = tf.function(built, input_signature=[tf.TensorSpec([2, 3], tf.int64)])
    operations = call.get_concrete_function().graph.get_operations()
    outputs = [output for operation in operations for output in operation.outputs]
    sizes = [x.shape.num_elements() for x in outputs if x.dtype not in (tf.uint8, tf.resource)]
    assert max(sizes) == 6 * 256 * 10  # the codebook; the vectors would be 60,000


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("frozen", [0, 4])
@pytest.mark.parametrize("bad", [-1, None, 2**32 + 1])
def test_ids_out_of_range_raise(in_graph, frozen, bad):
    built = ProductQuantizedEmbedding(4, trainable_rows=3, frozen_rows=frozen, subspaces=2)
    bad = 3 + frozen if bad is None else bad
    call = tf.function(lambda ids: built(ids)) if in_graph else built
    assert call(tf.constant([2 + frozen], tf.int64)).shape == (1, 4)
    with tf.device("CPU:0"), pytest.raises(tf.errors.InvalidArgumentError):
        call(tf.constant([1, bad], tf.int64))


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_fit_moves_the_trainable_rows_in_use_alone(policy):
    built = layer(dtype=policy)
    model = keras.Sequential(
        [keras.Input((None,), dtype="int64"), built, keras.layers.GlobalAveragePooling1D()]
    )
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True), "mse")
    model.fit(np.array([[1, 0, 3], [6, 3, 1]]), np.ones((2, 4)), epochs=3, verbose=0)
    embeddings, codes, codebook = built.get_weights()
    np.testing.assert_array_equal(embeddings[[0, 2]], TRAINABLE[[0, 2]])
    assert (embeddings[1] != TRAINABLE[1]).all()
    np.testing.assert_array_equal(codes, CODES)
    np.testing.assert_array_equal(codebook, CODEBOOK)


def test_gradient_is_sparse():
    built = layer()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(built(tf.constant([0, 1, 3, 1, 6, 0])))
    (gradient,) = tape.gradient(loss, built.trainable_variables)
    assert isinstance(gradient, tf.IndexedSlices)
    expected = np.float32([[0] * 4, [2] * 4, [0] * 4])
    np.testing.assert_array_equal(tf.convert_to_tensor(gradient), expected)


def test_mixed_precision_keeps_the_tables():
    built = layer(dtype="mixed_float16")
    outputs = built(tf.constant([[6, 1]]))
    assert outputs.dtype == tf.float16
    np.testing.assert_array_equal(outputs, TABLE[[[6, 1]]])
    assert [weight.dtype for weight in built.get_weights()] == [np.float32, np.uint8, np.float32]


def test_mask():
    ids = tf.constant([[4, 0, 1]])
    assert layer().compute_mask(ids) is None
    np.testing.assert_array_equal(layer(mask_zero=True).compute_mask(ids), [[True, False, True]])


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"output_dim": 0}, "output_dim must be at least 1. Received: output_dim=0"),
        ({"trainable_rows": 0}, "Received: trainable_rows=0"),
        ({"frozen_rows": -1}, "at least 0. Received: frozen_rows=-1"),
        ({"subspaces": 0}, "Received: subspaces=0"),
        ({"subspaces": 3}, "must divide output_dim=4. Received: subspaces=3"),
        ({"centroids": 0}, "Received: centroids=0"),
        ({"centroids": 257}, "at most 256. Received: centroids=257"),
    ],
)
def test_bad_arguments(kwargs, message):
    usual = {"output_dim": 4, "trainable_rows": 1, "frozen_rows": 1, "subspaces": 2}
    with pytest.raises(ValueError, match=message):
        ProductQuantizedEmbedding(**{**usual, **kwargs})


def test_bad_tables():
    with pytest.raises(ValueError, match=r"\(3, 4\). Received: \(2, 4\)"):
        layer().set_trainable(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="uint8. Received: int8"):
        layer().set_frozen_quantized(CODES.astype(np.int8), CODEBOOK)
    with pytest.raises(ValueError, match=r"codes .*\(4, 2\). Received: \(3, 2\)"):
        layer().set_frozen_quantized(CODES[:3], CODEBOOK)
    with pytest.raises(ValueError, match=r"codebook .*\(2, 3, 2\). Received: \(2, 2, 2\)"):
        layer().set_frozen_quantized(CODES, CODEBOOK[:, :2])
    with pytest.raises(ValueError, match="below 3. Received: 3"):
        layer().set_frozen_quantized(CODES + np.uint8(1), CODEBOOK)


def test_saves_and_loads_keras_file(tmp_path):
    inputs = keras.Input((None,), dtype="int64")
    model = keras.Model(inputs, layer(mask_zero=True)(inputs))
    assert tuple(model.output_shape) == (None, None, 4)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(np.arange(7)[None]), TABLE[None])


def test_saved_model_holds_bytes(tmp_path):
    built = layer()
    module = tf.Module()
    module.layer = built
    module.call = tf.function(built.call, input_signature=[tf.TensorSpec([None, None], tf.int64)])
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    ids = [[6, 0, 1]]
    np.testing.assert_array_equal(loaded.call(tf.constant(ids, tf.int64)), TABLE[ids])
    reader = tf.train.load_checkpoint(str(tmp_path / "variables" / "variables"))
    dtypes = reader.get_variable_to_dtype_map()
    shapes = {dtypes[key]: shape for key, shape in reader.get_variable_to_shape_map().items()}
    assert shapes[tf.uint8] == [4, 2]
