"""Lower-cases strings inside the graph."""

from __future__ import annotations

import keras
import tensorflow as tf

# tf.strings.lower drops what follows a NUL; a noncharacter, which no text should hold, stands in.
_NUL_STAND_IN = "\U0010ffff"


@keras.saving.register_keras_serializable("kerasner")
class Lowercase(keras.layers.Layer):
    """Lower-cases strings by the full Unicode rules.

    A character may become several (`İ`), and a final capital sigma becomes `ς`. Bytes that are
    not valid UTF-8 become U+FFFD.

    Args:
        **kwargs: Passed to `keras.layers.Layer`.

    Call arguments:
        strings: string tensor of any shape.

    Returns:
        A string tensor of the same shape.

    Example:

    >>> Lowercase()(["Göttingen", "ÄRA"])
    <tf.Tensor: shape=(2,), dtype=string, numpy=array([b'g\\xc3\\xb6ttingen', b'\\xc3\\xa4ra'])>

    References:
        - [Unicode Standard, section 3.13](https://www.unicode.org/versions/latest/)
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        # Keras 3 would convert lists of strings to its float dtype.
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True

    def call(self, strings: tf.Tensor) -> tf.Tensor:
        strings = tf.convert_to_tensor(strings, tf.string)
        strings = tf.strings.regex_replace(strings, r"\x00", _NUL_STAND_IN)
        strings = tf.strings.lower(strings, encoding="utf-8")
        return tf.strings.regex_replace(strings, _NUL_STAND_IN, "\0")
