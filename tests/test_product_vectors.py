import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner import product_vectors
from kerasner.errors import ArchiveError, DataError
from kerasner.product_vectors import ProductVectors, product_quantize
from kerasner.vectors import QuantizedVectors

CODES = np.uint8([[0, 1], [2, 2], [1, 0]])
CODEBOOK = np.arange(18, dtype=np.float32).reshape(2, 3, 3)
ROWS = np.float32([[0, 1, 2, 12, 13, 14], [6, 7, 8, 15, 16, 17], [3, 4, 5, 9, 10, 11]])


def small():
    return ProductVectors(["a", "b", "ü"], CODES, CODEBOOK)


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_rows_by_hand():
    vectors = small()
    assert vectors.dim == 6
    np.testing.assert_array_equal(vectors.rows(), ROWS)
    np.testing.assert_array_equal(vectors.rows([2, 0, 2]), ROWS[[2, 0, 2]])
    assert vectors.rows([]).shape == (0, 6) and vectors.rows().dtype == np.float32


def test_subset():
    part = small().subset([2, 0])
    assert part.words == ["ü", "a"]
    np.testing.assert_array_equal(part.rows(), ROWS[[2, 0]])
    assert small().subset([]).rows().shape == (0, 6)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.integers(0, 9), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_nothing_is_lost_with_a_centroid_a_row(size, subspaces, width, seed):
    matrix = normal((size, subspaces * width), seed)
    codes, codebook = product_quantize(np.repeat(matrix, 2, axis=0), subspaces, centroids=9)
    assert codes.dtype == np.uint8 and codebook.shape == (subspaces, 9, width)
    vectors = ProductVectors([str(i) for i in range(2 * size)], codes, codebook)
    np.testing.assert_array_equal(vectors.rows(), np.repeat(matrix, 2, axis=0))


def test_finds_clusters():
    centres = np.float32([[100, 0], [0, -100]])
    matrix = centres[np.arange(400) % 2] + normal((400, 2))
    codes, codebook = product_quantize(matrix, subspaces=1, centroids=2)
    assert (codes[::2] == codes[0]).all() and (codes[1::2] == 1 - codes[0]).all()
    for cluster in range(2):  # each centroid is the mean of its rows
        centroid = codebook[0, codes[cluster, 0]]
        np.testing.assert_allclose(centroid, matrix[cluster::2].mean(axis=0), atol=1e-4)


def test_each_row_gets_its_nearest_centroid_and_beats_one_centroid_less(monkeypatch):
    matrix = normal((3000, 6))
    monkeypatch.setattr(product_vectors, "_SAMPLE", 1000)
    monkeypatch.setattr(product_vectors, "_BLOCK", 700)
    errors = []
    for centroids in (4, 16, 64):
        codes, codebook = product_quantize(matrix, subspaces=2, centroids=centroids)
        for piece in range(2):
            points = matrix[:, 3 * piece : 3 * piece + 3]
            distances = ((points[:, None] - codebook[piece]) ** 2).sum(axis=2)
            chosen = distances[np.arange(3000), codes[:, piece]]
            np.testing.assert_allclose(chosen, distances.min(axis=1), atol=1e-5)
        errors.append(((ProductVectors.from_float(
            [str(i) for i in range(3000)], matrix, 2, centroids
        ).rows() - matrix) ** 2).mean())  # fmt: skip
    # Of a Gaussian in 3 dimensions the best quantiser keeps about K ** (-2 / 3) of the variance.
    assert errors[0] < 0.65 and errors[1] < 0.3 and errors[2] < 0.14
    assert errors[0] > errors[1] > errors[2]


def test_the_seed_decides():
    matrix = normal((600, 4))
    first, again, other = (product_quantize(matrix, 2, 16, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[1] != other[1]).any()


@pytest.mark.parametrize(
    "matrix, subspaces, centroids, message",
    [
        (np.zeros(4), 2, 4, r"\[V, D\].*\(4,\)"),
        (np.float32([[0, np.inf]]), 2, 4, "in row 0"),
        (np.zeros((3, 4)), 3, 4, "must divide 4, the row size. Received: 3"),
        (np.zeros((3, 4)), 0, 4, "Received: 0"),
        (np.zeros((3, 4)), 2, 257, "1 to 256. Received: 257"),
        (np.zeros((3, 4)), 2, 0, "1 to 256. Received: 0"),
    ],
)
def test_product_quantize_refuses(matrix, subspaces, centroids, message):
    with pytest.raises(ValueError, match=message):
        product_quantize(matrix, subspaces, centroids)


def test_file_round_trip_same_bytes(tmp_path):
    small().save(tmp_path / "a.npz")
    small().save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2
    loaded = ProductVectors.load(tmp_path / "a.npz")
    assert loaded.words == ["a", "b", "ü"]
    assert loaded.codes.dtype == np.uint8 and loaded.codebook.dtype == np.float32
    np.testing.assert_array_equal(loaded.codes, CODES)
    np.testing.assert_array_equal(loaded.codebook, CODEBOOK)


def test_load_refuses_other_files(tmp_path):
    path = tmp_path / "v.npz"
    with pytest.raises(ArchiveError, match="v.npz: no such file, expected product-quantised"):
        ProductVectors.load(path)
    QuantizedVectors.from_float(["a"], np.ones((1, 2))).save(path)
    with pytest.raises(ArchiveError, match="v.npz: damaged, or not a file of product-quantised"):
        ProductVectors.load(path)
    small().save(path)
    with pytest.raises(ArchiveError, match="damaged, or not a file of quantised"):
        QuantizedVectors.load(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ArchiveError, match="damaged"):
        ProductVectors.load(path)


@pytest.mark.parametrize(
    "words, codes, codebook, message",
    [
        (["a"], CODES, CODEBOOK, r"codes as uint8 \[1, M\].*uint8 \[3, 2\]"),
        (["a", "b", "c"], CODES.astype(np.int8), CODEBOOK, "Received: int8"),
        (["a", "b", "c"], CODES[:, :0], CODEBOOK[:0], r"Received: uint8 \[3, 0\]"),
        (["a", "b", "c"], CODES, CODEBOOK[:1], r"\[2, K, d\].*Received: float32 \[1, 3, 3\]"),
        (["a", "b", "c"], CODES, CODEBOOK.astype(float), "Received: float64"),
        (["a", "b", "c"], CODES, CODEBOOK[:, :2], "codes below 2. Received: 2"),
        (["a", "b", "c"], CODES, CODEBOOK[..., :0], r"Received: float32 \[2, 3, 0\]"),
        (["a", "b", "c"], CODES, np.zeros((2, 257, 1), np.float32), "K of 1 to 256"),
        (["a", "b", "c"], CODES, CODEBOOK + np.float32("inf"), "finite codebook"),
        (["a", "b", "a"], CODES, CODEBOOK, "distinct"),
    ],
)
def test_parts_that_do_not_fit(words, codes, codebook, message):
    with pytest.raises(DataError, match=message):
        ProductVectors(words, codes, codebook)
