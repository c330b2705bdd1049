import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner.layers.char_cnn import CharCNN

VOCABULARY = 7


def layer(filters=4, kernel_size=3, bias=True, **kwargs):
    keras.utils.set_random_seed(1)
    layer = CharCNN(filters, kernel_size, char_dim=3, vocabulary_size=VOCABULARY, **kwargs)
    layer.build((None, None))
    if bias:
        layer.bias.assign(np.linspace(-1, 1, sum(layer.filters)))
    return layer


def reference(layer, words):
    """The definition, word by word in float64: embed, convolve, maximum, bias, activation."""
    weights = [weight.astype(np.float64) for weight in layer.get_weights()]
    table, kernels, bias = weights[0], weights[1:-1], weights[-1]
    table = np.concatenate([np.zeros((1, table.shape[1])), table])
    features = []
    for word in words:
        word = [char for char in word if char]  # padding is at the end
        if not word:
            features.append(np.zeros_like(bias))
            continue
        best = []
        for kernel in kernels:
            size = len(kernel)
            left = (size - 1) // 2
            padded = [0] * left + word + [0] * (size - 1 - left)
            rows = [
                sum(table[padded[i + k]] @ kernel[k] for k in range(size)) for i in range(len(word))
            ]
            best.append(np.max(rows, axis=0))
        values = tf.constant(np.concatenate(best) + bias)
        features.append(np.asarray(layer.activation(values)))
    return np.reshape(features, (len(words), len(bias)))


def pad(words, width):
    return np.array([word + [0] * (width - len(word)) for word in words], np.int64).reshape(
        len(words), width
    )


LISTS = st.lists(st.lists(st.integers(1, VOCABULARY - 1), max_size=6), max_size=6)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    LISTS,
    st.integers(0, 3),
    st.sampled_from([1, 2, 3, 5, [2, 3], [4, 1, 3]]),
    st.sampled_from([None, "relu", "tanh"]),
    st.booleans(),
)
def test_equals_its_definition(words, extra, kernel_size, activation, distinct):
    built = layer(2, kernel_size, activation=activation, distinct=distinct)
    chars = pad(words, max(map(len, words), default=0) + extra)
    outputs = built(tf.constant(chars))
    np.testing.assert_allclose(outputs, reference(built, words), rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(LISTS, st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=6), st.integers(6, 30))
def test_a_word_is_independent_of_its_batch(others, word, width):
    built = layer(kernel_size=[2, 5])
    alone = built(tf.constant([word]))[0]
    together = built(tf.constant(pad([*others, word], width)))[-1]
    np.testing.assert_allclose(alone, together, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("distinct", [True, False])
@pytest.mark.parametrize(
    "shape", [(0, 5, 4), (2, 0, 4), (2, 5, 0), (0, 0, 0), (2, 5, 4), (3, 4), (0, 4), (3, 0)]
)
def test_empty_shapes_and_words_give_zeros(shape, distinct):
    built = layer(kernel_size=[3, 2], distinct=distinct)

    @tf.function(input_signature=[tf.TensorSpec([None] * len(shape), tf.int64)])
    def call(chars):
        outputs = built(chars)
        assert outputs.shape.as_list() == [None] * (len(shape) - 1) + [8]
        return outputs

    for outputs in (built(tf.zeros(shape, tf.int64)), call(tf.zeros(shape, tf.int64))):
        np.testing.assert_array_equal(outputs, np.zeros((*shape[:-1], 8)))


def test_ranks_agree():
    built = layer()
    chars = np.random.default_rng(0).integers(1, VOCABULARY, (2, 3, 4))
    np.testing.assert_allclose(
        built(tf.constant(chars)), tf.reshape(built(tf.constant(chars.reshape(6, 4))), [2, 3, 4])
    )


def test_unknown_rank():
    built = layer()
    call = tf.function(built, input_signature=[tf.TensorSpec(None, tf.int32)])
    assert call(tf.ones([2, 5, 3], tf.int32)).shape == (2, 5, 4)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_gradients_equal_with_and_without_distinct(dropout):
    """Repeated words add up; a zero word adds nothing."""
    chars = tf.constant([[[1, 2, 0], [3, 0, 0], [1, 2, 0]], [[0, 0, 0], [6, 5, 4], [3, 0, 0]]])
    weights = tf.random.stateless_normal([2, 3, 4], [1, 2])
    results = []
    for distinct in (True, False):
        built = layer(distinct=distinct, dropout=dropout, activation="tanh")
        keras.utils.set_random_seed(3)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(weights * built(chars, training=True))
        results.append([loss, *tape.gradient(loss, built.trainable_variables)])
    assert len(results[0]) == 4
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(
            tf.convert_to_tensor(one), tf.convert_to_tensor(other), rtol=1e-5, atol=1e-6
        )
        assert np.abs(one).max() > 0


def test_gradient_equals_finite_differences():
    built = layer(kernel_size=[2, 3], dtype="float64")
    chars = tf.constant([[1, 2, 3], [4, 0, 0], [0, 0, 0], [5, 6, 0], [1, 2, 3]])
    weights = np.random.default_rng(0).normal(size=(5, 8))

    def loss():
        return tf.reduce_sum(weights * built(chars))

    with tf.GradientTape() as tape:
        value = loss()
    gradients = tape.gradient(value, built.trainable_variables)
    rng = np.random.default_rng(1)
    for variable, gradient in zip(built.trainable_variables, gradients, strict=True):
        start = variable.numpy()
        direction = rng.normal(size=start.shape)
        variable.assign(start + 1e-6 * direction)
        slope = (loss() - value) / 1e-6
        variable.assign(start)
        np.testing.assert_allclose(slope, np.sum(gradient * direction), rtol=1e-4)


def test_dropout_is_active_in_training_only_and_one_draw_a_call():
    built = layer(8, dropout=0.5)
    chars = tf.constant([[[1, 2, 3], [4, 5, 0], [1, 2, 3]]])
    kept = built(chars)
    np.testing.assert_array_equal(built(chars), kept)
    dropped = built(chars, training=True)
    assert np.abs(dropped - kept).max() > 0.01
    np.testing.assert_array_equal(dropped[0, 0], dropped[0, 2])
    assert np.abs(built(chars, training=True) - dropped).max() > 0.01


def test_the_character_branch_of_deeppavlov():
    """Four linear convolutions as wide as the embeddings, which are given and trained on."""
    matrix = np.random.default_rng(0).normal(size=(VOCABULARY, 3))
    built = CharCNN(3, [3, 4, 5, 7], char_dim=3, vocabulary_size=VOCABULARY)
    built.set_embeddings(matrix)
    np.testing.assert_allclose(built.embeddings, matrix[1:], rtol=1e-6)
    words = [[1, 2, 3, 4, 5, 6, 1], [2], [], [5, 5, 5]]
    outputs = built(tf.constant(pad(words, 8)))
    assert outputs.shape == (4, 12)
    np.testing.assert_allclose(outputs, reference(built, words), rtol=1e-5, atol=1e-5)
    assert len(built.trainable_weights) == 6


def test_embeddings_of_another_shape_are_an_error():
    expected = rf"must have shape \({VOCABULARY}, 3\). Received: \({VOCABULARY - 1}, 3\)"
    with pytest.raises(ValueError, match=expected):
        layer().set_embeddings(np.zeros([VOCABULARY - 1, 3]))


def test_id_outside_the_vocabulary_raises():
    with tf.device("CPU:0"), pytest.raises(tf.errors.InvalidArgumentError):
        layer()(tf.constant([[1, VOCABULARY]]))


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"filters": [3, 4], "kernel_size": 3}, r"filters=\[3, 4\], kernel_size=3"),
        ({"filters": 3, "kernel_size": []}, r"kernel_size=\[\]"),
        ({"filters": 0}, "filters=0"),
        ({"filters": 3, "kernel_size": [3, 0]}, r"kernel_size=\[3, 0\]"),
        ({"filters": 3, "char_dim": 0}, "char_dim=0"),
        ({"filters": 3, "vocabulary_size": 1}, "vocabulary_size=1"),
        ({"filters": 3, "dropout": 1.0}, "dropout=1.0"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        CharCNN(**kwargs)


def test_config_round_trip():
    config = layer([2, 3], [1, 2], activation="relu", dropout=0.25, distinct=False).get_config()
    assert config["filters"] == [2, 3] and config["kernel_size"] == [1, 2]
    assert CharCNN.from_config(config).get_config() == config


def model(**kwargs):
    keras.utils.set_random_seed(5)
    inputs = keras.Input((None, None), dtype="int64")
    features = CharCNN(3, [2, 3], 3, VOCABULARY, name="chars", dropout=0.3, **kwargs)(inputs)
    assert tuple(features.shape) == (None, None, 6)
    return keras.Model(inputs, keras.layers.Dense(1)(features))


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_fits(policy):
    built = model(activation="relu", dtype=policy)
    built.compile(keras.optimizers.Adam(0.05), "mse")
    chars = np.random.default_rng(0).integers(0, VOCABULARY, (32, 2, 4))
    target = (chars == 1).any(-1)[..., None].astype("float32")
    losses = built.fit(chars, target, epochs=12, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]


def test_output_shape():
    assert tuple(layer().compute_output_shape((None, 5, None))) == (None, 5, 4)
    assert tuple(layer(2, [1, 2]).compute_output_shape((6, 9))) == (6, 4)
