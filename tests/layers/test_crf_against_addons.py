"""The CRF beside that of tensorflow-addons: numbers, outputs and weights, where it is installed."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasner.layers import CRF, Potentials, unpack
from kerasner.losses import CRFLoss

tfa = pytest.importorskip("tensorflow_addons")

WIDTH = 6


def normal(seed, *shape, scale=1.0):
    return np.random.default_rng(seed).normal(size=shape, scale=scale).astype("float32")


def assert_close(ours, theirs):
    """To 1e-5, relative to the largest of all values."""
    for a, b in zip(ours, theirs, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max(initial=1e-30))


@pytest.mark.parametrize(
    "lengths, steps, n_tags, scale",
    [
        ([12, 3, 7, 1, 12, 9], 12, 9, 2.0),
        (list(range(1, 41)), 40, 5, 1.0),
        ([5, 0, 3], 5, 3, 1.0),
        ([0, 0], 4, 3, 1.0),
        ([1, 1, 1], 1, 4, 1.0),
        ([1, 0], 1, 4, 1.0),
        ([2, 1], 2, 2, 1.0),
        ([4, 2, 1], 4, 1, 1.0),
        ([30, 11, 1], 30, 7, 30.0),
        ([30, 11, 1], 30, 7, 300.0),
        ([30, 11, 1], 30, 7, 0.0),
        ([400], 400, 3, 3.0),
    ],
)
def test_likelihood_gradients_paths_and_scores(lengths, steps, n_tags, scale):
    """Theirs in float64: in float32 its recursion, never normalised, drifts on long sentences."""
    batch = len(lengths)
    emissions = tf.constant(normal(batch, batch, steps, n_tags, scale=scale))
    transitions = tf.constant(normal(steps, n_tags, n_tags, scale=scale))
    tags = np.random.default_rng(1).integers(0, n_tags, (batch, steps)).astype("int32")
    lengths = tf.constant(lengths, tf.int32)
    mask = tf.sequence_mask(lengths, steps)

    def gradients(log_likelihood, dtype):
        sources = [tf.cast(emissions, dtype), tf.cast(transitions, dtype)]
        with tf.GradientTape() as tape:
            tape.watch(sources)
            values = log_likelihood(*sources)
        return [values, *tape.gradient(values, sources, unconnected_gradients="zero")]

    def theirs(emissions, transitions):
        return tfa.text.crf_log_likelihood(emissions, tags, lengths, transitions)[0]

    def ours(emissions, transitions):
        return Potentials(emissions, mask, transitions).log_likelihood(tags)

    assert_close(gradients(ours, tf.float32), gradients(theirs, tf.float64))
    potentials = Potentials(emissions, mask, transitions)
    emissions, transitions = tf.cast(emissions, tf.float64), tf.cast(transitions, tf.float64)
    log_norm = tfa.text.crf_log_norm(emissions, lengths, transitions)
    assert_close([potentials.log_partition()], [log_norm])

    decoded, score = potentials.viterbi()
    their_path, their_score = tfa.text.crf_decode(emissions, transitions, lengths)
    if scale:  # without potentials all paths are as good
        np.testing.assert_array_equal(decoded, tf.where(mask, their_path, 0))
    # tfa's score of an empty sentence is that of its first, masked step.
    assert_close([score], [tf.where(lengths > 0, their_score, 0.0)])


@pytest.mark.parametrize(
    "use_kernel, use_boundary", list(itertools.product([True, False], repeat=2))
)
@pytest.mark.parametrize("masked", [True, False])
def test_four_outputs_and_weights_both_ways(use_kernel, use_boundary, masked):
    width = WIDTH if use_kernel else 4
    settings = {
        "units": 4,
        "use_kernel": use_kernel,
        "use_boundary": use_boundary,
        "boundary_initializer": keras.initializers.RandomNormal(seed=1),
    }
    theirs, ours = tfa.layers.CRF(**settings), CRF(**settings)
    inputs = tf.constant(normal(0, 3, 7, width, scale=2.0))
    mask = tf.sequence_mask([7, 1, 4], 7) if masked else None
    theirs(inputs)
    ours.build(inputs.shape)
    ours.set_weights(theirs.get_weights())
    expected, outputs = theirs(inputs, mask=mask), unpack(ours(inputs, mask=mask)).tfa_outputs()
    assert [x.dtype for x in outputs] == [x.dtype for x in expected]
    decoded, potentials, lengths, chain_kernel = outputs
    np.testing.assert_array_equal(decoded, expected[0])
    assert_close([potentials, chain_kernel], [expected[1], expected[3]])
    np.testing.assert_array_equal(lengths, expected[2])

    tags = np.random.default_rng(2).integers(0, 4, (3, 7))
    losses, gradients = [], []
    for layer, call in ((theirs, theirs), (ours, lambda *a, **k: unpack(ours(*a, **k)))):
        with tf.GradientTape() as tape:
            outputs = call(inputs, mask=mask)
            if isinstance(outputs, Potentials):
                outputs = outputs.tfa_outputs()
            _, potentials, lengths, chain_kernel = outputs
            values, _ = tfa.text.crf_log_likelihood(potentials, tags, lengths, chain_kernel)
        losses.append(values)
        gradients.append(tape.gradient(values, layer.trainable_variables))
    assert_close([losses[1]], [losses[0]])
    assert_close(gradients[1], gradients[0])
    with tf.GradientTape() as tape:
        loss = CRFLoss(reduction="sum")(tags, ours(inputs, mask=mask))
    assert_close([loss], [-tf.reduce_sum(losses[0])])
    assert_close(tape.gradient(loss, ours.trainable_variables), [-g for g in gradients[0]])

    changed = [w + normal(3, *w.shape) for w in ours.get_weights()]
    ours.set_weights(changed)
    theirs.set_weights(ours.get_weights())
    np.testing.assert_array_equal(unpack(ours(inputs)).decode(), theirs(inputs)[0])


def test_settings_are_a_superset():
    layer = CRF.from_config(tfa.layers.CRF(3, "zeros", False, "ones", False).get_config())
    config = layer.get_config()
    assert (layer.units, layer.use_boundary, layer.use_kernel) == (3, False, False)
    names = [config[f"{name}_initializer"]["class_name"] for name in ("chain", "boundary")]
    assert names == ["Zeros", "Ones"]
    defaults, theirs = CRF(3).get_config(), tfa.layers.CRF(3).get_config()
    for name in ("chain_initializer", "boundary_initializer", "use_boundary", "use_kernel"):
        assert defaults[name] == theirs[name]


WORDS = np.random.default_rng(0).integers(1, 12, (16, 9))
WORDS[np.arange(9) >= np.random.default_rng(1).integers(1, 10, 16)[:, None]] = 0
# A tag depends on its word and on the word before.
GOLD = (WORDS % 3 + np.pad(WORDS, [[0, 0], [1, 0]])[:, :-1] % 2) * (WORDS > 0)


def base_model():
    inputs = keras.Input([None], dtype="int32")
    embedded = keras.layers.Embedding(12, 8, mask_zero=True)(inputs)
    return keras.Model(inputs, keras.layers.LSTM(8, return_sequences=True)(embedded))


def test_trained_models_go_over_both_ways():
    keras.utils.set_random_seed(0)
    theirs = tfa.text.crf_wrapper.CRFModelWrapper(base_model(), 4)
    theirs.compile(keras.optimizers.Adam(0.05))
    theirs.fit(WORDS, GOLD, epochs=15, batch_size=16, verbose=0)

    base = base_model()
    crf = CRF(4)
    ours = keras.Model(base.input, crf(base.output))
    ours.compile(keras.optimizers.Adam(0.05), CRFLoss())
    base.set_weights(theirs.base_model.get_weights())
    crf.set_weights(theirs.crf_layer.get_weights())

    def check():
        decoded = unpack(ours(WORDS)).decode().numpy()
        np.testing.assert_array_equal(decoded, theirs(WORDS))
        their_loss = theirs.evaluate(WORDS, GOLD, batch_size=16, verbose=0, return_dict=True)
        our_loss = ours.evaluate(WORDS, GOLD, batch_size=16, verbose=0)
        np.testing.assert_allclose(our_loss, their_loss["crf_loss"], rtol=1e-5)
        return decoded

    before = check()
    assert len(np.unique(before)) > 1
    ours.fit(WORDS, GOLD, epochs=15, batch_size=16, verbose=0)
    theirs.base_model.set_weights(base.get_weights())
    theirs.crf_layer.set_weights(crf.get_weights())
    assert (check() != before).any()
