"""The network: neighbours, borders, padding, the rest of the batch."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner.few_shot import SvmNetwork
from kerasner.layers import QuantizedEmbedding, unpack


def network(tags=("O", "PER"), window=1, scheme="io", **settings) -> SvmNetwork:
    """Over ids of 8 words and one number a token, with random machines."""
    rng = np.random.default_rng(0)
    embedding = QuantizedEmbedding(4, 8, frozen_rows=0)
    made = SvmNetwork(tags, embedding, vectors=5, window=window, scheme=scheme, **settings)
    made.build({"words": (None, None), "cap": (None, None, 1)})
    embedding.set_trainable(rng.normal(size=(8, 4)).astype(np.float32))
    for weight in made.svm.weights:
        weight.assign(rng.normal(size=weight.shape))
    return made


def test_features_in_context():
    made = network(decay=0.5, window=2)
    features = np.float32([[[1, 0], [2, 1], [9, 9]]])
    context = made.in_context(features, np.array([[True, True, False]])).numpy()
    np.testing.assert_allclose(
        context[0, :2],
        [[0, 0, 0, 0, 1, 0, 1, 0.5, 0, 0], [0, 0, 0.5, 0, 2, 1, 0, 0, 0, 0]],
    )


def test_word_vectors_have_unit_length():
    made = network()
    inputs = {"words": np.array([[0, 1, 5]]), "cap": np.full((1, 3, 1), 3.0, np.float32)}
    features = made.token_features(inputs).numpy()
    np.testing.assert_allclose(np.linalg.norm(features[..., :4], axis=-1), [[0, 1, 1]], atol=1e-6)
    np.testing.assert_array_equal(features[..., 4], [[3, 3, 3]])


rows = st.lists(st.lists(st.integers(1, 7), min_size=1, max_size=6), min_size=1, max_size=4)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(rows, st.integers(0, 3))
def test_no_answer_depends_on_padding_or_batch(words, padding):
    def answer(batch):
        width = max(map(len, batch)) + padding
        ids = np.array([row + [0] * (width - len(row)) for row in batch])
        outputs = made({"words": ids, "cap": np.float32(ids % 3)[..., None]})
        emissions, mask, transitions = unpack(outputs)
        assert mask.numpy().sum(1).tolist() == list(map(len, batch))
        assert not transitions.numpy().any()
        return [row[: len(given)] for row, given in zip(emissions.numpy(), batch, strict=True)]

    made = network(("O", "LOC", "PER"))
    for row, together in zip(words, answer(words), strict=True):
        np.testing.assert_allclose(answer([row])[0], together, rtol=0, atol=1e-5)


def test_of_two_tags_the_first_has_log_odds_zero():
    emissions = unpack(network()({"words": np.array([[3, 4]]), "cap": np.ones((1, 2, 1), "f")}))[0]
    assert emissions.shape == (1, 2, 2) and not emissions[..., 0].numpy().any()


def test_of_several_tags_each_has_the_log_probability_of_its_machine():
    made = network(("O", "LOC", "PER"), window=0)
    odds = np.log(np.array([0.6, 0.3, 0.2]) / np.array([0.4, 0.7, 0.8]))
    zeros = {name: np.zeros(getattr(made.svm, name).shape) for name in ("coefficients", "offset")}
    made.svm.set(intercepts=odds, scale=np.ones(3), **zeros)
    potentials = unpack(made({"words": np.array([[3, 4]]), "cap": np.ones((1, 2, 1), "f")}))
    np.testing.assert_allclose(np.exp(potentials.emissions[0, 0]), [0.6, 0.3, 0.2], rtol=1e-5)
    shares = np.array([0.6, 0.3, 0.2]) / 1.1
    np.testing.assert_allclose(potentials.marginals()[0], [shares, shares], rtol=1e-5)


@pytest.mark.parametrize(
    ("tags", "scheme"), [(("O", "PER"), "io"), (("O", "B-PER", "I-PER"), "bio")]
)
def test_with_transitions_it_is_a_crf(tags, scheme):
    made = network(tags, scheme=scheme, use_crf=True)
    inputs = {"words": np.array([[3, 4, 0], [1, 2, 7]]), "cap": np.ones((2, 3, 1), "f")}
    alone = unpack(network(tags, scheme=scheme)(inputs))
    potentials = np.arange(len(tags) ** 2, dtype=np.float32).reshape(len(tags), -1)
    made.crf.transitions.assign(potentials)
    together = unpack(made(inputs))
    np.testing.assert_array_equal(together.emissions, alone.emissions)
    np.testing.assert_array_equal(together.mask, alone.mask)
    np.testing.assert_array_equal(together.transitions, potentials)
    assert made.use_crf and not made.crf.trainable_weights
    assert list(made.named_layers) == ["token_embedding", "svm", "crf"]
    assert made.with_vectors(3).use_crf


def test_vectors_without_an_embedding_need_a_mask():
    made = SvmNetwork(["O", "PER"], None, scheme="io")
    with pytest.raises(ValueError, match="expected a 'mask' beside word vectors"):
        made.call({"words": np.ones((1, 2, 3))})


def test_another_number_of_support_vectors():
    made = network()
    other = made.with_vectors(3)
    assert other.token_embedding is made.token_embedding
    assert other.svm.vectors.shape == (3, 15)
    assert (other.tags, other.scheme) == (made.tags, made.scheme)


def test_config_and_weights():
    made = network(kernel="linear", use_crf=True)
    made.crf.transitions.assign([[0.5, -0.5], [-1.0, 1.0]])
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    inputs = {"words": np.array([[3, 4]]), "cap": np.ones((1, 2, 1), np.float32)}
    if not again.built:  # Keras 3 has done it
        again.build({"words": (None, None), "cap": (None, None, 1)})
    again.set_weights(made.get_weights())
    np.testing.assert_array_equal(again(inputs), made(inputs))
