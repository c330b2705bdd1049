"""Splits strings into characters inside the graph."""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("kerasner")
class CharSplitter(keras.layers.Layer):
    """Splits strings into their characters (code points).

    Bytes that are not valid UTF-8 become U+FFFD; on TensorFlow 2.15 so do noncharacters (U+FDD0).

    Args:
        max_chars: How many characters of a string to keep, from its start; `None` keeps all. The
            output is as wide as the longest string: without a limit one of a million characters
            among thousands of strings takes more memory than there is.
        **kwargs: Passed to `keras.layers.Layer`.

    Call arguments:
        strings: string tensor `[...]` of any shape.

    Returns:
        A string tensor `[..., C]`, padded with `""`. C is the number of characters of the longest
        string, at most `max_chars` and at least 1.

    Raises:
        ValueError: If `max_chars` is neither `None` nor a positive integer.

    Example:

    >>> CharSplitter()(["to", "a"])
    <tf.Tensor: shape=(2, 2), dtype=string, numpy=array([[b't', b'o'], [b'a', b'']])>
    """

    def __init__(self, max_chars: int | None = 100, **kwargs) -> None:
        super().__init__(**kwargs)
        if max_chars is not None and (not isinstance(max_chars, int) or max_chars < 1):
            raise ValueError(
                f"max_chars must be None or a positive integer, received: {max_chars!r}"
            )
        self.max_chars = max_chars
        # Keras 3 would convert lists of strings to its float dtype.
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True

    def call(self, strings: tf.Tensor) -> tf.Tensor:
        strings = tf.convert_to_tensor(strings, tf.string)
        chars = tf.strings.unicode_split(tf.reshape(strings, [-1]), "UTF-8")
        width = tf.reduce_max(tf.concat([chars.row_lengths(), [1]], 0))
        if self.max_chars is not None:
            width = tf.minimum(width, self.max_chars)
        dense = chars.to_tensor("", shape=tf.stack([chars.nrows(), width]))
        shape = tf.concat([tf.shape(strings, tf.int64), [width]], 0)
        return tf.ensure_shape(tf.reshape(dense, shape), strings.shape + [None])

    def get_config(self) -> dict:
        return {**super().get_config(), "max_chars": self.max_chars}
