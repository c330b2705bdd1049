import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner import bio
from kerasner.metrics import EntityF1

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
TAG_IDS = st.integers(0, len(TAGS) - 1)
PAIRS = st.lists(st.lists(st.tuples(TAG_IDS, TAG_IDS), max_size=6), max_size=5)

METRIC = EntityF1(TAGS)
IDS = tf.TensorSpec([None, None], tf.int32)


@tf.function(input_signature=[IDS, tf.TensorSpec([None, None, 6])])
def update(gold, outputs):
    METRIC.update_state(gold, outputs)


@tf.function(input_signature=[IDS, tf.TensorSpec([None, None, 5])])
def update_from_scores(gold, scores):
    METRIC.update_state(gold, scores)


def crf_output(predicted, mask):
    """Packed potentials whose best path is `predicted`: no transitions, clear emissions."""
    n_tags = len(TAGS)
    steps = np.concatenate([np.eye(n_tags)[predicted] * 5.0, mask[..., None]], -1)
    return np.pad(steps, [[0, 0], [n_tags, 0], [0, 0]]).astype("float32")


def batch(pairs, seed=0):
    """Sentences of (gold, predicted) ids -> gold, predicted, mask; masked steps anywhere."""
    rng = np.random.default_rng(seed)
    width = max(map(len, pairs), default=0) + int(rng.integers(0, 3))
    gold, predicted = rng.integers(0, len(TAGS), size=(2, len(pairs), width)).astype("int32")
    mask = np.zeros(gold.shape, bool)
    for row, sentence in enumerate(pairs):
        places = np.sort(rng.permutation(width)[: len(sentence)])
        mask[row, places] = True
        for place, (right, guess) in zip(places, sentence, strict=True):
            gold[row, place], predicted[row, place] = right, guess
    gold[~mask] = rng.integers(-1, 99)
    return gold, predicted, mask


def expected(pairs):
    gold, predicted = ([[TAGS[p[side]] for p in s] for s in pairs] for side in (0, 1))
    return bio.report(gold, predicted).total.f1 / 100


@settings(deadline=None, max_examples=80, derandomize=True)
@given(PAIRS, PAIRS, st.integers(0, 99))
def test_is_the_f1_of_conlleval_over_all_batches(first, second, seed):
    METRIC.reset_state()
    for pairs in (first, second):
        gold, predicted, mask = batch(pairs, seed)
        update(gold, crf_output(predicted, mask))
    np.testing.assert_allclose(METRIC.result(), expected(first + second), rtol=1e-6)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(PAIRS, st.integers(0, 99))
def test_of_scores_takes_the_best_tag(pairs, seed):
    METRIC.reset_state()
    gold, predicted, mask = batch(pairs, seed)
    update_from_scores(np.where(mask, gold, -1), np.eye(len(TAGS), dtype="float32")[predicted])
    np.testing.assert_allclose(METRIC.result(), expected(pairs), rtol=1e-6)


def test_other_schemes():
    metric = EntityF1(["O", "B-X", "I-X", "E-X", "S-X"], scheme="bioes")
    scores = np.eye(5, dtype="float32")[[[1, 3, 4, 0, 4]]]
    metric.update_state(np.array([[1, 3, 4, 0, 0]]), scores)
    np.testing.assert_allclose(metric.result(), 2 * 2 / (2 + 3), rtol=1e-6)


def test_without_entities_is_zero():
    metric = EntityF1(TAGS)
    assert float(metric.result()) == 0.0
    metric.update_state(np.zeros([1, 2]), np.eye(5, dtype="float32")[[[0, 0]]])
    assert float(metric.result()) == 0.0


def test_forgets_on_reset():
    metric = EntityF1(TAGS)
    scores = np.eye(5, dtype="float32")[[[1, 2]]]
    metric.update_state(np.array([[0, 0]]), scores)
    metric.reset_state()
    metric.update_state(np.array([[1, 2]]), scores)
    assert float(metric.result()) == 1.0


@pytest.mark.parametrize("columns", [4, 7])
def test_predictions_of_other_tags_are_an_error_that_shows_their_shape(columns):
    with pytest.raises(ValueError, match=rf"\(2, 3, {columns}\)"):
        EntityF1(TAGS).update_state(np.zeros([2, 3]), np.zeros([2, 3, columns], "float32"))


def test_counts_in_float32_under_mixed_precision():
    policy = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        metric = EntityF1(TAGS)
    finally:
        keras.mixed_precision.set_global_policy(policy)
    metric.update_state(np.full([1, 4999], 1), np.eye(5, dtype="float32")[np.full([1, 4999], 1)])
    metric.update_state(np.full([1, 2], 1), np.eye(5, dtype="float32")[[[1, 0]]])
    np.testing.assert_allclose(metric.result(), 2 * 5000 / (5001 + 5000), rtol=1e-6)


def test_survives_serialization():
    config = keras.saving.serialize_keras_object(EntityF1(TAGS, scheme="iob1", name="entities"))
    metric = keras.saving.deserialize_keras_object(config)
    assert (metric.tags, metric.scheme, metric.name) == (TAGS, "iob1", "entities")
