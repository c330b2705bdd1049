"""The chain's functions against enumeration of all paths and against float64 recursions."""

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner import linear_chain

CHAIN = [
    tf.TensorSpec([None, None, None]),
    tf.TensorSpec([None], tf.int32),
    tf.TensorSpec([None, None]),
]


@functools.lru_cache
def compiled(name):
    """A function of `linear_chain`, traced once for all shapes."""
    return tf.function(getattr(linear_chain, name), input_signature=CHAIN)


@tf.function(input_signature=[*CHAIN, tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None])])
def likelihood_gradient(emissions, lengths, transitions, tags, weights):
    with tf.GradientTape() as tape:
        tape.watch([emissions, transitions])
        values = linear_chain.log_likelihood(emissions, lengths, transitions, tags)
        total = tf.reduce_sum(values * weights)
    return tape.gradient(total, [emissions, transitions])


def chain(seed, batch, steps, n_tags, scale=1.0):
    rng = np.random.default_rng(seed)
    emissions = rng.normal(size=(batch, steps, n_tags), scale=scale).astype("float32")
    transitions = rng.normal(size=(n_tags, n_tags), scale=scale).astype("float32")
    lengths = rng.integers(0, steps + 1, size=batch).astype("int32")
    return emissions, lengths, transitions


def enumerate_paths(emissions, transitions):
    """All paths of one sentence [T, N] with their float64 potentials."""
    steps, n_tags = emissions.shape
    paths = np.array(list(itertools.product(range(n_tags), repeat=steps)), int)
    paths = paths.reshape(n_tags**steps, steps)
    potentials = emissions.astype("float64")[np.arange(steps), paths].sum(1)
    potentials += transitions.astype("float64")[paths[:, :-1], paths[:, 1:]].sum(1)
    return paths, potentials


def logsumexp(values):
    peak = values.max()
    return peak + np.log(np.exp(values - peak).sum())


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    batch=st.integers(0, 3),
    steps=st.integers(0, 5),
    n_tags=st.integers(1, 4),
    scale=st.sampled_from([0.1, 1.0, 5.0, 60.0]),
)
def test_agrees_with_enumeration(seed, batch, steps, n_tags, scale):
    emissions, lengths, transitions = chain(seed, batch, steps, n_tags, scale)
    log_z = compiled("log_partition")(emissions, lengths, transitions)
    marginals = compiled("marginals")(emissions, lengths, transitions)
    tags, potentials = compiled("viterbi")(emissions, lengths, transitions)
    assert marginals.shape == (batch, steps, n_tags)
    assert tags.shape == (batch, steps)
    for row, length in enumerate(lengths):
        paths, values = enumerate_paths(emissions[row, :length], transitions)
        np.testing.assert_allclose(log_z[row], logsumexp(values), rtol=1e-5, atol=1e-4)
        weights = np.exp(values - logsumexp(values))
        expected = np.zeros((steps, n_tags))
        for t in range(length):
            np.add.at(expected[t], paths[:, t], weights)
        np.testing.assert_allclose(marginals[row], expected, atol=1e-5)
        np.testing.assert_allclose(potentials[row], values.max(), rtol=1e-5, atol=1e-4)
        best = tuple(tags[row, :length].numpy())
        index = [tuple(p) for p in paths].index(best)
        np.testing.assert_allclose(values[index], values.max(), rtol=1e-5, atol=1e-4)
        assert not tags[row, length:].numpy().any()


@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_gradient_is_that_of_the_enumerated_likelihood(scale):
    emissions, _, transitions = chain(3, 4, 4, 3, scale)
    lengths = np.array([4, 1, 0, 3], "int32")
    tags = np.random.default_rng(0).integers(0, 3, size=(4, 4)).astype("int32")
    weights = np.array([1.0, 2.0, 1.0, 0.5], "float32")
    of_emissions, of_transitions = likelihood_gradient(
        emissions, lengths, transitions, tags, weights
    )
    expected_e, expected_t = np.zeros_like(emissions), np.zeros_like(transitions)
    for row, (length, weight) in enumerate(zip(lengths, weights, strict=True)):
        paths, values = enumerate_paths(emissions[row, :length], transitions)
        probabilities = np.exp(values - logsumexp(values))
        gold = tags[row, :length]
        for path, p in [(gold, 1.0), *zip(paths, -probabilities, strict=True)]:
            for step, tag in enumerate(path):
                expected_e[row, step, tag] += weight * p
            for i, j in itertools.pairwise(path):
                expected_t[i, j] += weight * p
    np.testing.assert_allclose(of_emissions, expected_e, atol=2e-5)
    np.testing.assert_allclose(of_transitions, expected_t, atol=2e-5)


@pytest.mark.parametrize("batch, steps", [(0, 0), (0, 3), (2, 0), (2, 1)])
def test_gradient_of_empty_chains(batch, steps):
    emissions, _, transitions = chain(1, batch, steps, 3)
    gradients = likelihood_gradient(
        emissions, np.full(batch, steps, "int32"), transitions,
        np.zeros([batch, steps], "int32"), np.ones(batch, "float32"),
    )  # fmt: skip
    assert gradients[0].shape == emissions.shape
    np.testing.assert_array_equal(gradients[1], np.zeros([3, 3]))  # no tag follows another


@pytest.mark.parametrize("scale", [2.0, 30.0])
def test_long_chains_do_not_drift(scale):
    steps, n_tags = 20_000, 5
    emissions, _, transitions = chain(7, 1, steps, n_tags, scale)
    lengths = np.array([steps], "int32")
    alpha = emissions[0, 0].astype("float64")
    best = alpha.copy()
    for t in range(1, steps):
        moved = alpha[:, None] + transitions
        peak = moved.max(0)
        alpha = peak + np.log(np.exp(moved - peak).sum(0)) + emissions[0, t]
        best = (best[:, None] + transitions).max(0) + emissions[0, t]
    log_z = compiled("log_partition")(emissions, lengths, transitions)
    np.testing.assert_allclose(log_z[0], logsumexp(alpha), rtol=1e-6)
    marginals = compiled("marginals")(emissions, lengths, transitions).numpy()
    np.testing.assert_allclose(marginals.sum(-1), 1.0, atol=1e-5)
    tags, _ = compiled("viterbi")(emissions, lengths, transitions)
    path = tags[0].numpy()
    potential = emissions[0].astype("float64")[np.arange(steps), path].sum()
    potential += transitions.astype("float64")[path[:-1], path[1:]].sum()
    np.testing.assert_allclose(potential, best.max(), rtol=1e-9)


def test_forbidden_transitions_get_no_probability():
    emissions, _, transitions = chain(1, 2, 6, 3)
    transitions[0, 1] = transitions[2, 2] = linear_chain.FORBIDDEN
    lengths = np.array([6, 4], "int32")
    log_z = compiled("log_partition")(emissions, lengths, transitions)
    for row in range(2):
        paths, values = enumerate_paths(emissions[row, : lengths[row]], transitions)
        legal = ~(((paths[:, :-1] == 0) & (paths[:, 1:] == 1))
                  | ((paths[:, :-1] == 2) & (paths[:, 1:] == 2))).any(1)
        np.testing.assert_allclose(log_z[row], logsumexp(values[legal]), rtol=1e-5)
    tags = compiled("viterbi")(emissions, lengths, transitions)[0].numpy()
    for row in range(2):
        pairs = set(itertools.pairwise(tags[row, : lengths[row]].tolist()))
        assert not pairs & {(0, 1), (2, 2)}


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    shape=st.sampled_from(["detour", "dead end"]),
    scale=st.sampled_from([3.0, 20.0, 44.0]),
)
def test_forbidden_transitions_hide_no_path(seed, shape, scale):
    """Emissions that change their favourite, and transitions that make it costly to follow."""
    n_tags = {"detour": 4, "dead end": 3}[shape]
    transitions = np.full([n_tags, n_tags], linear_chain.FORBIDDEN, "float32")
    allowed = {
        # BIOES with two labels and no O, E and B in one: I-X (0) <- X (1) <-> Y (2) -> I-Y (3).
        "detour": [(0, 0), (0, 1), (1, 0), (1, 2), (1, 1), (2, 1), (2, 2), (2, 3), (3, 3), (3, 2)],
        # 2 cannot be left, and the last step forbids it.
        "dead end": [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 2)],
    }[shape]
    for i, j in allowed:
        transitions[i, j] = 0.0
    rng = np.random.default_rng(seed)
    favourites = np.repeat(rng.integers(0, n_tags, 3), [2, 3, 2])
    emissions = rng.uniform(0, 1, [1, 7, n_tags]).astype("float32")
    emissions[0, np.arange(7), favourites] += rng.choice([scale / 2, scale], 7)
    if shape == "dead end":
        emissions[0, -1, 2] = linear_chain.FORBIDDEN
    paths, values = enumerate_paths(emissions[0], transitions)
    lengths = np.array([7], "int32")
    log_z = compiled("log_partition")(emissions, lengths, transitions)
    np.testing.assert_allclose(log_z[0], logsumexp(values), rtol=1e-5)
    weights = np.exp(values - logsumexp(values))
    expected = [[weights[paths[:, t] == k].sum() for k in range(n_tags)] for t in range(7)]
    marginals = compiled("marginals")(emissions, lengths, transitions)
    np.testing.assert_allclose(marginals[0], expected, atol=1e-4)


def test_padding_and_batch_do_not_matter():
    emissions, _, transitions = chain(5, 3, 7, 4)
    lengths = np.array([7, 3, 5], "int32")
    garbage = emissions.copy()
    garbage[1, 3:] = 1e6
    for function in (compiled("log_partition"), compiled("marginals")):
        together = function(garbage, lengths, transitions).numpy()
        alone = function(emissions[1:2, :3], lengths[1:2], transitions).numpy()
        np.testing.assert_allclose(np.ravel(together[1])[: alone.size], np.ravel(alone), rtol=1e-6)


def test_runs_eagerly():
    emissions, lengths, transitions = chain(9, 3, 6, 4)
    for name in ("log_partition", "marginals", "viterbi"):
        eager = getattr(linear_chain, name)(emissions, lengths, transitions)
        graph = compiled(name)(emissions, lengths, transitions)
        for a, b in zip(tf.nest.flatten(eager), tf.nest.flatten(graph), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)
