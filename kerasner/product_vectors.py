"""Word vectors cut into pieces of which each is one of 256: product quantisation. NumPy only."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasner import _vector_file
from kerasner.errors import DataError
from kerasner.vectors import finite_matrix

MAX_CENTROIDS = 256  # what a byte can tell apart

_SAMPLE = 65_536  # rows that k-means looks at
_ITERATIONS = 20
_BLOCK = 8_192  # rows whose distances to all centroids are in memory at a time


def product_quantize(
    matrix: np.ndarray, subspaces: int, centroids: int = MAX_CENTROIDS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts each row into pieces and replaces each piece by the nearest of its centroids.

    The centroids of a piece are found by k-means on a sample of the rows. With no more distinct
    rows than centroids nothing is lost (of a matrix no larger than the sample, 65,536 rows).

    Args:
        matrix: Finite floats, [V, D].
        subspaces: Number M of pieces of D / M numbers.
        centroids: Number K of centroids of a piece, at most 256.
        seed: Of the sample and the start.

    Returns:
        `(codes, codebook)`: uint8 [V, M] and float32 [M, K, D / M]. Row `i` is near
        `codebook[0, codes[i, 0]], codebook[1, codes[i, 1]], ...`, one after the other.

    Example:
        >>> codes, codebook = product_quantize(np.array([[1.0, 2.0], [3.0, 2.0]]), subspaces=2)
        >>> codes.tolist(), codebook[:, :2, 0].tolist()
        ([[0, 0], [1, 0]], [[1.0, 3.0], [2.0, 0.0]])
    """
    matrix = finite_matrix(matrix)
    size, dim = matrix.shape
    if subspaces < 1 or dim % subspaces:
        raise ValueError(f"subspaces must divide {dim}, the row size. Received: {subspaces}")
    if not 1 <= centroids <= MAX_CENTROIDS:
        raise ValueError(f"centroids must be 1 to {MAX_CENTROIDS}. Received: {centroids}")
    rng = np.random.default_rng(seed)
    sample = matrix
    if size > _SAMPLE:
        sample = matrix[np.sort(rng.choice(size, _SAMPLE, replace=False))]
    codes = np.zeros((size, subspaces), np.uint8)
    codebook = np.zeros((subspaces, centroids, dim // subspaces), np.float32)
    for piece in range(subspaces):
        columns = slice(piece * codebook.shape[2], (piece + 1) * codebook.shape[2])
        found = k_means(np.ascontiguousarray(sample[:, columns]), centroids, rng)
        codebook[piece, : len(found)] = found
        if size:
            codes[:, piece] = _nearest(np.ascontiguousarray(matrix[:, columns]), found)
    return codes, codebook


def k_means(points: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """At most `n` centroids of float32 points [V, d]."""
    distinct = np.unique(points, axis=0)
    if len(distinct) <= n:
        return distinct
    centroids = distinct[rng.choice(len(distinct), n, replace=False)]
    for _ in range(_ITERATIONS):
        codes = _nearest(points, centroids)
        counts = np.bincount(codes, minlength=n)
        used = counts > 0
        for axis in range(points.shape[1]):
            sums = np.bincount(codes, points[:, axis], minlength=n)
            centroids[used, axis] = sums[used] / counts[used]
    return centroids


def _nearest(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Numbers of the centroids [K, d] nearest to points [V, d]: uint8 [V]."""
    offsets = (centroids**2).sum(axis=1) / 2
    codes = np.empty(len(points), np.uint8)
    for start in range(0, len(points), _BLOCK):
        block = points[start : start + _BLOCK]
        codes[start : start + _BLOCK] = np.argmin(offsets - block @ centroids.T, axis=1)
    return codes


@dataclass(eq=False)
class ProductVectors:
    """Product-quantised word vectors and their file.

    Args:
        words: V distinct words without line breaks.
        codes: uint8 [V, M].
        codebook: float32 [M, K, D / M]; piece `m` of the vector of word `i` is
            `codebook[m, codes[i, m]]`.

    Raises:
        DataError: The parts do not fit together.

    Example:
        >>> vectors = ProductVectors.from_float(*read_glove("glove.txt"), subspaces=25)
        >>> vectors.save("vectors.npz")
        >>> vectors = ProductVectors.load("vectors.npz")
    """

    words: list[str]
    codes: np.ndarray
    codebook: np.ndarray

    def __post_init__(self) -> None:
        size, codes, codebook = len(self.words), self.codes, self.codebook
        if codes.dtype != np.uint8 or codes.ndim != 2 or len(codes) != size or not codes.shape[1]:
            raise DataError(
                f"Expected codes as uint8 [{size}, M] for {size} words. "
                f"Received: {codes.dtype} {list(codes.shape)}"
            )
        if (
            codebook.dtype != np.float32
            or codebook.ndim != 3
            or len(codebook) != codes.shape[1]
            or not 1 <= codebook.shape[1] <= MAX_CENTROIDS
            or not codebook.shape[2]
        ):
            raise DataError(
                f"Expected a codebook as float32 [{codes.shape[1]}, K, d] with K of 1 to "
                f"{MAX_CENTROIDS}. Received: {codebook.dtype} {list(codebook.shape)}"
            )
        if (largest := codes.max(initial=0)) >= codebook.shape[1]:
            raise DataError(f"Expected codes below {codebook.shape[1]}. Received: {largest}")
        if not np.isfinite(codebook).all():
            raise DataError("Expected a finite codebook. Received: infinity or NaN")
        _vector_file.check_distinct(self.words)

    @classmethod
    def from_float(
        cls,
        words: list[str],
        matrix: np.ndarray,
        subspaces: int,
        centroids: int = MAX_CENTROIDS,
        seed: int = 0,
    ) -> ProductVectors:
        """Quantises `matrix`, finite floats [V, D], by `product_quantize`."""
        return cls(list(words), *product_quantize(matrix, subspaces, centroids, seed))

    @property
    def dim(self) -> int:
        """Size D of a vector."""
        return self.codebook.shape[0] * self.codebook.shape[2]

    def rows(self, indices: Any = slice(None)) -> np.ndarray:
        """Vectors of the words at `indices` (a slice or integers [N]): float32 [N, D]."""
        codes = self.codes[indices]
        pieces = self.codebook[np.arange(codes.shape[1]), codes]
        return pieces.reshape(len(codes), self.dim)

    def subset(self, indices: Sequence[int]) -> ProductVectors:
        """The words at `indices`, in that order, and their vectors."""
        indices = np.asarray(indices, np.intp)
        words = [self.words[index] for index in indices]
        return ProductVectors(words, self.codes[indices], self.codebook)

    def save(self, path: str | os.PathLike) -> None:
        """Writes one compressed file, beside `path` first, then renamed."""
        _vector_file.save(path, self.words, codes=self.codes, codebook=self.codebook)

    @classmethod
    def load(cls, path: str | os.PathLike) -> ProductVectors:
        """Reads a file written by `save`.

        Raises:
            ArchiveError: The file is missing, damaged or of another kind.
        """
        kind = "product-quantised word vectors"
        return _vector_file.load(path, cls, ("codes", "codebook"), kind)
