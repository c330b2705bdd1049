"""The components that a configuration names: vocabularies, word vectors, the network's settings."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasner.components import Glove, Ner, SimpleVocab, TextSplitter
from kerasner.errors import ArchiveError, ConfigError, DataError
from kerasner.layers import QuantizedEmbedding


def test_a_vocabulary_counts_from_two_by_falling_frequency():
    vocab = SimpleVocab()
    vocab.fit(tf.constant([["b", "a"], ["c", "a"], ["é", "é"], ["a", ""]]))
    assert vocab.items[:2] == ["a", "é"]
    assert sorted(vocab.items[2:]) == ["b", "c"]
    assert vocab.len == 6
    ids = vocab(tf.constant([["a", "é", "?", ""]]))
    assert ids.dtype == tf.int32
    assert ids.numpy().tolist() == [[2, 3, 1, 0]]


def test_a_vocabulary_can_be_limited():
    vocab = SimpleVocab(max_tokens=3)
    vocab.fit(tf.constant(["a", "a", "b", "b", "b", "c"]))
    assert vocab.items == ["b"]  # padding and the unknown string count
    assert vocab(tf.constant(["b", "a"])).numpy().tolist() == [2, 1]


def test_a_minimum_of_0_tunes_every_known_word(tmp_path):
    (tmp_path / "v.txt").write_text("a 1 0\nb 0 1\nc 1 1\n")
    for least, own in ((0, ["a", "b"]), (2, ["a"]), (None, [])):
        glove = Glove(str(tmp_path / "v.txt"), tuned_min_count=least)
        glove.fit(tf.constant(["a", "a", "b"]))
        assert glove.own == own


def test_tags_count_from_zero():
    vocab = SimpleVocab(targets=True)
    vocab.fit(tf.constant(["O", "B-PER", "O", "O", "B-PER", "I-PER"]))
    assert vocab.items == ["O", "B-PER", "I-PER"]
    assert vocab.len == 3
    assert vocab(tf.constant(["I-PER", "O"])).numpy().tolist() == [2, 0]


@pytest.mark.parametrize("targets", [False, True])
def test_a_vocabulary_comes_back(tmp_path, targets):
    vocab = SimpleVocab(targets=targets)
    strings = tf.constant(["é", "\U0001f600", "'", '"', "#", "a b", "é"])
    vocab.fit(strings)
    vocab.save(tmp_path, "chars")
    assert [path.name for path in tmp_path.iterdir()] == ["chars.txt"]
    loaded = SimpleVocab(targets=targets)
    loaded.load(tmp_path, "chars")
    assert loaded.items == vocab.items
    np.testing.assert_array_equal(loaded(strings), vocab(strings))
    assert len(set(loaded(strings).numpy().tolist())) == 6


@pytest.mark.parametrize("content", [None, b"\xff\n"])
def test_a_vocabulary_file_that_cannot_be_read(tmp_path, content):
    if content is not None:
        (tmp_path / "chars.txt").write_bytes(content)
    with pytest.raises(ArchiveError, match="chars.txt: not a readable list of words"):
        SimpleVocab().load(tmp_path, "chars")


WORDS = tf.constant(["the", "the", "the", "'s", "'s", "rare", "oslo", "the", "", ""])


@pytest.fixture
def vectors(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("the 1 0 -1\noslo 0.5 0.25 0\nlund 0 -2 1\n")
    return path


@pytest.fixture
def glove(vectors):
    glove = Glove(str(vectors), lacking_min_count=2, tuned_min_count=3)
    glove.fit(WORDS)
    return glove


def test_frequent_words_are_trained(glove):
    assert glove.own == ["the", "'s"]  # "rare" is too rare, "oslo" has a vector
    assert glove.dim == 3
    assert isinstance(glove.embedding, QuantizedEmbedding)
    ids = glove(tf.constant(["the", "'s", "oslo", "lund", "rare", ""]))
    assert ids.dtype == tf.int32
    assert ids.numpy().tolist() == [2, 3, 4, 5, 1, 1]  # no token has id 0, which is padding
    found = glove.embedding(ids).numpy()
    for row, vector in ((0, [1, 0, -1]), (2, [0.5, 0.25, 0]), (3, [0, -2, 1])):
        np.testing.assert_allclose(found[row], vector, atol=2 / 127 / 2 + 1e-6)
    np.testing.assert_allclose(found[4], [0.5, -1.75 / 3, 0], atol=1e-6)  # the mean of all
    assert [tuple(w.shape) for w in glove.embedding.trainable_weights] == [(4, 3)]


def test_without_tuning_only_words_that_lack_a_vector_are_trained(vectors):
    glove = Glove(str(vectors), lacking_min_count=1)
    glove.fit(WORDS)
    assert glove.own == ["'s", "rare"]


def test_only_so_many_words_are_read(vectors):
    glove = Glove(str(vectors), max_words=1)
    glove.fit(WORDS)
    assert glove.vectors.words == ["the"]


def test_word_vectors_come_back(glove, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    glove.save(folder, "glove")
    assert sorted(path.name for path in folder.iterdir()) == ["glove.npz", "glove.txt"]
    loaded = Glove()
    loaded.load(folder, "glove")
    words = tf.constant(["the", "'s", "oslo", "lund", "rare"])
    np.testing.assert_array_equal(loaded(words), glove(words))
    frozen = tf.constant([4, 5])
    np.testing.assert_array_equal(loaded.embedding(frozen), glove.embedding(frozen))


def test_training_needs_a_file_of_vectors(tmp_path):
    with pytest.raises(ConfigError, match="load_path is needed"):
        Glove().fit(WORDS)
    with pytest.raises(DataError, match="none.txt: no such file"):
        Glove(str(tmp_path / "none.txt")).fit(WORDS)


def test_the_text_splitter_passes_its_settings_on():
    splitter = TextSplitter("whitespace", "ru", 7)
    tokens = splitter.tokenizer(tf.constant(["it's here"]))["tokens"]
    assert tokens.to_list() == [[b"it's", b"here"]]
    assert splitter.sentence_splitter.max_tokens == 7
    with pytest.raises(ValueError, match="trebank"):
        TextSplitter("trebank")


def test_the_learning_rate_falls_from_epoch_to_epoch():
    rate = Ner(learning_rate=0.1, learning_rate_decay=0.5).optimizer(10)._learning_rate
    assert [round(float(rate(step)), 6) for step in (0, 9, 10, 20)] == [
        0.1,
        0.1,
        round(0.1 / 1.5, 6),
        0.05,
    ]


def test_optimizers():
    assert isinstance(Ner(optimizer="adam").optimizer(1), keras.optimizers.Adam)
    sgd = Ner(momentum=0.7, clip_norm=2.0).optimizer(1)
    assert (sgd.momentum, sgd.global_clipnorm) == (0.7, 2.0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"optimizer": "sdg"}, "optimizer 'sdg'; expected 'sgd' or 'adam'"),
        ({"learning_rate": "fast"}, "learning_rate: expected 0 or more, received 'fast'"),
        ({"dropout_keep_prob": 1.5}, "dropout_keep_prob: expected 0 to 1, received 1.5"),
        ({"moving_average": -0.1}, "moving_average: expected 0 to 1, received -0.1"),
        ({"clip_norm": float("nan")}, "clip_norm: expected 0 or more, received nan"),
    ],
)
def test_wrong_settings_of_the_network(settings, expected):
    with pytest.raises(ConfigError, match=expected):
        Ner(**settings)


def test_the_network_of_the_settings():
    ner = Ner(n_hidden_list=(3, 2), char_filters=4, char_emb_dim=5, dropout_keep_prob=0.75)
    embedding = QuantizedEmbedding(6, trainable_rows=3, frozen_rows=0)
    network = ner.network(["O", "B-X", "I-X"], embedding, n_chars=7)
    inputs = {"words": tf.ones([1, 2], tf.int32), "chars": tf.ones([1, 2, 3], tf.int32)}
    assert network(inputs).shape == (1, 3 + 2, 3 + 1)
    assert network.tags == ["O", "B-X", "I-X"]
    assert len(network.recurrent_layers) == 2
    assert network.token_features(inputs).shape == (1, 2, 6 + 4)
    assert network.get_config()["dropout"] == 0.25
    assert ner.network(["O"], embedding, None).char_features is None
