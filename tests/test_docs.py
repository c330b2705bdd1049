"""The Python code of the migration guides, as written there."""

import functools
import importlib.util
import itertools
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from kerasner import linear_chain
from kerasner.layers import CRF, unpack

GUIDES = sorted((Path(__file__).parents[1] / "docs" / "migration").glob("*.md"))
HAS_ADDONS = importlib.util.find_spec("tensorflow_addons") is not None


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A guide -> what the names in its blocks stand for, after all of them ran in their order."""

    @functools.cache
    def run(guide: Path) -> dict:
        blocks = re.findall(r"```python\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)
        runnable = [block for block in blocks if HAS_ADDONS or "tensorflow_addons" not in block]
        assert runnable
        script = tmp_path_factory.mktemp("guide") / f"{guide.stem}.py"
        script.write_text("\n".join(runnable), encoding="utf-8")
        return runpy.run_path(str(script))

    return run


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_every_block_runs(guide, executed):
    names = executed(guide)
    assert names["tags"].shape == names["x"].shape
    assert not names["tags"].numpy()[names["x"] == 0].any()


@pytest.mark.parametrize("padded", [False, True])
def test_weights_of_keras_contrib(padded, executed):
    """The best path is the one of least energy, as keras-contrib defines it."""
    guide = next(guide for guide in GUIDES if "contrib" in guide.stem)
    rng = np.random.default_rng(0)
    shapes = [(2, 3), (3, 3), (3,), (3,), (3,)]
    weights = [rng.normal(size=shape, scale=2.0).astype("float32") for shape in shapes]
    kernel, chain, bias, left, right = weights
    crf = CRF(3)
    crf.build((None, None, 2))
    crf.set_weights(executed(guide)["weights_of_keras_contrib"](weights, padded))
    inputs = rng.normal(size=(8, 4, 2)).astype("float32")
    mask = tf.ones([8, 4 + padded], tf.bool) & (tf.range(4 + padded) < 4)
    potentials = unpack(crf(np.pad(inputs, [[0, 0], [0, padded], [0, 0]]), mask=mask))
    for row, decoded in zip(inputs, potentials.decode().numpy(), strict=True):
        energy = row @ kernel + bias
        energy[0] += left
        energy[-1] += 0.0 if padded else right
        paths = itertools.product(range(3), repeat=4)
        best = min(
            paths,
            key=lambda path: (
                sum(energy[range(4), path]) + sum(chain[i, j] for i, j in itertools.pairwise(path))
            ),
        )
        assert tuple(decoded[:4]) == best


def test_functions_in_the_table_are_those_of_addons():
    text = pytest.importorskip("tensorflow_addons").text
    rng = np.random.default_rng(0)
    inputs = tf.constant(rng.normal(size=(3, 5, 4)), tf.float32)
    transitions = tf.constant(rng.normal(size=(4, 4)), tf.float32)
    tags, lengths = tf.constant(rng.integers(0, 4, (3, 5)), tf.int32), tf.constant([5, 1, 3])
    bitmap = tf.constant(rng.random((3, 5, 4)) < 0.5) | tf.cast(tf.one_hot(tags, 4), tf.bool)
    allowed = tf.where(bitmap, inputs, linear_chain.FORBIDDEN)
    chain, constrained = (inputs, lengths, transitions), (allowed, lengths, transitions)
    mask = tf.sequence_mask(lengths, 5, tf.int32)
    path, score = text.crf_decode(inputs, transitions, lengths)
    legal_path, legal_score = text.crf_constrained_decode(inputs, bitmap, transitions, lengths)
    alone, alone_score = text.viterbi_decode(inputs[0].numpy(), transitions.numpy())
    pairs = [
        (
            linear_chain.log_likelihood(*chain, tags),
            text.crf_log_likelihood(inputs, tags, lengths, transitions)[0],
        ),
        (linear_chain.log_partition(*chain), text.crf_log_norm(inputs, lengths, transitions)),
        (
            linear_chain.path_potential(*chain, tags),
            text.crf_sequence_score(inputs, tags, lengths, transitions),
        ),
        (
            linear_chain.path_potential(inputs, lengths, tf.zeros([4, 4]), tags),
            text.crf_unary_score(tags, lengths, inputs),
        ),
        (
            linear_chain.path_potential(tf.zeros_like(inputs), lengths, transitions, tags),
            text.crf_binary_score(tags, lengths, transitions),
        ),
        (
            linear_chain.log_partition(*constrained),
            text.crf_multitag_sequence_score(inputs, bitmap, lengths, transitions),
        ),
        *zip(linear_chain.viterbi(*chain), (path * mask, score), strict=True),
        *zip(linear_chain.viterbi(*constrained), (legal_path * mask, legal_score), strict=True),
        *zip(
            linear_chain.viterbi(inputs[:1], [5], transitions),
            ([alone], [alone_score]),
            strict=True,
        ),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
