"""Initial values of embedding matrices."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner.components import EmbMatAssembler, Glove, RandomEmbMat, SimpleVocab
from kerasner.errors import ConfigError


class Vectors:
    """An embedder of given vectors."""

    def __init__(self, words, matrix):
        self.words, self.matrix = words, np.asarray(matrix, np.float32)
        self.dim = self.matrix.shape[1]

    def top(self, n):
        return self.words[:n], self.matrix[:n]

    def find(self, words):
        known = np.array([word in self.words for word in words], bool)
        rows = [self.words.index(word) if word in self.words else 0 for word in words]
        return known, self.matrix[rows] * known[:, None]


def vocabulary(strings) -> SimpleVocab:
    vocab = SimpleVocab()
    vocab.fit(tf.constant(strings))
    return vocab


EMBEDDER = Vectors(["ab", "b", "cab"], [[1, 2, 3], [4, 5, 6], [7, 8, 10]])


def test_the_row_of_a_word_is_its_vector():
    assembler = EmbMatAssembler(EMBEDDER, vocabulary(["cab", "b", "?"]))
    assert assembler.dim == 3
    matrix = assembler.emb_mat
    assert matrix.dtype == np.float32 and matrix.shape == (5, 3)
    np.testing.assert_array_equal(matrix[[0, 2, 3]], [[0, 0, 0], [7, 8, 10], [4, 5, 6]])
    assert matrix[[1, 4]].all()  # noise


def test_the_row_of_a_character_is_the_mean_of_its_words():
    assembler = EmbMatAssembler(EMBEDDER, vocabulary(["a", "b", "c", "?"]), character_level=True)
    expected = [[4, 5, 6.5], [4, 5, 19 / 3], [7, 8, 10]]
    np.testing.assert_allclose(assembler.emb_mat[2:5], expected, atol=1e-5)
    # Only the first words are looked at, and "b" is in both of them.
    first = EmbMatAssembler(EMBEDDER, vocabulary(["b", "c"]), True, estimate_by_n=2).emb_mat
    np.testing.assert_allclose(first[2], [2.5, 3.5, 4.5])
    assert not np.allclose(first[3], [7, 8, 10])


def test_noise_is_as_wide_as_the_other_rows():
    characters = [chr(code) for code in range(0x4E00, 0x4E00 + 300)]
    embedder = Vectors(["a", "b"], [[5.0] * 40 + [-5.0] * 40, [-5.0] * 40 + [5.0] * 40])
    matrix = EmbMatAssembler(embedder, vocabulary(["a", "b", *characters]), True).emb_mat
    assert matrix[4:].std() == pytest.approx(5.0, rel=0.02)
    assert abs(matrix[4:].mean()) < 0.1
    again = EmbMatAssembler(embedder, vocabulary(["a", "b", *characters]), True).emb_mat
    np.testing.assert_array_equal(again, matrix)


def test_noise_without_any_other_row():
    matrix = EmbMatAssembler(EMBEDDER, vocabulary(["?"]), character_level=True).emb_mat
    assert np.isfinite(matrix).all() and matrix[1:].all() and not matrix[0].any()


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(0, 99), st.integers(1, 12), st.integers(2, 6), st.data())
def test_projection_as_by_singular_values(seed, n_words, width, data):
    dim = data.draw(st.integers(1, width - 1))
    words = [chr(ord("a") + index) for index in range(n_words)]
    vectors = np.random.default_rng(seed).normal(size=(n_words, width))
    embedder = Vectors(words, vectors)
    matrix = EmbMatAssembler(embedder, vocabulary(words), emb_dim=dim).emb_mat
    assert matrix.shape == (n_words + 2, dim)
    centred = embedder.matrix - embedder.matrix.mean(axis=0)
    components = np.linalg.svd(centred)[2][:dim]
    # Principal components are what they are but for their signs, and ranks beyond the data's.
    rank = min(dim, n_words - 1)
    expected = centred @ components.T
    np.testing.assert_allclose(abs(matrix[2:, :rank]), abs(expected[:, :rank]), atol=1e-4)
    np.testing.assert_allclose(matrix[2:, rank:], 0, atol=1e-4)
    products = matrix[2:] @ matrix[2:].T
    np.testing.assert_allclose(products, expected @ expected.T, atol=1e-3)


def test_a_character_is_projected_as_its_words_are():
    vocab = vocabulary(["a", "b"])
    characters = EmbMatAssembler(EMBEDDER, vocab, True, emb_dim=2).emb_mat
    words = EmbMatAssembler(EMBEDDER, vocabulary(["ab", "b", "cab"]), emb_dim=2).emb_mat[2:]
    np.testing.assert_allclose(characters[3], words.mean(axis=0), atol=1e-5)  # "b" is in all
    np.testing.assert_allclose(characters[2], words[[0, 2]].mean(axis=0), atol=1e-5)


def test_a_loaded_model_needs_no_file_of_vectors(tmp_path):
    (tmp_path / "v.txt").write_text("ab 1 2 3\nb 4 5 6\n")
    words = tf.constant(["ab", "b"])
    glove = Glove(str(tmp_path / "v.txt"))
    glove.fit(words)
    glove.save(tmp_path, "glove")
    (tmp_path / "v.txt").unlink()
    loaded = Glove()
    loaded.load(tmp_path, "glove")
    vocab = vocabulary(["a", "b"])
    settings = {"character_level": True, "emb_dim": 2}
    np.testing.assert_array_equal(
        EmbMatAssembler(loaded, vocab, **settings).emb_mat,
        EmbMatAssembler(glove, vocab, **settings).emb_mat,
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"emb_dim": 4}, "emb_dim: expected at most 3, the width of the word vectors, received 4"),
        ({"emb_dim": 0}, "emb_dim: expected 1 or more, a whole number, received 0"),
        ({"estimate_by_n": 0}, "estimate_by_n: expected 1 or more"),
        ({"character_level": "yes"}, "character_level: expected true or false, received 'yes'"),
        ({"embedder": 3}, "embedder: expected the '#id' .* has dim, top, find; received 3"),
        ({"vocab": 3}, "vocab: expected the '#id' of a component that has keys; received 3"),
    ],
)
def test_wrong_settings(settings, expected):
    with pytest.raises(ConfigError, match=f"emb_mat_assembler: {expected}"):
        EmbMatAssembler(**{"embedder": EMBEDDER, "vocab": SimpleVocab(), **settings})


def test_random_numbers():
    component = RandomEmbMat(2000, 25)
    assert component.dim == 25
    matrix = component.emb_mat
    assert matrix.dtype == np.float32 and matrix.shape == (2000, 25)
    assert not matrix[0].any()
    assert matrix.std() == pytest.approx(0.2, rel=0.02)
    np.testing.assert_array_equal(RandomEmbMat(2000, 25).emb_mat, matrix)
    for wrong in ((0, 5), (5, 0), ("5", 5)):
        with pytest.raises(ConfigError, match="random_emb_mat: .*a whole number"):
            RandomEmbMat(*wrong)
