"""Initial values of embedding matrices.

They are computed when they are asked for, and need nothing that a saved model lacks: training
replaces them, so nothing of them is saved.
"""

import functools
from typing import Any

import numpy as np

from kerasner.components._checks import check_flags
from kerasner.config import check_number
from kerasner.errors import ConfigError
from kerasner.registry import register

_SEED = 0


@register("emb_mat_assembler")
class EmbMatAssembler:
    """A matrix with a row for each id of a vocabulary, made of word vectors.

    The row of a word is its vector, that of a character the mean of the vectors of the words that
    hold it. Padding is zeros; an id without any such word gets Gaussian noise as wide as the other
    rows.

    Args:
        embedder: component of word vectors, such as "#glove_emb".
        vocab: fitted vocabulary, such as "#char_vocab".
        character_level: whether its strings are characters.
        emb_dim: width; vectors that are wider are projected onto their principal components. None:
            that of the vectors.
        estimate_by_n: number of word vectors, from the first one on, that principal components and
            characters are estimated by.

    Attributes:
        dim: width.
        emb_mat: float32 [vocab.len, dim].
    """

    def __init__(
        self,
        embedder: Any,
        vocab: Any,
        character_level: bool = False,
        emb_dim: int | None = None,
        estimate_by_n: int = 10_000,
    ):
        where = "emb_mat_assembler"
        for name, value, needed in (
            ("embedder", embedder, ("dim", "top", "find")),
            ("vocab", vocab, ("keys",)),
        ):
            if missing := [attribute for attribute in needed if not hasattr(value, attribute)]:
                raise ConfigError(
                    f"{where}: {name}: expected the '#id' of a component that has "
                    f"{', '.join(missing)}; received {value!r:.200}"
                )
        check_flags(where, character_level=character_level)
        if emb_dim is not None:
            check_number(f"{where}: emb_dim", emb_dim, 1, whole=True)
            if emb_dim > embedder.dim:
                raise ConfigError(
                    f"{where}: emb_dim: expected at most {embedder.dim}, the width of the word "
                    f"vectors, received {emb_dim}"
                )
        check_number(f"{where}: estimate_by_n", estimate_by_n, 1, whole=True)
        self._embedder = embedder
        self._vocab = vocab
        self._character_level = character_level
        self._estimate_by_n = estimate_by_n
        self.dim = embedder.dim if emb_dim is None else emb_dim

    @functools.cached_property
    def emb_mat(self) -> np.ndarray:
        words, vectors = self._embedder.top(self._estimate_by_n)
        project = _projection(vectors, self.dim)
        strings = self._vocab.keys()
        if self._character_level:
            known, rows = _means_by_character(strings, words, project(vectors))
        else:
            known, found = self._embedder.find(strings)
            rows = np.where(known[:, None], project(found), 0.0)
        lacking = [row for row, string in enumerate(strings) if string and not known[row]]
        deviation = (rows[known] if known.any() else project(vectors)).std()
        noise = np.random.default_rng(_SEED).normal(size=(len(lacking), self.dim))
        rows[lacking] = noise * deviation
        return rows.astype(np.float32)


def _projection(vectors: np.ndarray, dim: int) -> Any:
    """Function from vectors [N, D] to [N, dim]: onto their first principal components."""
    if dim == vectors.shape[1]:
        return lambda found: found
    mean = vectors.mean(axis=0, dtype=np.float64)
    centred = vectors - mean
    # Of the covariance, not of the vectors: there may be fewer of them than components.
    components = np.linalg.eigh(centred.T @ centred)[1].T[::-1][:dim]
    # Their signs are arbitrary; this choice makes the result the same everywhere.
    largest = np.abs(components).argmax(axis=1)
    components = components * np.sign(components[np.arange(dim), largest])[:, None]
    return lambda found: (found - mean) @ components.T


def _means_by_character(
    strings: list[str], words: list[str], vectors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which strings are characters of any of the words, bool [N], and means [N, dim], or zeros."""
    holding: dict[str, list[int]] = {}
    for index, word in enumerate(words):
        for character in set(word):
            holding.setdefault(character, []).append(index)
    means = np.zeros((len(strings), vectors.shape[1]))
    for row, string in enumerate(strings):
        if string in holding:
            means[row] = vectors[holding[string]].mean(axis=0)
    return np.array([string in holding for string in strings], bool), means


@register("random_emb_mat")
class RandomEmbMat:
    """A matrix of random numbers N(0, 1) / sqrt(emb_dim), the same each time; padding is zeros.

    Args:
        vocab_len: number of rows, such as "#word_vocab.len".
        emb_dim: width.

    Attributes:
        dim: width.
        emb_mat: float32 [vocab_len, dim].
    """

    def __init__(self, vocab_len: int, emb_dim: int):
        check_number("random_emb_mat: vocab_len", vocab_len, 1, whole=True)
        check_number("random_emb_mat: emb_dim", emb_dim, 1, whole=True)
        self._vocab_len = vocab_len
        self.dim = emb_dim

    @functools.cached_property
    def emb_mat(self) -> np.ndarray:
        numbers = np.random.default_rng(_SEED).normal(size=(self._vocab_len, self.dim))
        numbers[0] = 0.0
        return (numbers / self.dim**0.5).astype(np.float32)
