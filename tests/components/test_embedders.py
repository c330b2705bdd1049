"""Word vectors of the three formats: from tokens to ids to vectors."""

import gzip
import io
import struct
import tarfile

import numpy as np
import pytest
import tensorflow as tf

from kerasner.components import FastText, Glove, Navec
from kerasner.errors import ConfigError, DataError
from kerasner.layers import ProductQuantizedEmbedding, QuantizedEmbedding
from kerasner.vectors import read_glove

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
    np.testing.assert_allclose(found[4], [0.5, -1.75 / 3, 0], atol=2 / 127 / 2)  # mean of all
    assert [tuple(w.shape) for w in glove.embedding.trainable_weights] == [(4, 3)]


def test_a_minimum_of_0_tunes_every_known_word(vectors):
    for least, own in ((0, ["the", "oslo"]), (2, ["the"]), (None, [])):
        glove = Glove(str(vectors), tuned_min_count=least)
        glove.fit(tf.constant(["the", "the", "oslo"]))
        assert glove.own == own


def test_without_tuning_only_words_that_lack_a_vector_are_trained(vectors):
    glove = Glove(str(vectors), lacking_min_count=1)
    glove.fit(WORDS)
    assert glove.own == ["'s", "rare"]


def test_several_variables_are_fitted_on(vectors):
    glove = Glove(str(vectors))
    glove.fit(tf.constant(["a", "b"]), tf.constant([["b"]]))
    assert glove.own == ["b"]


def test_only_so_many_words_are_read(vectors):
    glove = Glove(str(vectors), max_words=1)
    glove.fit(WORDS)
    assert glove.vectors.words == ["the"]


def test_words_in_the_order_of_the_file(glove):
    words, matrix = glove.top(2)
    assert words == ["the", "oslo"]
    np.testing.assert_allclose(matrix, [[1, 0, -1], [0.5, 0.25, 0]], atol=1 / 127)
    known, found = glove.find(["lund", "?", "the"])
    assert known.tolist() == [True, False, True]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0, -2, 1], [0, 0, 0], [1, 0, -1]], atol=2 / 127)


def test_a_packed_file_with_a_header(tmp_path):
    path = tmp_path / "vectors.gz"
    path.write_bytes(gzip.compress(b"2 3\noslo 1 2 3\nlund 4 5 6\n"))
    for kind in (Glove, FastText):
        embedder = kind(str(path), dim=3)
        embedder.fit(WORDS)
        assert embedder.vectors.words == ["oslo", "lund"]


def test_line_breaks_in_words(vectors):
    glove = Glove(str(vectors), lacking_min_count=1)
    glove.fit(tf.constant(["a\nb", "c\r", "d"]))
    assert glove.own == ["d"]
    assert glove(tf.constant(["a\nb", "c\r", "c", "d"])).numpy().tolist() == [1, 1, 1, 2]


def binary_model(path, words, rows, shortest, longest, buckets):
    parts = [struct.pack("<2i", 793712314, 12)]
    parts += [struct.pack("<12id", rows.shape[1], *[1] * 6, 2, buckets, shortest, longest, 1, 1)]
    parts += [struct.pack("<3i2q", len(words), len(words), 0, 9, -1)]
    parts += [word.encode() + b"\0" + struct.pack("<qb", 1, 0) for word in words]
    parts += [b"\0", struct.pack("<2q", *rows.shape), rows.astype("<f4").tobytes()]
    path.write_bytes(b"".join(parts))


def test_a_binary_model_of_fasttext(tmp_path):
    # One bucket: every n-gram has the vector of the last row.
    rows = np.array([[1, 0], [0, 1], [4, 4]], "float32")
    binary_model(tmp_path / "model.bin", ["дом", "a"], rows, 3, 3, 1)
    fasttext = FastText(str(tmp_path / "model.bin"), tuned_min_count=3)
    fasttext.fit(tf.constant(["дома", "кот", "кот", "a", "a", "a"]))
    assert fasttext.vectors.words == ["дом", "a", "дома", "кот"]
    assert fasttext.own == ["a"]
    ids = fasttext(tf.constant(["дом", "дома", "a", "never seen"]))
    assert ids.numpy().tolist() == [3, 4, 2, 1]
    own = [[(1 + 3 * 4) / 4, 12 / 4], [4, 4], [(0 + 4) / 2, (1 + 4) / 2]]
    unknown = np.mean([own[0], own[2]], axis=0)
    np.testing.assert_allclose(fasttext.embedding(ids), [*own, unknown], atol=4 / 127)
    fasttext.save(tmp_path, "fasttext")
    loaded = FastText()
    loaded.load(tmp_path, "fasttext")
    np.testing.assert_array_equal(loaded(tf.constant(["дома", "a", "кот"])), [4, 2, 5])


def test_words_that_a_binary_model_cannot_make(tmp_path):
    binary_model(tmp_path / "model.bin", ["a", "b"], np.eye(2), 0, 0, 0)
    fasttext = FastText(str(tmp_path / "model.bin"), max_words=1)
    fasttext.fit(tf.constant(["b", "new", "new"]))
    assert fasttext.vectors.words == ["a", "b"]  # the file has it, though beyond max_words
    assert fasttext.own == ["new"]


def navec_file(path):
    """Two words of 4 numbers in 2 pieces, as tests of `read_navec` explain."""
    words = ["дом", "кот", "<unk>", "<pad>"]
    codes = np.array([[0, 1], [1, 0], [1, 1], [0, 0]], np.uint8)
    codebook = np.arange(8, dtype="<f4").reshape(2, 2, 2)
    vocabulary = struct.pack("<5I", 4, 9, 8, 0, 0) + "\n".join(words).encode()
    parts = {
        "meta.json": b'{"id": "test", "protocol": 1}',
        "vocab.bin": gzip.compress(vocabulary),
        "pq.bin": struct.pack("<4I", 4, 4, 2, 2) + codes.tobytes() + codebook.tobytes(),
    }
    with tarfile.open(path, "w") as tar:
        for name, content in parts.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_navec(tmp_path):
    navec_file(tmp_path / "navec.tar")
    navec = Navec(str(tmp_path / "navec.tar"), tuned_min_count=2, dim=4)
    navec.fit(tf.constant(["кот", "кот", "new", "new"]))
    assert navec.own == ["new", "кот"]
    assert isinstance(navec.embedding, ProductQuantizedEmbedding)
    ids = navec(tf.constant(["дом", "кот", "?"]))
    assert ids.numpy().tolist() == [4, 3, 1]
    expected = [[0, 1, 6, 7], [2, 3, 4, 5], [2, 3, 6, 7]]
    np.testing.assert_array_equal(navec.embedding(ids), expected)
    assert navec.top(1)[0] == ["дом"]
    navec.save(tmp_path, "navec")
    loaded = Navec()
    loaded.load(tmp_path, "navec")
    np.testing.assert_array_equal(loaded(tf.constant(["дом", "кот"])), [4, 3])
    np.testing.assert_array_equal(loaded.embedding(tf.constant([4])), expected[:1])


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


def test_a_large_text_file_is_read_once(vectors, tmp_path, monkeypatch):
    monkeypatch.setenv("KERASNER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("kerasner.components._cache._LARGE", 1)
    reads = []

    def read(*arguments):
        reads.append(arguments)
        return read_glove(*arguments)

    monkeypatch.setattr("kerasner.components._cache.read_glove", read)

    def words(**settings):
        glove = Glove(str(vectors), **settings)
        glove.fit(WORDS)
        return glove.vectors.words

    assert words() == words() == ["the", "oslo", "lund"]
    assert len(reads) == 1
    assert words(max_words=2) == ["the", "oslo"]
    vectors.write_text("new 1 2\n")
    assert words() == ["new"]
    assert len(reads) == 3
    for file in (tmp_path / "home" / "cache").iterdir():
        file.write_bytes(b"damaged")
    assert words() == ["new"]
    assert len(reads) == 4


def test_a_cache_that_cannot_be_written(vectors, tmp_path, monkeypatch):
    (tmp_path / "home").write_text("no folder")
    monkeypatch.setenv("KERASNER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("kerasner.components._cache._LARGE", 1)
    glove = Glove(str(vectors))
    glove.fit(WORDS)
    assert glove.vectors.words == ["the", "oslo", "lund"]


def test_training_needs_a_file_of_vectors(tmp_path, monkeypatch):
    monkeypatch.setenv("KERASNER_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="navec: load_path is needed"):
        Navec().fit(WORDS)
    expected = "glove: load_path: no file or folder .*none.txt or .*downloads.none.txt"
    with pytest.raises(ConfigError, match=expected):
        Glove("none.txt").fit(WORDS)
    (tmp_path / "model.bin").write_text("the 1 2 3\n")
    with pytest.raises(DataError, match="model.bin: .*fastText"):
        FastText(str(tmp_path / "model.bin")).fit(WORDS)


def test_a_file_in_the_folder_of_downloads(vectors, tmp_path, monkeypatch):
    monkeypatch.setenv("KERASNER_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "downloads").mkdir(parents=True)
    vectors.rename(tmp_path / "home" / "downloads" / "some.txt")
    glove = Glove("some.txt")
    glove.fit(WORDS)
    assert glove.dim == 3


def test_the_width_is_checked(vectors):
    with pytest.raises(ConfigError, match="glove: dim: expected 3, the width .*, received 100"):
        Glove(str(vectors), dim=100).fit(WORDS)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"mean": True}, "mean: one vector a sentence is of no use"),
        ({"pad_zero": "yes"}, "pad_zero: expected true or false, received 'yes'"),
        ({"max_words": 0}, "max_words: expected 1 or more, a whole number, received 0"),
        ({"tuned_min_count": -1}, "tuned_min_count: expected 0 or more, a whole number"),
        ({"lacking_min_count": 2.5}, "lacking_min_count: expected 0 or more, a whole number"),
    ],
)
def test_wrong_settings(settings, expected):
    with pytest.raises(ConfigError, match=f"fasttext: {expected}"):
        FastText(**settings)
