import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner import storage
from kerasner.layers import CharCNN, QuantizedEmbedding, unpack
from kerasner.losses import CRFLoss
from kerasner.metrics import EntityF1
from kerasner.network import NerNetwork

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
WORDS, CHARS = 12, 9
SHAPES = {"words": (None, None), "chars": (None, None, None), "case": (None, None, 2)}
SPECS = {
    "words": tf.TensorSpec([None, None], tf.int32),
    "chars": tf.TensorSpec([None, None, None], tf.int32),
    "case": tf.TensorSpec([None, None, 2]),
}


def network(seed=0, **kwargs):
    keras.utils.set_random_seed(seed)
    embedding = QuantizedEmbedding(6, trainable_rows=4, frozen_rows=WORDS - 4)
    embedding.set_frozen(np.random.default_rng(0).normal(size=(WORDS - 4, 6)))
    kwargs = {"n_hidden_list": [5, 4], **kwargs}
    return NerNetwork(TAGS, embedding, CharCNN(3, 3, char_dim=2, vocabulary_size=CHARS), **kwargs)


def batch(lengths, seed=0, extra_steps=0, extra_chars=0):
    """Random inputs for sentences of the lengths given; the same tokens for the same seed."""
    rng = np.random.default_rng(seed)
    steps = max(lengths, default=0) + extra_steps
    inputs = {
        "words": np.zeros([len(lengths), steps], "int32"),
        "chars": np.zeros([len(lengths), steps, 4 + extra_chars], "int32"),
        "case": np.full([len(lengths), steps, 2], 7.0, "float32"),  # padding that must not matter
    }
    for row, length in enumerate(lengths):
        inputs["words"][row, :length] = rng.integers(1, WORDS, length)
        inputs["chars"][row, :length, :4] = rng.integers(1, CHARS, (length, 4))
        inputs["case"][row, :length] = rng.normal(size=(length, 2))
    return inputs


KINDS = {
    "lstm": {},
    "gru": {"cell_type": "gru", "use_crf": False, "two_dense_on_top": True},
    "cnn": {"net_type": "cnn", "cnn_filter_width": 3, "use_batch_norm": True},
}


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS.keys())
def predict(request):
    model = network(**request.param)
    model.build(SHAPES)
    for layer in model.encoder_layers:  # whose biases and moving averages would be zeros
        noise = np.random.default_rng(1)
        layer.set_weights([w + noise.uniform(0, 0.3, w.shape) for w in layer.get_weights()])

    @tf.function(input_signature=[SPECS])
    def function(inputs):
        potentials = unpack(model(inputs))
        return potentials.emissions, potentials.mask, potentials.marginals()

    return function


@settings(deadline=None, max_examples=12, derandomize=True)
@given(
    lengths=st.lists(st.integers(0, 6), max_size=4),
    seed=st.integers(0, 10**6),
    extra_steps=st.integers(0, 3),
    extra_chars=st.integers(0, 3),
)
def test_padding_and_the_batch_do_not_matter(predict, lengths, seed, extra_steps, extra_chars):
    inputs = batch(lengths, seed, extra_steps, extra_chars)
    emissions, mask, marginals = predict(inputs)
    np.testing.assert_array_equal(mask, inputs["words"] != 0)
    assert marginals.shape == (*inputs["words"].shape, len(TAGS))
    for row, length in enumerate(lengths):
        alone = {name: value[row : row + 1, :length] for name, value in inputs.items()}
        alone["chars"] = alone["chars"][..., :4]
        expected = predict(alone)
        np.testing.assert_allclose(emissions[row, :length], expected[0][0], atol=1e-5)
        np.testing.assert_allclose(marginals[row, :length], expected[2][0], atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_rows_of_features_that_tokens_share(kind, training):
    model = network(dropout=0.0, **kind)
    model.build(SHAPES)
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(4, 11)).astype("float32")
    places, mask = rng.integers(0, 4, [3, 5]), tf.sequence_mask([5, 0, 2])
    shared = model.tag_potentials(tf.constant(rows), mask, training=training, places=places)
    whole = model.tag_potentials(tf.constant(rows[places]), mask, training=training)
    for ours, theirs in zip(unpack(shared), unpack(whole), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    "kind",
    [{}, {"net_type": "cnn", "cnn_filter_width": 11, "use_batch_norm": True, "use_crf": False}],
    ids=["lstm and crf", "cnn"],
)
def test_learns_a_toy_corpus(kind):
    """Words 2 and 3 are names, 5 continues one; the capitals tell persons from places."""
    rng = np.random.default_rng(0)
    inputs, gold = batch([6] * 24), np.zeros([24, 6], "int32")
    inputs["case"] = rng.integers(0, 2, size=(24, 6, 2)).astype("float32")
    for row in range(24):
        for step in range(6):
            may_continue = step and gold[row, step - 1]
            word = rng.choice([1, 2, 3, 5] if may_continue else [1, 2, 3])
            inputs["words"][row, step] = word
            gold[row, step] = {
                1: 0,
                5: (gold[row, step - 1] + 1) // 2 * 2,
            }.get(word, 1 if inputs["case"][row, step, 0] else 3)
    model = network(n_hidden_list=[10], dropout=0.1, word_dropout=0.01, **kind)
    model.compile(keras.optimizers.Adam(0.03), CRFLoss(), metrics=[EntityF1(TAGS)])
    data = tf.data.Dataset.from_tensor_slices((inputs, gold)).batch(24)
    model.fit(data.repeat(100), steps_per_epoch=100, verbose=0)
    assert model.evaluate(data, verbose=0, return_dict=True)["f1"] == 1.0


def test_features_are_words_chars_and_the_rest_by_name():
    model = network()
    inputs = {name: tf.constant(value) for name, value in batch([3, 2]).items()}
    inputs["after"] = tf.ones([2, 3, 1])
    features = model.token_features(inputs)
    expected = [
        model.token_embedding(inputs["words"]), model.char_features(inputs["chars"]),
        inputs["after"], inputs["case"],
    ]  # fmt: skip
    np.testing.assert_array_equal(features, tf.concat(expected, -1))
    flat = {name: tf.reshape(value, [6, *value.shape[2:]]) for name, value in inputs.items()}
    np.testing.assert_allclose(model.token_features(flat), tf.reshape(features, [6, -1]), rtol=1e-6)


def test_word_dropout_reads_words_as_unknown_in_training_alone():
    model = NerNetwork(["O"], keras.layers.Embedding(WORDS, 3), word_dropout=0.5)
    words = tf.constant([[5] * 400 + [0] * 400])
    model.token_embedding.build(words.shape)
    unknown, known, padding = (model.token_embedding(tf.constant(i)).numpy() for i in (1, 5, 0))
    features = model.token_features({"words": words}, training=True)[0].numpy()
    dropped = (features[:400] == unknown).all(-1)
    assert 120 < dropped.sum() < 280
    assert (features[:400][~dropped] == known).all() and (features[400:] == padding).all()
    quiet = model.token_features({"words": words})[0].numpy()
    assert (quiet[:400] == known).all() and (quiet[400:] == padding).all()


@pytest.mark.parametrize("place", ["embeddings_dropout", "intra_layer_dropout", "top_dropout"])
def test_each_dropout_has_its_switch(place):
    off = dict.fromkeys(["embeddings_dropout", "intra_layer_dropout", "top_dropout"], False)
    inputs = batch([4, 4])
    for switches, acts in ((off, False), ({**off, place: True}, True)):
        model = network(dropout=0.5, constraints="never", **switches)
        quiet = model(inputs, training=False)
        close = np.allclose(model(inputs, training=True), quiet, atol=1e-5)
        assert close == (not acts)


def test_dropout_has_one_mask_a_sentence():
    model = network(dropout=0.5)
    ones = tf.ones([3, 5, 8])
    for dropout in (model.embeddings_dropout, *model.dropouts):
        dropped = dropout(ones, training=True).numpy()
        assert (dropped == dropped[:, :1]).all()
        assert set(np.unique(dropped)) == {0.0, 2.0}


def test_layers_stack():
    """Each takes what the one before puts out, in both directions."""
    sizes = {
        "lstm": {"recurrent_0": (10, 20), "recurrent_1": (10, 16)},
        "gru": {
            "recurrent_0/forward": (10, 15), "recurrent_0/backward": (10, 15),
            "recurrent_1/forward": (10, 12), "recurrent_1/backward": (10, 12),
        },
        "cnn": {"convolution_0": (3, 10, 5), "convolution_1": (3, 5, 4)},
    }  # fmt: skip
    embedded = 6 + 3 + 2  # words, characters, case
    for kind, expected in sizes.items():
        model = network(**KINDS[kind])
        inputs = batch([4])
        quiet = model(inputs)
        layers = {n: x for n, x in model.named_layers.items() if n in expected}
        assert list(layers) == list(expected)
        for name, layer in layers.items():
            shape = list(expected[name])
            if "_0" in name:
                shape[-2] = embedded
            assert list(layer.get_weights()[0].shape) == shape
        for layer in layers.values():
            weights = layer.get_weights()
            layer.set_weights([weights[0] + 0.5, *weights[1:]])
            assert not np.allclose(model(inputs), quiet, atol=1e-3)
            layer.set_weights(weights)


def test_without_crf_each_tag_stands_alone():
    model = network(use_crf=False, constraints="always")
    inputs, gold = batch([4, 2]), np.array([[2, 0, 1, 4], [4, 2, 0, 0]])
    packed = model(inputs)
    potentials = unpack(packed)
    assert not model.use_crf and not np.any(potentials.transitions)
    softmax = tf.nn.softmax(potentials.emissions).numpy()
    mask = potentials.mask.numpy()
    np.testing.assert_allclose(potentials.marginals().numpy()[mask], softmax[mask], atol=1e-6)
    np.testing.assert_array_equal(potentials.decode()[mask], softmax.argmax(-1)[mask])
    right = np.take_along_axis(softmax, gold[..., None], -1)[..., 0]
    expected = -np.where(mask, np.log(right), 0).sum(1)  # no sequence is ruled out
    np.testing.assert_allclose(CRFLoss(reduction="none")(gold, packed), expected, rtol=1e-5)


def test_dense_on_top():
    """Between the last dropout and the tags."""
    off = dict.fromkeys(["embeddings_dropout", "intra_layer_dropout", "top_dropout"], False)
    model = network(two_dense_on_top=True, use_crf=False, **off)
    inputs = batch([3])
    outputs = model(inputs, training=True)
    x, mask = model.token_features(inputs), inputs["words"] != 0
    for layer in model.encoder_layers:
        x = layer(x, mask=mask)
    kernel, bias = model.dense.get_weights()
    assert kernel.shape == (8, 4)
    x = np.maximum(x.numpy() @ kernel + bias, 0)
    kernel, bias = model.independent_tags.get_weights()
    np.testing.assert_allclose(unpack(outputs).emissions, x @ kernel + bias, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_l2_of_the_kernels(kind):
    model = network(**{"two_dense_on_top": True, **KINDS[kind]}, l2_reg=0.3)
    assert not network(**KINDS[kind]).losses
    model.build(SHAPES)
    kernels = {
        name: np.asarray(weight)
        for name, weight in storage.layer_weights(model).items()
        if name.endswith("kernel")
    }
    encoders = {"lstm": 8, "gru": 8, "cnn": 2}[kind]
    assert len(kernels) == encoders + 2  # the dense layer, the tags
    expected = sum(0.3 / 2 * np.sum(kernel**2) for kernel in kernels.values())
    np.testing.assert_allclose(sum(float(loss) for loss in model.losses), expected, rtol=1e-5)


def test_words_as_vectors(tmp_path):
    model = NerNetwork(TAGS, None, n_hidden_list=[3])
    vectors = np.random.default_rng(0).normal(size=(2, 4, 6)).astype("float32")
    inputs = {"words": vectors, "mask": np.array([[1, 1, 1, 0], [1, 1, 0, 0]], "float32")}
    outputs = unpack(model(inputs))
    np.testing.assert_array_equal(outputs.mask, inputs["mask"] == 1)
    np.testing.assert_array_equal(model.token_features(inputs), vectors)
    padded = {"words": np.pad(vectors, [[0, 0], [0, 2], [0, 0]], constant_values=9.0)}
    padded["mask"] = np.pad(inputs["mask"], [[0, 0], [0, 2]])
    np.testing.assert_allclose(unpack(model(padded)).emissions[:, :4], outputs.emissions, atol=1e-5)
    with pytest.raises(ValueError, match="expected a 'mask'"):
        model({"words": vectors})
    with pytest.raises(ValueError, match="word_dropout"):
        NerNetwork(TAGS, None, word_dropout=0.1)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(inputs), model(inputs), atol=1e-6)


def test_a_mask_goes_before_the_ids():
    model = network()
    inputs = batch([3, 3])
    inputs["mask"] = np.array([[1, 1, 1], [1, 0, 1]], "float32")
    assert unpack(model(inputs)).mask.numpy().tolist() == [[True] * 3, [True, False, True]]


def test_without_characters_and_further_features():
    model = NerNetwork(TAGS, keras.layers.Embedding(WORDS, 3), n_hidden_list=[2])
    model.build({"words": (None, None)})
    assert unpack(model({"words": np.array([[1, 2, 0]])})).emissions.shape == (1, 3, 5)


def same_outputs(a, b):
    inputs = batch([5, 0, 3], seed=1)
    np.testing.assert_allclose(a(inputs), b(inputs), atol=1e-6)
    assert not np.allclose(a(inputs), network(seed=9)(inputs), atol=1e-3)


def test_keras_file(tmp_path):
    # No dropout: its random states are no part of what is compared.
    model = network(
        seed=3, n_hidden_list=[3], dropout=0.0, scheme="iob1", constraints="always", name="tagger"
    )
    model.build(SHAPES)
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer, CRFLoss(), metrics=[EntityF1(TAGS)])
    inputs, gold = batch([4, 2]), np.zeros([2, 4], "int32")
    model.fit(inputs, gold, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is NerNetwork
    settings, expected = loaded.get_config(), model.get_config()
    for name in ("token_embedding", "char_features"):
        # Keras notes shapes beside a layer's own settings, as a tuple or a list.
        assert settings.pop(name)["config"] == expected.pop(name)["config"]
    assert settings == expected
    same_outputs(loaded, model)
    # The optimizer goes on where it was: both take the same next step.
    model.fit(inputs, gold, verbose=0)
    loaded.fit(inputs, gold, verbose=0)
    same_outputs(loaded, model)


@pytest.mark.parametrize("kind", ["gru", "cnn"])
def test_keras_file_of_other_kinds(tmp_path, kind):
    model = network(seed=3, l2_reg=0.001, **KINDS[kind])
    model(batch([3]), training=True)  # which moves the averages of batch normalisation
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for name, value in KINDS[kind].items():
        assert loaded.get_config()[name] == value
    same_outputs(loaded, model)


@pytest.mark.parametrize("built_by", ["shapes", "call"])
def test_weights_file(tmp_path, built_by):
    model, other = network(seed=3), network(seed=4)
    model(batch([4, 2]))
    model.save_weights(tmp_path / "model.weights.h5")
    if built_by == "shapes":
        other.build(SHAPES)
    else:
        other(batch([1]))
    other.load_weights(tmp_path / "model.weights.h5")
    same_outputs(other, model)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_model(tmp_path, kind):
    model = network(**KINDS[kind])
    exported = tf.Module()
    exported.model = model
    exported.serve = tf.function(lambda inputs: model(inputs), input_signature=[SPECS])
    tf.saved_model.save(exported, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    same_outputs(loaded.serve, model)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_mixed_precision(kind):
    policy = keras.mixed_precision.global_policy()
    settings = {"n_hidden_list": [3], **KINDS[kind]}
    exact = network(**settings)
    try:
        keras.mixed_precision.set_global_policy("mixed_float16")
        mixed = network(**settings)
    finally:
        keras.mixed_precision.set_global_policy(policy)
    for model in (exact, mixed):
        model.build(SHAPES)
    mixed.set_weights(exact.get_weights())
    inputs = batch([4, 2])
    outputs = mixed(inputs)
    assert outputs.dtype == tf.float32
    np.testing.assert_allclose(
        unpack(outputs).marginals(), unpack(exact(inputs)).marginals(), atol=0.02
    )
    if kind == "lstm":
        mixed.compile("adam", CRFLoss())
        assert np.isfinite(mixed.fit(inputs, np.zeros([2, 4]), verbose=0).history["loss"]).all()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"n_hidden_list": []}, r"n_hidden_list=\[\]; expected the units of each layer"),
        ({"n_hidden_list": [3, 0]}, r"n_hidden_list=\[3, 0\]"),
        ({"net_type": "transformer"}, r"net_type='transformer'; expected one of \('rnn', 'cnn'\)"),
        ({"cell_type": "sru"}, r"cell_type='sru'; expected one of \('lstm', 'gru'\)"),
    ],
)
def test_wrong_arguments(settings, expected):
    with pytest.raises(ValueError, match=expected):
        network(**settings)
