"""Vocabularies: strings to ids and back."""

from pathlib import Path

import keras
import tensorflow as tf

from kerasner.components._files import Fitted, read_lines
from kerasner.registry import register


@register("simple_vocab")
class SimpleVocab(Fitted):
    """Strings to ids: 0 is padding, 1 any unknown string, then by falling frequency.

    Over targets (`in_y`) there is neither padding nor an unknown tag: ids start at 0.

    Args:
        max_tokens: keep the most frequent strings only.
        targets: whether the strings are tags. Set by the chainer.
    """

    def __init__(self, max_tokens: int | None = None, targets: bool = False):
        super().__init__()
        self.max_tokens = max_tokens
        self.targets = targets
        self.items: list[str] = []

    @property
    def len(self) -> int:
        """Number of ids."""
        return len(self.items) + (0 if self.targets else 2)

    def fit(self, strings: tf.Tensor) -> None:
        """Collects the distinct strings of a tensor of any shape."""
        data = tf.data.Dataset.from_tensors(tf.reshape(strings, [-1]))
        if self.targets:
            lookup = keras.layers.StringLookup(num_oov_indices=0)
            lookup.adapt(data)
            self._set(lookup.get_vocabulary())
        else:
            vectorization = keras.layers.TextVectorization(
                max_tokens=self.max_tokens, standardize=None, split=None
            )
            vectorization.adapt(data)
            self._set(vectorization.get_vocabulary(include_special_tokens=False))

    def _set(self, items: list[str]) -> None:
        self.items = items
        path = self._write(items)
        if self.targets:
            self.lookup = keras.layers.StringLookup(vocabulary=path, num_oov_indices=0)
        else:
            self.lookup = keras.layers.TextVectorization(
                standardize=None, split=None, vocabulary=path
            )

    def __call__(self, strings: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.lookup(strings), tf.int32)

    def save(self, folder: Path, name: str) -> None:
        text = "".join(f"{item}\n" for item in self.items)
        (folder / f"{name}.txt").write_text(text, encoding="utf-8", newline="\n")

    def load(self, folder: Path, name: str) -> None:
        self._set(read_lines(folder / f"{name}.txt"))
