"""Word vectors at build time: reading text files and storing them at 8 bits. NumPy only."""

from __future__ import annotations

import gzip
import itertools
import os
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasner import _vector_file
from kerasner.errors import DataError

_GZIP_MAGIC = b"\x1f\x8b"


def quantize_rows(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantises each row symmetrically to 8 bits with a scale of its own.

    A row `x` is stored as `codes = round(x / scale)` with `scale = max|x| / 127`, so
    `codes * scale` differs from `x` by at most half a scale. A row of zeros has scale 0.

    Args:
        matrix: Finite floats, [V, D].

    Returns:
        `(codes, scales)`: int8 [V, D] and float32 [V].

    Example:
        >>> codes, scales = quantize_rows(np.array([[127.0, -63.6], [0.0, 0.0]]))
        >>> codes.tolist(), scales.tolist()
        ([[127, -64], [0, 0]], [1.0, 0.0])
    """
    matrix = finite_matrix(matrix)
    scales = np.abs(matrix).max(axis=1, initial=0.0) / np.float32(127)
    codes = matrix / np.where(scales > 0, scales, np.float32(1))[:, None]
    # The clip matters for subnormal rows only, whose scale is rounded coarsely.
    return np.clip(np.rint(codes), -127, 127).astype(np.int8), scales


def finite_matrix(matrix: np.ndarray) -> np.ndarray:
    """A matrix as float32; ValueError for another shape and for infinity or NaN."""
    matrix = np.asarray(matrix, np.float32)
    if matrix.ndim != 2:
        raise ValueError(f"Expected a matrix [V, D]. Received: shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        row = int(np.argmax(~np.isfinite(matrix).all(axis=1)))
        raise ValueError(f"Expected finite numbers. Received: {matrix[row]} in row {row}")
    return matrix


def read_glove(
    path: str | os.PathLike, max_words: int | None = None
) -> tuple[list[str], np.ndarray]:
    """Reads word vectors in the text format of GloVe, word2vec or fastText (.vec), or gzipped.

    Each line holds a word and D numbers, separated by single spaces. A first line of two integers
    is word2vec's header (number of words, D). The last D fields of a line are the vector, so a word
    may contain spaces. Invalid UTF-8 in a word is replaced by U+FFFD, blank lines are skipped, and
    of a repeated word the first vector counts.

    Args:
        path: The file.
        max_words: Stop after so many words. Default: read all.

    Returns:
        `(words, matrix)`: V words and their float32 vectors [V, D].

    Raises:
        DataError: A missing, empty, truncated or damaged file, or a line, named by file and number,
            with the wrong number of columns or without numbers.

    Example:
        >>> words, matrix = read_glove("glove.txt", max_words=100_000)
    """
    path = Path(path)
    if max_words is not None and max_words < 1:
        raise ValueError(f"max_words must be at least 1. Received: {max_words}")
    rows: dict[str, int] = {}  # Word -> line number, in the order of the matrix.
    values = array("f")
    announced, dim, read = None, None, 0
    with _lines(path) as lines:
        for number, line in lines:
            if dim is None:
                announced, dim = _header(line)
                if announced is not None:
                    continue
            fields = line.rsplit(b" ", dim)
            try:
                if len(fields) <= dim or not fields[0]:
                    raise ValueError
                vector = [float(field) for field in fields[1:]]
            except ValueError:
                raise _line_error(path, number, line, dim) from None
            if b" " in fields[0] and _is_number(fields[0].rsplit(b" ", 1)[1]):
                raise _line_error(path, number, line, dim)
            read += 1
            word = fields[0].decode("utf-8", "replace")
            if word in rows:
                continue
            rows[word] = number
            values.extend(vector)
            if len(rows) == max_words:
                announced = None  # The rest of the file was not looked at.
                break
    if dim is None or not rows:
        raise DataError(f"{path}: expected a word and its vector on each line, found no line")
    if announced is not None and announced != read:
        raise DataError(f"{path}:1: the header announces {announced} words, the file holds {read}")
    matrix = np.frombuffer(values, np.float32).reshape(len(rows), dim)
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        number = next(itertools.islice(rows.values(), int(np.argmin(finite)), None))
        raise DataError(f"{path}:{number}: expected finite numbers, found infinity or NaN")
    return list(rows), matrix


@contextmanager
def _lines(path: Path) -> Iterator[Iterator[tuple[int, bytes]]]:
    """Opens `path`, and turns what goes wrong while reading it into a DataError."""
    try:
        with open(path, "rb") as file:
            packed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        with gzip.open(path, "rb") if packed else open(path, "rb") as file:
            yield _stripped(file)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file, expected word vectors") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: the file cannot be read: {error}") from error


def _stripped(file: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(file, 1):
        line = line.rstrip(b" \r\n")
        if line:
            yield number, line


def _header(line: bytes) -> tuple[int | None, int]:
    """Returns (announced number of words or None, number of columns) from the first line."""
    fields = line.split(b" ")
    if len(fields) == 2 and all(field.isdigit() for field in fields) and int(fields[1]) > 0:
        return int(fields[0]), int(fields[1])
    # At least one column, so that a first line without any is reported like every other line.
    return None, max(len(fields) - 1, 1)


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _line_error(path: Path, number: int, line: bytes, dim: int) -> DataError:
    fields = line.split(b" ")
    if not fields[0]:
        return DataError(f"{path}:{number}: expected a word first, found a blank")
    if len(fields) > dim:
        for field in fields[-dim:]:
            if not _is_number(field):
                shown = field.decode("utf-8", "replace")
                return DataError(f"{path}:{number}: expected a number, found {shown!r}")
    return DataError(
        f"{path}:{number}: expected a word and {dim} numbers, found {len(fields)} columns"
    )


@dataclass(eq=False)
class QuantizedVectors:
    """Word vectors at 8 bits, one scale a word, and their file.

    Args:
        words: V distinct words without line breaks.
        codes: int8 [V, D].
        scales: float32 [V]; the vector of word `i` is `codes[i] * scales[i]`.

    Raises:
        DataError: The parts do not fit together.

    Example:
        >>> vectors = QuantizedVectors.from_float(*read_glove("glove.txt"))
        >>> vectors.save("vectors.npz")
        >>> vectors = QuantizedVectors.load("vectors.npz")
    """

    words: list[str]
    codes: np.ndarray
    scales: np.ndarray

    def __post_init__(self) -> None:
        size = len(self.words)
        if self.codes.dtype != np.int8 or self.codes.ndim != 2 or len(self.codes) != size:
            raise DataError(
                f"Expected codes as int8 [{size}, D] for {size} words. "
                f"Received: {self.codes.dtype} {list(self.codes.shape)}"
            )
        if self.scales.dtype != np.float32 or self.scales.shape != (size,):
            raise DataError(
                f"Expected scales as float32 [{size}] for {size} words. "
                f"Received: {self.scales.dtype} {list(self.scales.shape)}"
            )
        if not np.isfinite(self.scales).all():
            raise DataError("Expected finite scales. Received: infinity or NaN")
        _vector_file.check_distinct(self.words)

    @classmethod
    def from_float(cls, words: list[str], matrix: np.ndarray) -> QuantizedVectors:
        """Quantises `matrix`, finite floats [V, D], row by row."""
        codes, scales = quantize_rows(matrix)
        return cls(list(words), codes, scales)

    @property
    def dim(self) -> int:
        """Size D of a vector."""
        return self.codes.shape[1]

    def rows(self, indices: Any = slice(None)) -> np.ndarray:
        """Vectors of the words at `indices` (a slice or integers [N]): float32 [N, D]."""
        return self.codes[indices] * self.scales[indices][:, None]

    def subset(self, indices: Sequence[int]) -> QuantizedVectors:
        """The words at `indices`, in that order, and their vectors."""
        indices = np.asarray(indices, np.intp)
        words = [self.words[index] for index in indices]
        return QuantizedVectors(words, self.codes[indices], self.scales[indices])

    def save(self, path: str | os.PathLike) -> None:
        """Writes one compressed file, beside `path` first, then renamed."""
        _vector_file.save(path, self.words, codes=self.codes, scales=self.scales)

    @classmethod
    def load(cls, path: str | os.PathLike) -> QuantizedVectors:
        """Reads a file written by `save`.

        Raises:
            ArchiveError: The file is missing, damaged or of another kind.
        """
        return _vector_file.load(path, cls, ("codes", "scales"), "quantised word vectors")
