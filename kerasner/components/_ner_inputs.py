"""How the network takes its inputs: layers of words and characters, and checks of their widths."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasner.config import check_number
from kerasner.errors import ConfigError
from kerasner.few_shot.language_model import LanguageModel
from kerasner.layers import CharCNN, QuantizedEmbedding

_WIDTHS = (3, 4, 5, 7)  # of the convolutions of DeepPavlov's character branch
_CHAR_DIM = 30  # where char_filters is given alone


class Table:
    """Trained embeddings as the parameters of `ner` have them.

    Args:
        name: of the parameters, without "_dim" and "_mat".
        dim: width, or None.
        matrix: values to start from, a row an id, or None.
    """

    def __init__(self, name: str, dim: int | None, matrix: Any):
        self.name, self.dim, self.matrix = name, dim, None
        if matrix is not None:
            self.matrix = np.asarray(matrix, np.float32)
            shape = self.matrix.shape
            if len(shape) != 2 or dim not in (None, shape[1]):
                raise ConfigError(
                    f"ner: {name}_mat: expected a matrix [V, {dim or 'D'}], received shape {shape}"
                )
            self.dim = shape[1]

    def rows(self, count: int) -> np.ndarray | None:
        """The matrix, which has to have so many rows."""
        if self.matrix is not None and len(self.matrix) != count:
            raise ConfigError(
                f"ner: {self.name}_mat: expected {count} rows, one an id of the vocabulary, "
                f"received {len(self.matrix)}"
            )
        return self.matrix


def word_embedding(
    words: keras.layers.Layer | int | None, table: Table
) -> keras.layers.Layer | None:
    """The layer of words that come by an embedder, as so many ids, or as vectors (None)."""
    if isinstance(words, LanguageModel):
        raise ConfigError("ner: in: a language model goes with ner_svm; expected word vectors")
    if isinstance(words, int):
        if table.dim is None:
            raise ConfigError(
                "ner: words come as ids of a vocabulary; expected token_emb_mat or token_emb_dim, "
                "received neither"
            )
        layer = QuantizedEmbedding(table.dim, words, frozen_rows=0, name="token_embedding")
        matrix = table.rows(words)
        if matrix is not None:
            layer.set_trainable(matrix)
        return layer
    if table.matrix is not None:
        raise ConfigError("ner: token_emb_mat: expected ids of a vocabulary as first input")
    if words is not None:
        found = words.compute_output_shape((None,))[-1]
        if table.dim not in (None, found):
            raise ConfigError(f"ner: token_emb_dim {table.dim}; the word vectors have {found}")
    return words


def char_features(
    count: int | None,
    table: Table,
    filters: int | Sequence[int] | None,
    kernel_size: int | Sequence[int],
    dropout: float,
) -> CharCNN | None:
    """The layer of characters that come as `count` ids; None: there are none.

    Without `filters` it is DeepPavlov's: linear, as many filters of each width as the embeddings
    are wide.
    """
    if count is None:
        if table.dim is not None or filters is not None:
            raise ConfigError(
                "ner: char_emb_dim, char_emb_mat or char_filters is given; expected character ids "
                "of a vocabulary among the inputs"
            )
        return None
    if table.dim is None and filters is None:
        raise ConfigError(
            "ner: characters are among the inputs; expected char_emb_dim or char_filters, received "
            "neither"
        )
    dim = table.dim or _CHAR_DIM
    if filters is None:
        filters, kernel_size = dim, _WIDTHS
    layer = CharCNN(filters, kernel_size, dim, count, dropout=dropout)
    matrix = table.rows(count)
    if matrix is not None:
        layer.set_embeddings(matrix)
    return layer


def named_widths(pairs: Sequence[Sequence[Any]] | None) -> dict[str, int]:
    """The parameter additional_features, a list of [name, width]."""
    pairs = () if pairs is None else pairs
    is_list = isinstance(pairs, (list, tuple))
    if not is_list or not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
        raise ConfigError(
            f"ner: additional_features: expected a list of [name, width], received {pairs!r:.200}"
        )
    for name, width in pairs:
        check_number(f"ner: additional_features: {name}", width, 1, whole=True)
    return {f"additional_features: {name}": width for name, width in pairs}


def check_widths(expected: Mapping[str, int | None], features: Mapping[str, int]) -> None:
    """Raises ConfigError where no input is as wide as a parameter says."""
    left = list(features.values())
    for name, width in expected.items():
        if width is None:
            continue
        if width not in left:
            raise ConfigError(
                f"ner: {name} {width}; the pipeline has further inputs of the widths "
                f"{dict(features)}"
            )
        left.remove(width)
