import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner.layers import CRF, unpack
from kerasner.losses import CRFLoss
from kerasner.metrics import EntityF1

WIDTH = 4
SCHEMES = {
    "bio": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"],
    "iob1": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"],
    "bioes": ["O"] + [f"{prefix}-{label}" for label in ("PER", "LOC") for prefix in "BIES"],
}


def legal(tags, scheme):
    """Whether each entity is opened, continued and closed as the scheme demands."""
    opened = previous = ""
    for tag in [*tags, "O"]:
        prefix, _, label = tag.partition("-")
        if scheme == "bioes":
            if opened != (label if prefix in ("I", "E") else ""):
                return False
            opened = label if prefix in ("B", "I") else ""
        elif prefix == {"bio": "I", "iob1": "B"}[scheme] and previous != label:
            return False
        previous = label
    return True


def built(seed=0, scale=1.0, **kwargs):
    """A layer all of whose weights are random."""
    layer = CRF(**kwargs)
    layer.build((None, None, WIDTH))
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(size=w.shape) * scale for w in layer.get_weights()])
    return layer


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def compiled(layer, training=False):
    """Decoded tags, marginals and likelihoods of inputs of any shape, traced once."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, WIDTH]),
            tf.TensorSpec([None, None], tf.bool),
            tf.TensorSpec([None, None], tf.int32),
        ]
    )
    def function(inputs, mask, tags):
        potentials = unpack(layer(inputs, mask=mask, training=training))
        return potentials.decode(), potentials.marginals(), potentials.log_likelihood(tags)

    return function


CONSTRAINED = {
    scheme: compiled(built(scale=2.0, tags=tags, scheme=scheme)) for scheme, tags in SCHEMES.items()
}


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.sampled_from(sorted(SCHEMES)),
    st.lists(st.integers(0, 6), max_size=4),
    st.sampled_from([0.0, 1.0, 20.0]),
    st.integers(0, 10**6),
)
def test_padding_anywhere_is_as_none_and_decoded_tags_are_legal(scheme, lengths, scale, seed):
    tags, function = SCHEMES[scheme], CONSTRAINED[scheme]
    rng = np.random.default_rng(seed)
    width = max(lengths, default=0) + int(rng.integers(0, 3))
    inputs = rng.normal(size=(len(lengths), width, WIDTH)).astype("float32") * scale
    gold = rng.integers(0, len(tags), size=(len(lengths), width)).astype("int32")
    mask = np.zeros(gold.shape, bool)
    for row, length in enumerate(lengths):
        places = {
            "right": np.arange(length),
            "left": np.arange(width - length, width),
            "inside": rng.permutation(width)[:length],
        }[rng.choice(["right", "left", "inside"])]
        mask[row, places] = True
    decoded, marginals, likelihood = (x.numpy() for x in function(inputs, mask, gold))
    assert not decoded[~mask].any() and not marginals[~mask].any()
    np.testing.assert_allclose(marginals[mask].sum(-1), 1.0, atol=1e-5)
    for row, length in enumerate(lengths):
        own = mask[row]
        assert legal([tags[i] for i in decoded[row, own]], scheme)
        alone = function(
            inputs[row : row + 1, own], np.ones([1, length], bool), gold[row : row + 1, own]
        )
        np.testing.assert_array_equal(decoded[row, own], alone[0][0])
        np.testing.assert_allclose(marginals[row, own], alone[1][0], atol=1e-5)
        np.testing.assert_allclose(likelihood[row], alone[2][0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "constraints, training, constrained",
    [
        ("decoding", True, False),
        ("decoding", False, True),
        ("always", True, True),
        ("always", False, True),
        ("never", False, False),
    ],
)
@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_constraints_rule_out_illegal_sequences_only(scheme, constraints, training, constrained):
    tags = SCHEMES[scheme]
    layer = built(tags=tags, scheme=scheme, constraints=constraints)
    paths = np.array(list(itertools.product(range(len(tags)), repeat=3)))
    sentence = normal(1, 1, 3, WIDTH)
    one = unpack(layer(sentence, training=training))
    everywhere = one._replace(
        emissions=tf.repeat(one.emissions, len(paths), 0), mask=tf.repeat(one.mask, len(paths), 0)
    )
    likelihoods = everywhere.log_likelihood(paths).numpy()
    # The same layer without names knows of no scheme.
    free = CRF(len(tags))
    free.build((None, None, WIDTH))
    free.set_weights(layer.get_weights())
    unconstrained = unpack(free(sentence))
    allowed = np.array([legal([tags[i] for i in path], scheme) for path in paths])
    assert allowed.any() and not allowed.all()
    if constrained:
        assert (likelihoods[~allowed] < -1e8).all()
        np.testing.assert_allclose(np.exp(likelihoods[allowed]).sum(), 1.0, rtol=1e-5)
        best = paths[allowed][likelihoods[allowed].argmax()]
        np.testing.assert_array_equal(one.decode()[0], best)
    else:
        np.testing.assert_allclose(np.exp(likelihoods).sum(), 1.0, rtol=1e-5)
        np.testing.assert_array_equal(one.transitions, unconstrained.transitions)
        np.testing.assert_array_equal(one.emissions, unconstrained.emissions)


def test_potentials_are_those_of_the_weights():
    layer = built(units=3)
    weights = {w.name.split("/")[-1].split(":")[0]: w.numpy() for w in layer.weights}
    inputs = normal(2, 2, 3, WIDTH)
    mask = np.array([[True, True, True], [False, True, False]])
    emissions = inputs @ weights["kernel"] + weights["bias"]
    emissions[0, 0] += weights["left_boundary"]
    emissions[0, 2] += weights["right_boundary"]
    emissions[1, 1] += weights["left_boundary"] + weights["right_boundary"]
    potentials = unpack(layer(inputs, mask=mask))
    np.testing.assert_allclose(potentials.emissions, emissions, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(potentials.mask, mask)
    np.testing.assert_array_equal(potentials.transitions, weights["transitions"])
    path = [2, 0, 1]
    total = emissions[0, range(3), path].sum()
    total += sum(weights["transitions"][i, j] for i, j in itertools.pairwise(path))
    others = [
        emissions[0, range(3), p].sum()
        + sum(weights["transitions"][i, j] for i, j in itertools.pairwise(p))
        for p in itertools.product(range(3), repeat=3)
    ]
    likelihood = potentials.log_likelihood(np.array([path, [0, 0, 0]]))
    np.testing.assert_allclose(likelihood[0], total - np.log(np.exp(others).sum()), rtol=1e-5)


def test_without_kernel_and_boundary_the_inputs_are_the_emissions():
    layer = built(units=WIDTH, use_kernel=False, use_boundary=False)
    assert len(layer.weights) == 1
    inputs = normal(3, 2, 3, WIDTH)
    np.testing.assert_array_equal(unpack(layer(inputs)).emissions, inputs)


@pytest.mark.parametrize("constraints", ["never", "always"])
def test_one_tag(constraints):
    decoded, marginals, likelihood = compiled(built(tags=["O"], constraints=constraints))(
        normal(4, 2, 3, WIDTH), np.ones([2, 3], bool), np.zeros([2, 3], "int32")
    )
    np.testing.assert_array_equal(decoded, np.zeros([2, 3]))
    np.testing.assert_array_equal(marginals, np.ones([2, 3, 1]))
    np.testing.assert_allclose(likelihood, [0, 0], atol=1e-5)


def test_no_keras_mask_leaves_the_layer():
    inputs = keras.Input([None], dtype="int32")
    embedded = keras.layers.Embedding(9, WIDTH, mask_zero=True)(inputs)
    outputs = CRF(3)(embedded)
    assert getattr(outputs, "_keras_mask", None) is None
    packed = keras.Model(inputs, outputs)(np.array([[1, 2, 0], [3, 0, 0]]))
    np.testing.assert_array_equal(unpack(packed).mask, [[True, True, False], [True, False, False]])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "units"),
        ({"units": 0}, "units=0"),
        ({"units": 2, "tags": ["O"]}, "units=2 and 1 tags"),
        ({"units": 2, "constraints": "sometimes"}, "'sometimes'.*'decoding'"),
        ({"tags": ["O", "S-X"]}, "'S-X'"),
        ({"tags": ["O"], "scheme": "bilou"}, "'bilou'"),
    ],
)
def test_bad_arguments_are_errors_that_show_them(arguments, message):
    with pytest.raises(ValueError, match=message):
        CRF(**arguments)


@pytest.mark.parametrize(
    "shape, arguments",
    [((None, 4), {}), ((None, None, None), {}), ((None, None, 5), {"use_kernel": False})],
)
def test_bad_shapes_are_errors(shape, arguments):
    with pytest.raises(ValueError, match="received"):
        CRF(3, **arguments).build(shape)


def test_initializers_regularizers_and_constraints_reach_their_weights():
    layer = CRF(
        3,
        chain_initializer="ones",
        boundary_initializer=keras.initializers.Constant(2.0),
        kernel_initializer=keras.initializers.Constant(3.0),
        bias_initializer=keras.initializers.Constant(4.0),
        chain_regularizer=keras.regularizers.L1(1.0),
        kernel_constraint="non_neg",
    )
    layer = CRF.from_config(layer.get_config())
    layer(np.zeros([1, 2, WIDTH], "float32"))
    values = {w.name.split("/")[-1].split(":")[0]: w.numpy() for w in layer.weights}
    means = {name: value.mean() for name, value in values.items()}
    assert means == {
        "kernel": 3, "bias": 4, "transitions": 1, "left_boundary": 2, "right_boundary": 2
    }  # fmt: skip
    np.testing.assert_allclose(sum(layer.losses), 9.0)
    assert type(layer.kernel.constraint).__name__ == "NonNeg"


def test_learns_a_toy_corpus():
    """Each word has one tag, but for I-: which entity it continues depends on the word before."""
    keras.utils.set_random_seed(1)
    tags = SCHEMES["bio"]
    continues = 5
    rng = np.random.default_rng(0)
    words = np.zeros([32, 8], "int32")
    gold = np.zeros([32, 8], "int32")
    for row in range(32):
        for step in range(rng.integers(3, 9)):
            may_continue = step and gold[row, step - 1]
            words[row, step] = rng.choice([1, 2, 3, continues] if may_continue else [1, 2, 3])
            gold[row, step] = {1: 0, 2: 1, 3: 3}.get(
                words[row, step], (gold[row, step - 1] + 1) // 2 * 2
            )
    inputs = keras.Input([None], dtype="int32")
    embedded = keras.layers.Embedding(6, 8, mask_zero=True)(inputs)
    model = keras.Model(inputs, CRF(tags=tags)(embedded))
    model.compile(keras.optimizers.Adam(0.1), CRFLoss(), metrics=[EntityF1(tags)])
    history = model.fit(words, gold, epochs=40, batch_size=32, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] / 5
    assert model.evaluate(words, gold, verbose=0, return_dict=True)["f1"] == 1.0


@pytest.mark.parametrize("batch, steps, n_tags", [(8, 12, 9), (3, 1, 2), (16, 40, 5)])
def test_numbers_are_those_of_tensorflow_addons(batch, steps, n_tags):
    tfa = pytest.importorskip("tensorflow_addons")
    rng = np.random.default_rng(batch)
    emissions = tf.constant(rng.normal(size=(batch, steps, n_tags)) * 2, tf.float32)
    lengths = tf.constant(rng.integers(1, steps + 1, size=batch), tf.int32)
    tags = tf.constant(rng.integers(0, n_tags, size=(batch, steps)), tf.int32)
    layer = CRF(n_tags, use_kernel=False, use_boundary=False)
    layer.build(emissions.shape)
    layer.transitions.assign(rng.normal(size=(n_tags, n_tags)))
    transitions = tf.convert_to_tensor(layer.transitions)
    mask = tf.sequence_mask(lengths, steps)

    with tf.GradientTape() as tape:
        tape.watch([emissions, transitions])
        theirs, _ = tfa.text.crf_log_likelihood(emissions, tags, lengths, transitions)
    their_gradients = tape.gradient(theirs, [emissions, transitions], unconnected_gradients="zero")
    with tf.GradientTape() as tape:
        tape.watch(emissions)
        ours = unpack(layer(emissions, mask=mask)).log_likelihood(tags)
    our_gradients = tape.gradient(ours, [emissions, layer.transitions])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    for a, b in zip(our_gradients, their_gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())

    path, score = tfa.text.crf_decode(emissions, transitions, lengths)
    potentials = unpack(layer(emissions, mask=mask))
    decoded = potentials.decode()
    np.testing.assert_array_equal(decoded, tf.where(mask, path, 0))
    np.testing.assert_allclose(
        tfa.text.crf_sequence_score(emissions, decoded, lengths, transitions), score, rtol=1e-5
    )
