"""The language model: what it may know of a place, padding, serialisation, mixed precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasner.few_shot.language_model import LETTERS, LanguageModel
from kerasner.layers import QuantizedEmbedding


@pytest.fixture
def model():
    keras.utils.set_random_seed(1)
    embedding = QuantizedEmbedding(6, 20, frozen_rows=0, name="token_embedding")
    model = LanguageModel(
        embedding, 9, units=5, dim=4, hidden=8, ending_dim=3, clusters=5, dropout=0.5
    )
    model.build()
    return model


def sentences(rows=3, length=7, seed=0):
    """Ids [B, T, 3], those after each row's length being 0."""
    rng = np.random.default_rng(seed)
    high = (20, LETTERS, 9)
    ids = np.stack([rng.integers(1, top, (rows, length)) for top in high], axis=-1)
    for row in range(rows):
        ids[row, length - row :] = 0
    return ids.astype(np.int32)


def expectations(model, ids):
    return model(model.token_vectors(ids), mask=ids[..., 0] != 0).numpy()


def test_an_expectation_does_not_depend_on_its_own_token(model):
    ids = sentences(1)
    expected = expectations(model, ids)
    for place in range(ids.shape[1]):
        other = ids.copy()
        other[0, place] = [3, 2, 1]
        changed = np.abs(expectations(model, other) - expected).max(axis=-1)[0]
        assert changed[place] == 0
        assert (np.delete(changed, place) > 0).all()


def test_padding_and_the_rest_of_the_batch_do_not_matter(model):
    ids = sentences()
    together = expectations(model, ids)
    for row in range(3):
        length = 7 - row
        alone = expectations(model, ids[row : row + 1, :length])
        np.testing.assert_allclose(together[row, :length], alone[0], atol=1e-6)


def test_token_vectors(model):
    vectors = model.token_vectors(tf.constant([[4, 3, 2], [0, 0, 0]])).numpy()
    assert vectors.shape == (2, model.width)
    np.testing.assert_allclose(np.linalg.norm(vectors[0, :6]), 1, atol=1e-6)
    np.testing.assert_array_equal(vectors[0, 6 : 6 + LETTERS], np.eye(LETTERS)[3])
    assert not vectors[1].any()


def test_words_are_dropped_in_training_alone(model):
    model.settings["word_dropout"] = 0.5
    ids = tf.tile(tf.constant([[5, 1, 1]]), [400, 1])
    unknown = model.token_vectors(tf.constant([1, 1, 1]))
    is_unknown = np.all(np.isclose(model.token_vectors(ids, training=True), unknown), axis=-1)
    assert 0.4 < is_unknown.mean() < 0.6
    assert not np.isclose(model.token_vectors(ids), unknown).all(axis=-1).any()


def test_config_round_trip(model):
    copy = LanguageModel.from_config(model.get_config())
    copy.build()
    copy.set_weights(model.get_weights())
    ids = sentences()
    np.testing.assert_array_equal(expectations(copy, ids), expectations(model, ids))


def test_mixed_precision(model):
    embedding = QuantizedEmbedding(6, 20, frozen_rows=0)
    half = LanguageModel(
        embedding, 9, units=5, dim=4, hidden=8, ending_dim=3, clusters=5, dtype="mixed_bfloat16"
    )
    half.build()
    half.set_weights(model.get_weights())
    ids = sentences()
    found = half(half.token_vectors(ids), mask=ids[..., 0] != 0)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, expectations(model, ids), atol=0.02)
