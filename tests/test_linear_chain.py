"""The chain's functions against enumeration of all paths and against float64 recursions."""

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner import bio, linear_chain, schemes

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


def recursions(emissions, transitions):
    """Log-partition, marginals, expected transitions and best potential of [T, N] in float64."""
    emissions, transitions = emissions.astype("float64"), transitions.astype("float64")
    forward = [emissions[0]]
    best = emissions[0]
    for row in emissions[1:]:
        forward.append(logsumexp_columns(forward[-1][:, None] + transitions) + row)
        best = (best[:, None] + transitions).max(0) + row
    backward = [np.zeros(len(transitions))]
    for row in emissions[:0:-1]:
        backward.append(logsumexp_columns((row + backward[-1])[:, None] + transitions.T))
    forward, backward = np.array(forward), np.array(backward[::-1])
    log_z = logsumexp(forward[-1])
    moved = forward[:-1, :, None] + transitions + (emissions + backward)[1:, None, :]
    return log_z, np.exp(forward + backward - log_z), np.exp(moved - log_z).sum(0), best.max()


def logsumexp_columns(values):
    peak = values.max(0)
    return peak + np.log(np.exp(values - peak).sum(0))


def potential_of(path, emissions, transitions):
    potential = emissions.astype("float64")[np.arange(len(path)), path].sum()
    return potential + transitions.astype("float64")[path[:-1], path[1:]].sum()


@pytest.mark.parametrize("steps, scale", [(20_000, 2.0), (20_000, 30.0), (300, 1e4)])
def test_long_and_extreme_chains_are_as_in_float64(steps, scale):
    emissions, _, transitions = chain(7, 1, steps, 5, scale)
    if scale > 100:
        emissions, transitions = np.clip(emissions, -scale, scale), np.sign(transitions) * scale
    lengths = np.array([steps], "int32")
    log_z, expected, moves, best = recursions(emissions[0], transitions)
    np.testing.assert_allclose(
        compiled("log_partition")(emissions, lengths, transitions)[0], log_z, rtol=1e-6
    )
    marginals = compiled("marginals")(emissions, lengths, transitions).numpy()
    np.testing.assert_allclose(marginals.sum(-1), 1.0, atol=1e-5)
    tolerance = 1e-3 if scale > 100 else 1e-4  # the digits of potentials of 1e4 end there
    np.testing.assert_allclose(marginals[0], expected, atol=tolerance)
    tags = np.zeros([1, steps], "int32")
    of_emissions, of_transitions = likelihood_gradient(
        emissions, lengths, transitions, tags, np.ones(1, "float32")
    )
    gold = np.eye(5)[tags[0]]
    np.testing.assert_allclose(of_emissions[0], gold - expected, atol=tolerance)
    moves[0, 0] -= steps - 1
    np.testing.assert_allclose(of_transitions, -moves, rtol=1e-5, atol=1e-2)
    path = compiled("viterbi")(emissions, lengths, transitions)[0][0].numpy()
    np.testing.assert_allclose(potential_of(path, emissions[0], transitions), best, rtol=1e-9)


@functools.lru_cache
def compiled_k_best(k):
    return tf.function(
        lambda *chain: linear_chain.k_best(*chain, k), input_signature=CHAIN, autograph=False
    )


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    batch=st.integers(0, 3),
    steps=st.integers(0, 5),
    n_tags=st.integers(1, 4),
    k=st.sampled_from([1, 2, 7]),
    scale=st.sampled_from([0.0, 1.0, 1e4]),
    share_forbidden=st.sampled_from([0.0, 0.3]),
)
def test_k_best_paths_are_those_of_enumeration(
    seed, batch, steps, n_tags, k, scale, share_forbidden
):
    emissions, lengths, transitions = chain(seed, batch, steps, n_tags, scale)
    rng = np.random.default_rng(seed)
    transitions[rng.random(transitions.shape) < share_forbidden] = linear_chain.FORBIDDEN
    emissions[rng.random(emissions.shape) < share_forbidden / 3] = linear_chain.FORBIDDEN
    tags, potentials = compiled_k_best(k)(emissions, lengths, transitions)
    assert tags.shape == (batch, k, steps)
    assert potentials.shape == (batch, k)
    best, potential = compiled("viterbi")(emissions, lengths, transitions)
    for row, length in enumerate(lengths):
        paths, values = enumerate_paths(emissions[row, :length], transitions)
        by_path = {tuple(p): v for p, v in zip(paths, values, strict=True) if v > -1e8}
        count = min(k, len(by_path))
        expected = sorted(by_path.values(), reverse=True)[:count]
        found = [tuple(path[:length]) for path in tags[row].numpy()]
        assert len(set(found[:count])) == count
        tolerance = {"rtol": 1e-5, "atol": 1e-4}
        np.testing.assert_allclose(potentials[row, :count], expected, **tolerance)
        np.testing.assert_allclose([by_path[path] for path in found[:count]], expected, **tolerance)
        assert np.all(np.diff(potentials[row, :count]) <= 0)
        assert np.all(potentials[row, count:] == -np.inf)
        assert not tags[row, count:].numpy().any()
        assert not tags[row, :, length:].numpy().any()
        if count:
            np.testing.assert_array_equal(tags[row, 0], best[row])
            assert potentials[row, 0] == potential[row]


compiled_sample = tf.function(
    linear_chain.sample, input_signature=[*CHAIN, tf.TensorSpec([2], tf.int32)], autograph=False
)


@settings(deadline=None, max_examples=15, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    steps=st.integers(0, 4),
    n_tags=st.integers(1, 3),
    share_forbidden=st.sampled_from([0.0, 0.3]),
)
def test_paths_are_drawn_with_their_probabilities(seed, steps, n_tags, share_forbidden):
    draws = 4000
    emissions, lengths, transitions = chain(seed, 3, steps, n_tags)
    transitions[np.random.default_rng(seed).random(transitions.shape) < share_forbidden] = (
        linear_chain.FORBIDDEN
    )
    many = [np.repeat(x, draws, axis=0) for x in (emissions, lengths)]
    tags = compiled_sample(*many, transitions, [seed, 1]).numpy().reshape(3, draws, steps)
    for row, length in enumerate(lengths):
        paths, values = enumerate_paths(emissions[row, :length], transitions)
        assert not tags[row, :, length:].any()
        if values.max() < -1e8:
            continue  # nothing is possible
        for path, probability in zip(paths, np.exp(values - logsumexp(values)), strict=True):
            share = np.mean((tags[row, :, :length] == path).all(-1))
            assert abs(share - probability) < 5 * np.sqrt(probability / draws) + 1e-9


def test_the_same_seed_draws_the_same_paths():
    arguments = chain(5, 3, 50, 4)
    first, again = (compiled_sample(*arguments, [1, 2]) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != compiled_sample(*arguments, [1, 3]))


def test_paths_drawn_from_a_long_sure_chain_are_the_best():
    emissions, _, transitions = chain(7, 1, 5000, 3, 300.0)
    lengths = np.array([5000], "int32")
    drawn = compiled_sample(emissions, lengths, transitions, [1, 1]).numpy()
    best = compiled("viterbi")(emissions, lengths, transitions)[0].numpy()
    assert np.mean(drawn == best) > 0.99


def test_k_best_paths_of_a_long_chain():
    steps, k = 20_000, 4
    emissions, _, transitions = chain(11, 1, steps, 3, 2.0)
    tags, potentials = compiled_k_best(k)(emissions, np.array([steps], "int32"), transitions)
    ranked = np.full([3, k], -np.inf)
    ranked[:, 0] = emissions[0, 0]
    for row in emissions[0, 1:].astype("float64"):
        moved = (ranked[:, :, None] + transitions[:, None, :]).reshape(3 * k, 3)
        ranked = -np.sort(-moved, axis=0)[:k].T + row[:, None]
    expected = -np.sort(-ranked.ravel())[:k]
    found = [potential_of(path, emissions[0], transitions) for path in tags[0].numpy()]
    assert len(set(found)) == k
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-2)
    np.testing.assert_allclose(potentials[0] - potentials[0, 0], expected - expected[0], atol=1e-2)
    np.testing.assert_allclose(potentials[0, 0], expected[0], rtol=1e-6)


TAGS = {
    "bio": ["O", "B-A", "I-A", "I-B"],
    "iob1": ["I-A", "O", "B-A", "I-B"],
    "bioes": ["O", "B-A", "I-A", "E-A", "S-A", "E-B"],
    "io": ["B", "O", "A"],
}


def entities(tags, scheme):
    """(label, first, last) of each entity, stray tags read as conlleval does."""
    found, previous = [], ("O", "")
    for step, tag in enumerate(tags):
        prefix, label = schemes.split_tag(tag, scheme)
        if label and label == previous[1] and prefix in "IE" and previous[0] not in "ES":
            found[-1] = (label, found[-1][1], step)
        elif label:
            found.append((label, step, step))
        previous = prefix, label
    return found


@pytest.mark.parametrize("scheme", ["bio", "iob1"])
def test_entities_are_read_as_elsewhere(scheme):
    for length in range(5):
        for tags in itertools.product(TAGS[scheme], repeat=length):
            assert entities(tags, scheme) == [(x, a, b - 1) for x, a, b in bio.entities(tags)]


@functools.lru_cache
def compiled_spans(scheme):
    rules = schemes.entity_rules(TAGS[scheme], scheme)

    @tf.function(input_signature=[*CHAIN, tf.TensorSpec([4, None], tf.int32)], autograph=False)
    def function(emissions, lengths, transitions, spans):
        return linear_chain.span_log_probability(
            emissions, lengths, transitions, rules, *tf.unstack(spans)
        )

    return function


@settings(deadline=None, max_examples=45, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    scheme=st.sampled_from(schemes.SCHEMES),
    steps=st.integers(0, 4),
    scale=st.sampled_from([0.0, 1.0, 3.0, 60.0]),
    constrained=st.booleans(),
)
def test_span_probability_is_that_of_all_paths_that_read_so(
    seed, scheme, steps, scale, constrained
):
    names = TAGS[scheme]
    labels = schemes.entity_rules(names, scheme).labels
    emissions, lengths, transitions = chain(seed, 2, steps, len(names), scale)
    lengths[0] = steps
    if constrained:
        legal = schemes.legality(names, scheme)
        transitions[~legal.transitions] = linear_chain.FORBIDDEN
        for row, length in enumerate(lengths):
            if length:
                emissions[row, 0, ~legal.starts] = linear_chain.FORBIDDEN
                emissions[row, length - 1, ~legal.ends] = linear_chain.FORBIDDEN
    spans = list(
        itertools.product(range(2), range(steps + 1), range(-1, steps + 1), range(len(labels)))
    )
    result = compiled_spans(scheme)(
        emissions, lengths, transitions, np.array(spans, "int32").reshape(-1, 4).T
    )
    for row, length in enumerate(lengths):
        expected = dict.fromkeys((x, a, b) for r, a, b, x in spans if r == row)
        paths, values = enumerate_paths(emissions[row, :length], transitions)
        for path, value in zip(paths, values, strict=True):
            if value > -1e8:
                for label, first, last in entities([names[tag] for tag in path], scheme):
                    key = labels.index(label), first, last
                    expected[key] = [*(expected[key] or []), value]
        log_z = logsumexp(values)
        for (own, first, last, label), found in zip(spans, result.numpy(), strict=True):
            if own == row:
                of_paths = expected[label, first, last]
                if of_paths is None:
                    assert found == -np.inf
                else:
                    exact = logsumexp(np.array(of_paths)) - log_z
                    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-4)


def test_span_probability_of_a_long_chain():
    """Two tags that never change: the whole sentence is one entity with known probability."""
    steps = 20_000
    emissions = np.zeros([1, steps, 2], "float32")
    emissions[..., 1] = 0.25
    transitions = np.array([[0.0, linear_chain.FORBIDDEN]] * 2, "float32")
    transitions[1] = linear_chain.FORBIDDEN, 0.0
    emissions[0, :, 1] -= 0.25  # both paths have potential 0
    emissions[0, 7, 1] = 1.0
    rules = schemes.entity_rules(["O", "I-A"])
    function = tf.function(linear_chain.span_log_probability, autograph=False)
    found = function(
        emissions, [steps], transitions, rules, [0, 0], [0, 0], [steps - 1, 10], [0, 0]
    )
    np.testing.assert_allclose(found, [-np.log1p(np.exp(-1.0)), -np.inf], rtol=1e-5)


def test_forbidden_transitions_get_no_probability():
    emissions, _, transitions = chain(1, 2, 6, 3)
    transitions[0, 1] = transitions[2, 2] = linear_chain.FORBIDDEN
    lengths = np.array([6, 4], "int32")
    log_z = compiled("log_partition")(emissions, lengths, transitions)
    for row in range(2):
        paths, values = enumerate_paths(emissions[row, : lengths[row]], transitions)
        legal = ~(
            ((paths[:, :-1] == 0) & (paths[:, 1:] == 1))
            | ((paths[:, :-1] == 2) & (paths[:, 1:] == 2))
        ).any(1)
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


def test_what_stands_at_padded_steps_may_be_nan():
    emissions, _, transitions = chain(5, 2, 4, 3)
    lengths, tags = np.array([4, 2], "int32"), np.array([[0, 1, 2, 0], [1, 2, -7, 9]], "int32")
    garbage = emissions.copy()
    garbage[1, 2:] = np.nan
    for name in ("log_likelihood", "log_partition", "marginals", "viterbi", "path_potential"):
        more = [tags] if name in ("log_likelihood", "path_potential") else []
        clean = tf.nest.flatten(getattr(linear_chain, name)(emissions, lengths, transitions, *more))
        noisy = tf.nest.flatten(getattr(linear_chain, name)(garbage, lengths, transitions, *more))
        for a, b in zip(clean, noisy, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)
    with tf.GradientTape() as tape:
        tape.watch(watched := tf.constant(garbage))
        loss = tf.reduce_sum(linear_chain.log_likelihood(watched, lengths, transitions, tags))
    gradient = tape.gradient(loss, watched).numpy()
    assert np.isfinite(gradient).all() and not gradient[1, 2:].any()


def test_runs_eagerly():
    emissions, lengths, transitions = chain(9, 3, 6, 4)
    for name in ("log_partition", "marginals", "viterbi"):
        eager = getattr(linear_chain, name)(emissions, lengths, transitions)
        graph = compiled(name)(emissions, lengths, transitions)
        for a, b in zip(tf.nest.flatten(eager), tf.nest.flatten(graph), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


XLA_CASES = {
    "log_likelihood": lambda e, n, t, y: linear_chain.log_likelihood(e, n, t, y),
    "gradient": lambda e, n, t, y: likelihood_gradient.python_function(e, n, t, y, tf.ones([3])),
    "marginals": lambda e, n, t, y: linear_chain.marginals(e, n, t),
    "viterbi": lambda e, n, t, y: linear_chain.viterbi(e, n, t),
    "k_best": lambda e, n, t, y: linear_chain.k_best(e, n, t, 3),
    "sample": lambda e, n, t, y: linear_chain.sample(e, n, t, [1, 2]),
    "span": lambda e, n, t, y: linear_chain.span_log_probability(
        e, n, t, schemes.entity_rules(["O", "B-A", "I-A", "I-B"]), [0, 0], [0, 1], [1, 1], [0, 1]
    ),
}


@pytest.mark.parametrize("name", XLA_CASES)
def test_compiled_by_xla(name):
    functions = [tf.function(XLA_CASES[name], jit_compile=jit) for jit in (True, False)]
    for scale in (1.0, 60.0):
        emissions, lengths, transitions = chain(9, 3, 6, 4, scale)
        lengths[:2] = 6, 0
        tags = np.random.default_rng(0).integers(0, 4, (3, 6)).astype("int32")
        arguments = [tf.constant(x) for x in (emissions, lengths, transitions, tags)]
        results = [tf.nest.flatten(function(*arguments)) for function in functions]
        for a, b in zip(*results, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


SHAPES = {"emissions": [2, 3, 4], "lengths": [2], "transitions": [4, 4], "tags": [2, 3]}
WITH_TAGS = ("path_potential", "log_likelihood")


@pytest.mark.parametrize(
    "name, wrong, shape",
    [
        (name, wrong, shape)
        for name in ("path_potential", "log_likelihood", "log_partition", "viterbi", "marginals")
        for wrong, shape in (
            ("emissions", (2, 3)), ("emissions", (2, 3, 4, 1)), ("lengths", (3,)),
            ("lengths", (2, 1)), ("transitions", (4, 3)), ("transitions", (4,)),
            ("tags", (2, 4)), ("tags", (2,)),
        )
        if wrong != "tags" or name in WITH_TAGS
    ],
)  # fmt: skip
def test_a_wrong_shape_is_an_error_that_shows_it(name, wrong, shape):
    arguments = {
        key: np.zeros(size, "int32" if key in ("lengths", "tags") else "float32")
        for key, size in {**SHAPES, wrong: shape}.items()
    }
    if name not in WITH_TAGS:
        del arguments["tags"]
    with pytest.raises(ValueError, match=f"Expected {wrong} .*received") as error:
        getattr(linear_chain, name)(**arguments)
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("k", [0, -1, 2.0, True])
def test_a_wrong_k_is_an_error_that_shows_it(k):
    with pytest.raises(ValueError, match=f"received {k}"):
        linear_chain.k_best(*chain(0, 1, 2, 3), k)


def test_wrong_spans_and_rules_are_errors_that_show_them():
    arguments = chain(0, 1, 2, 3)
    rules = schemes.entity_rules(["O", "B-A", "I-A"])
    with pytest.raises(ValueError, match=r"\(2,\)|\[2\]"):
        linear_chain.span_log_probability(*arguments, rules, [0, 0], [0], [0], [0])
    few = schemes.entity_rules(["O", "B-A"])
    with pytest.raises(ValueError, match="3 tags.*those of 2"):
        linear_chain.span_log_probability(*arguments, few, [0], [0], [0], [0])
