"""Word vectors."""

from collections import Counter
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kerasner.components._files import Fitted, read_lines
from kerasner.errors import ConfigError
from kerasner.layers import QuantizedEmbedding
from kerasner.network import UNKNOWN_ID
from kerasner.registry import register
from kerasner.vectors import QuantizedVectors, read_glove


@register("glove")
class Glove(Fitted):
    """Pretrained word vectors: quantised and frozen, but for frequent words, which are trained.

    The words of the training part that the vectors lack, or that are frequent enough to be tuned,
    get float rows of their own, started from their vector where they have one.

    Args:
        load_path: text file in the format of GloVe or word2vec, plain or gzipped.
        max_words: keep this many words, in the order of the file.
        lacking_min_count: train the words that the file lacks and that occur this often.
        tuned_min_count: train the words that the file has and that occur this often; None: none.
    """

    def __init__(
        self,
        load_path: str | None = None,
        max_words: int | None = None,
        lacking_min_count: int = 2,
        tuned_min_count: int | None = None,
    ):
        super().__init__()
        self.load_path = load_path
        self.max_words = max_words
        self.lacking_min_count = lacking_min_count
        self.tuned_min_count = tuned_min_count

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return self.embedding.output_dim

    def fit(self, words: tf.Tensor) -> None:
        """Reads the vectors and picks the trained words from a tensor of training words."""
        if not self.load_path:
            raise ConfigError("glove: load_path is needed for training: a file of word vectors")
        known, matrix = read_glove(self.load_path, self.max_words)
        row_of = {word: row for row, word in enumerate(known)}
        counts = Counter(word.decode("utf-8", "replace") for word in words.numpy().ravel())
        never = max(counts.values(), default=0) + 1
        tuned = never if self.tuned_min_count is None else self.tuned_min_count
        own = [
            word
            for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
            if word and count >= (tuned if word in row_of else self.lacking_min_count)
        ]
        self._set(own, QuantizedVectors.from_float(known, matrix))
        limit = (3 / matrix.shape[1]) ** 0.5
        rows = np.random.default_rng(0).uniform(-limit, limit, (len(own) + 2, matrix.shape[1]))
        rows[UNKNOWN_ID] = matrix.mean(axis=0)
        for row, word in enumerate(own, start=2):
            if word in row_of:
                rows[row] = matrix[row_of[word]]
        self.embedding.set_trainable(rows)

    def _set(self, own: list[str], vectors: QuantizedVectors) -> None:
        self.own, self.vectors = own, vectors
        trained = set(own)
        frozen = [row for row, word in enumerate(vectors.words) if word not in trained]
        path = self._write([*own, *(vectors.words[row] for row in frozen)])
        self.lookup = keras.layers.TextVectorization(standardize=None, split=None, vocabulary=path)
        self.embedding = QuantizedEmbedding(
            vectors.codes.shape[1],
            trainable_rows=len(own) + 2,
            frozen_rows=len(frozen),
            name="token_embedding",
        )
        self.embedding.set_frozen_quantized(vectors.codes[frozen], vectors.scales[frozen])

    def __call__(self, words: tf.Tensor) -> tf.Tensor:
        # A token that normalisation left empty is an unknown word, not padding.
        return tf.maximum(tf.cast(self.lookup(words), tf.int32), UNKNOWN_ID)

    def save(self, folder: Path, name: str) -> None:
        text = "".join(f"{word}\n" for word in self.own)
        (folder / f"{name}.txt").write_text(text, encoding="utf-8", newline="\n")
        self.vectors.save(folder / f"{name}.npz")

    def load(self, folder: Path, name: str) -> None:
        own = read_lines(folder / f"{name}.txt")
        self._set(own, QuantizedVectors.load(folder / f"{name}.npz"))
