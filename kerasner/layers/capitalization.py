"""Tells how words are capitalized, inside the graph."""

from __future__ import annotations

import keras
import tensorflow as tf

# \C is any byte, so that invalid UTF-8 after the first letter does not hide it.
_LOWER = r"\p{Ll}\C*"
_ONE_UPPER = r"\p{Lu}"
_CAPITALIZED = r"\p{Lu}\C*\p{Ll}\C*"
_ALL_UPPER = r"\p{Lu}{2,}"
_BASIC = (_LOWER, _ONE_UPPER, _CAPITALIZED, _ALL_UPPER)
# Further kinds count only for words of no kind before them.
_FURTHER = {"basic": (), "extended": (r"\C*\p{Nd}\C*", r"\C*\p{L}\C*")}


@keras.saving.register_keras_serializable("kerasner")
class Capitalization(keras.layers.Layer):
    """Turns words into one-hot vectors of how they are capitalized.

    A word is of the first kind that fits, and all zeros if none does (in particular `""`):

    0. its first character is lower case (`word`);
    1. it is one upper-case character (`A`);
    2. its first character is upper case, a later one lower case (`Word`, `McDonald`);
    3. it is two or more upper-case characters (`NATO`);
    4. (extended only) it holds a digit (`A1`, `1996`);
    5. (extended only) it holds a letter (`U.N.`, `'s`).

    Upper and lower case are the Unicode categories Lu and Ll.

    Args:
        scheme: `"basic"` (kinds 0 to 3, as in DeepPavlov's `capitalization_featurizer`) or
            `"extended"`.
        **kwargs: Passed to `keras.layers.Layer`.

    Call arguments:
        words: string tensor `[...]` of any shape.

    Returns:
        A float32 tensor `[..., dim]`.

    Raises:
        ValueError: If `scheme` is none of the above.

    Example:

    >>> Capitalization()(["Word", "1996"])
    <tf.Tensor: shape=(2, 4), dtype=float32, numpy=array([[0., 0., 1., 0.], [0., 0., 0., 0.]])>

    References:
        - [DeepPavlov](https://github.com/deeppavlov/DeepPavlov)
    """

    def __init__(self, scheme: str = "basic", **kwargs) -> None:
        super().__init__(**kwargs)
        if scheme not in _FURTHER:
            raise ValueError(f"scheme must be one of {sorted(_FURTHER)}, received: {scheme!r}")
        self.scheme = scheme
        # Keras 3 would convert lists of strings to its float dtype.
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True

    @property
    def dim(self) -> int:
        """Width of the output."""
        return len(_BASIC) + len(_FURTHER[self.scheme])

    def call(self, words: tf.Tensor) -> tf.Tensor:
        words = tf.convert_to_tensor(words, tf.string)
        # The basic kinds exclude one another by their patterns.
        kinds = [tf.strings.regex_full_match(words, pattern) for pattern in _BASIC]
        for pattern in _FURTHER[self.scheme]:
            fits = tf.strings.regex_full_match(words, pattern)
            kinds.append(fits & ~tf.reduce_any(tf.stack(kinds), axis=0))
        return tf.cast(tf.stack(kinds, axis=-1), tf.float32)

    def get_config(self) -> dict:
        return {**super().get_config(), "scheme": self.scheme}
