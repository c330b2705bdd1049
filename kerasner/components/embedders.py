"""Word vectors: from tokens to ids, and the layer from ids to vectors."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasner.components._cache import text_vectors
from kerasner.components._checks import check_flags
from kerasner.components._files import TableFile, read_lines, write_lines
from kerasner.components._strings import counted, is_line
from kerasner.config import check_number, find_file
from kerasner.errors import ConfigError
from kerasner.fasttext import FastTextModel
from kerasner.layers import ProductQuantizedEmbedding, QuantizedEmbedding
from kerasner.navec import read_navec
from kerasner.network import UNKNOWN_ID
from kerasner.product_vectors import ProductVectors
from kerasner.registry import register
from kerasner.vectors import QuantizedVectors


class Embedder:
    """Pretrained word vectors: quantised and frozen, but for frequent words, which are trained.

    The words of the training part that the vectors lack, or that are frequent enough to be tuned,
    get float rows of their own, started from their vector where they have one. Any other word that
    has no vector shares the row of the unknown word, which is trained too.

    Args:
        load_path: file of the vectors.
        dim: width that the vectors have to have; None: any.
        max_words: keep this many words, in the order of the file.
        lacking_min_count: train the words that the file lacks and that occur this often.
        tuned_min_count: train the words that the file has and that occur this often; None: none.
        pad_zero: no effect: sentences are always padded with zeros.
        mean: not supported: a tagger needs a vector for each token, not one for a sentence.

    Attributes:
        embedding: layer from ids to vectors [..., dim]; id 0 is padding, 1 the unknown word.
        vectors: of all words but the unknown one, in the order of the file.
        own: the words that are trained.
    """

    _container: Any = QuantizedVectors
    _layer: Any = QuantizedEmbedding

    def __init__(
        self,
        load_path: str | os.PathLike | None = None,
        dim: int | None = None,
        max_words: int | None = None,
        lacking_min_count: int = 2,
        tuned_min_count: int | None = None,
        pad_zero: bool = False,
        mean: bool = False,
    ):
        self._name = type(self).__name__.lower()
        check_flags(self._name, pad_zero=pad_zero, mean=mean)
        if mean:
            raise ConfigError(
                f"{self._name}: mean: one vector a sentence is of no use to a tagger; "
                "expected false"
            )
        for name, value, least in (
            ("dim", dim, 1),
            ("max_words", max_words, 1),
            ("lacking_min_count", lacking_min_count, 0),
            ("tuned_min_count", tuned_min_count, 0),
        ):
            if value is not None:
                check_number(f"{self._name}: {name}", value, least, whole=True)
        self.load_path = load_path
        self.expected_dim = dim
        self.max_words = max_words
        self.lacking_min_count = lacking_min_count
        self.tuned_min_count = tuned_min_count

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return self.vectors.dim

    def top(self, n: int) -> tuple[list[str], np.ndarray]:
        """The first `n` words of the file and their vectors, float32 [n, dim]."""
        return self.vectors.words[:n], self.vectors.rows(slice(n))

    def find(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Which words have a vector, bool [N], and the vectors, float32 [N, dim], or zeros."""
        row_of = {word: row for row, word in enumerate(self.vectors.words)}
        rows = np.array([row_of.get(word, -1) for word in words], np.intp)
        known = rows >= 0
        found = np.zeros((len(rows), self.dim), np.float32)
        found[known] = self.vectors.rows(rows[known])
        return known, found

    def fit(self, *words: tf.Tensor) -> None:
        """Reads the vectors and picks the trained words from tensors of training words."""
        if not self.load_path:
            raise ConfigError(
                f"{self._name}: load_path is needed for training: a file of word vectors"
            )
        counts = counted(*words)
        path = find_file(self.load_path, f"{self._name}: load_path")
        vectors, unknown = self._read(path, [word for word in counts if is_line(word)])
        if self.expected_dim not in (None, vectors.dim):
            raise ConfigError(
                f"{self._name}: dim: expected {vectors.dim}, the width of the vectors in {path}, "
                f"received {self.expected_dim}"
            )
        row_of = {word: row for row, word in enumerate(vectors.words)}
        never = max(counts.values(), default=0) + 1
        tuned = never if self.tuned_min_count is None else self.tuned_min_count
        own = [
            word
            for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
            if is_line(word) and count >= (tuned if word in row_of else self.lacking_min_count)
        ]
        self._set(own, vectors)
        limit = (3 / vectors.dim) ** 0.5
        rows = np.random.default_rng(0).uniform(-limit, limit, (len(own) + 2, vectors.dim))
        rows[UNKNOWN_ID] = unknown
        known = [row for row, word in enumerate(own, start=2) if word in row_of]
        rows[known] = vectors.rows([row_of[own[row - 2]] for row in known])
        self.embedding.set_trainable(rows)

    def _read(self, path: Path, wanted: list[str]) -> tuple[Any, np.ndarray]:
        """Vectors, of wanted words beside those of the file if it can tell, and the unknown one."""
        raise NotImplementedError

    def _set(self, own: list[str], vectors: Any) -> None:
        self.own, self.vectors = own, vectors
        trained = set(own)
        frozen = [
            row for row, word in enumerate(vectors.words) if word not in trained and is_line(word)
        ]
        self._table_file = TableFile([*own, *(vectors.words[row] for row in frozen)])
        self.lookup = keras.layers.TextVectorization(
            standardize=None, split=None, vocabulary=self._table_file.path
        )
        self.embedding = self._layer.from_vectors(
            vectors.subset(frozen), trainable_rows=len(own) + 2, name="token_embedding"
        )

    def __call__(self, words: tf.Tensor) -> tf.Tensor:
        # A token that normalisation left empty is an unknown word, not padding.
        return tf.maximum(tf.cast(self.lookup(words), tf.int32), UNKNOWN_ID)

    def save(self, folder: Path, name: str) -> None:
        write_lines(folder / f"{name}.txt", self.own)
        self.vectors.save(folder / f"{name}.npz")

    def load(self, folder: Path, name: str) -> None:
        own = read_lines(folder / f"{name}.txt")
        self._set(own, self._container.load(folder / f"{name}.npz"))


@register("glove")
class Glove(Embedder):
    """Text files of GloVe or word2vec, with or without header, plain or gzipped.

    Args: those of `Embedder`.
    """

    def _read(self, path: Path, wanted: list[str]) -> tuple[QuantizedVectors, np.ndarray]:
        vectors = text_vectors(path, self.max_words)
        return vectors, vectors.rows().mean(axis=0)


@register("fasttext")
class FastText(Embedder):
    """Files of fastText: binary models (.bin), and text (.vec).

    From a binary model the words of the data that it lacks get vectors too, made of their n-grams;
    so do all its own, as fastText computes them. Words that only come up when the tagger is used
    are unknown: the table of n-grams, hundreds of megabytes, does not become part of the model.

    Args: those of `Embedder`.
    """

    def _read(self, path: Path, wanted: list[str]) -> tuple[QuantizedVectors, np.ndarray]:
        if path.suffix != ".bin":
            vectors = text_vectors(path, self.max_words)
            return vectors, vectors.rows().mean(axis=0)
        model = FastTextModel(path)
        words = model.words[: self.max_words]
        n_words, kept = len(words), set(words)
        words = words + [word for word in wanted if word not in kept]
        matrix, known = model.vectors(words)
        rows = np.flatnonzero(known)
        vectors = QuantizedVectors.from_float([words[row] for row in rows], matrix[rows])
        return vectors, matrix[:n_words].mean(axis=0)


@register("navec")
class Navec(Embedder):
    """Files of navec (.tar): Russian word vectors, product-quantised.

    Args: those of `Embedder`.
    """

    _container = ProductVectors
    _layer = ProductQuantizedEmbedding

    def _read(self, path: Path, wanted: list[str]) -> tuple[ProductVectors, np.ndarray]:
        return read_navec(path, self.max_words)
