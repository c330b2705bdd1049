"""Removes diacritics and evens out digits inside the graph."""

from __future__ import annotations

import functools
import re
import sys
import unicodedata

import keras
import numpy as np
import tensorflow as tf

# No character: fills rows of the replacement table.
_NONE = -1


@functools.cache
def _replacements() -> dict[str, str]:
    """What each character becomes that changes when it is decomposed and loses its marks."""
    changed = {}
    for character in map(chr, range(0x80, sys.maxunicode + 1)):
        # Cheap to ask first. Hangul syllables, which decompose by rule, answer no to both.
        if unicodedata.combining(character) or unicodedata.decomposition(character):
            decomposed = unicodedata.normalize("NFD", character)
            bare = "".join(c for c in decomposed if not unicodedata.combining(c))
            if bare != character:
                changed[character] = bare
    return changed


@keras.saving.register_keras_serializable("kerasner")
class Sanitizer(keras.layers.Layer):
    """Removes diacritics and, if asked, evens out digits.

    With `diacritical` each string is decomposed canonically (NFD) and all characters with a
    non-zero canonical combining class are deleted; nothing is composed again. So `é` becomes `e`
    and `ё` becomes `е`, as most Russian texts spell it anyway; `й`, a letter of its own, is kept
    unless `keep` says otherwise. Covered are all characters of the Unicode version of the Python
    that builds the layer, with one exception: Hangul syllables, which hold no combining characters,
    stay whole. Letters without a canonical decomposition (`ø`, `ł`) stay too.

    Bytes that are not valid UTF-8 become U+FFFD; on TensorFlow 2.15 so do noncharacters (U+FDD0).

    Args:
        diacritical: Whether to remove diacritics.
        nums: Whether to replace each of the digits 0 to 9 by `1`.
        keep: Characters that keep their marks; written as a letter and a mark they become one
            character. With `""` the letter `й` becomes `и`, as DeepPavlov had it.
        **kwargs: Passed to `keras.layers.Layer`.

    Call arguments:
        strings: string tensor of any shape.

    Returns:
        A string tensor of the same shape.

    Raises:
        ValueError: If `keep` is not a string, or another argument not a bool.

    Example:

    >>> Sanitizer(nums=True)(["café", "1996-08-22"])
    <tf.Tensor: shape=(2,), dtype=string, numpy=array([b'cafe', b'1111-11-11'])>

    References:
        - [Unicode Standard Annex 15, Unicode Normalization Forms](https://unicode.org/reports/tr15/)
    """

    def __init__(
        self, diacritical: bool = True, nums: bool = False, keep: str = "йЙ", **kwargs
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (("diacritical", diacritical), ("nums", nums)):
            if not isinstance(value, bool):
                raise ValueError(f"{name} must be a bool, received: {value!r}")
        if not isinstance(keep, str):
            raise ValueError(f"keep must be a string of characters, received: {keep!r}")
        self.diacritical = diacritical
        self.nums = nums
        self.keep = keep
        self._sources, self._replacements = self._replacement_table(keep)
        # Keras 3 would convert lists of strings to its float dtype.
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True

    @staticmethod
    def _replacement_table(keep: str) -> tuple[np.ndarray, np.ndarray]:
        """The code points that change, sorted, and what each becomes."""
        changed = {c: bare for c, bare in _replacements().items() if c not in keep}
        width = max(map(len, changed.values()))
        table = [[*map(ord, bare), *[_NONE] * (width - len(bare))] for bare in changed.values()]
        return np.array([ord(c) for c in changed], np.int32), np.array(table, np.int32)

    def call(self, strings: tf.Tensor) -> tf.Tensor:
        strings = tf.convert_to_tensor(strings, tf.string)
        if self.diacritical:
            shape = tf.shape(strings)
            flat = tf.reshape(strings, [-1])
            # Most strings are plain ASCII and need no work.
            others = tf.where(tf.logical_not(tf.strings.regex_full_match(flat, r"[\x00-\x7f]*")))
            bare = self._remove_marks(tf.gather_nd(flat, others))
            flat = tf.tensor_scatter_nd_update(flat, others, bare)
            strings = tf.ensure_shape(tf.reshape(flat, shape), strings.shape)
        if self.nums:
            strings = tf.strings.regex_replace(strings, "[0-9]", "1")
        return strings

    def _remove_marks(self, strings: tf.Tensor) -> tf.Tensor:
        for kept in self.keep:
            spelt = unicodedata.normalize("NFD", kept)
            if len(spelt) > 1:
                strings = tf.strings.regex_replace(strings, re.escape(spelt), kept)
        codes = tf.strings.unicode_decode(strings, "UTF-8")
        sources = tf.constant(self._sources)
        places = tf.minimum(tf.searchsorted(sources, codes.values), len(self._sources) - 1)
        unchanged = tf.pad(
            codes.values[:, tf.newaxis],
            [[0, 0], [0, self._replacements.shape[1] - 1]],
            constant_values=_NONE,
        )
        replaced = tf.where(
            (tf.gather(sources, places) == codes.values)[:, tf.newaxis],
            tf.gather(tf.constant(self._replacements), places),
            unchanged,
        )
        held = replaced != _NONE
        counts = tf.math.count_nonzero(held, axis=1)
        row_splits = tf.gather(tf.concat([[0], tf.cumsum(counts)], 0), codes.row_splits)
        result = tf.RaggedTensor.from_row_splits(
            tf.boolean_mask(replaced, held), row_splits, validate=False
        )
        return tf.strings.unicode_encode(result, "UTF-8")

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "diacritical": self.diacritical,
            "nums": self.nums,
            "keep": self.keep,
        }
