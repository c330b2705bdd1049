"""Word features from characters: embedding, convolution, maximum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasner._compat import NO_AUTOCAST
from kerasner.layers._two_tables import check_shape, ensure_built


@keras.saving.register_keras_serializable("kerasner")
class CharCNN(keras.layers.Layer):
    """Turns the characters of each word into one vector.

    Characters are embedded, convolved along the word ("same" padding, zeros beyond its ends) and
    reduced by the maximum over the word's own characters; bias and activation follow, which for a
    monotone activation is the same as before the maximum. A word's vector depends on that word
    alone, not on the longest one of its batch. A word without characters gives zeros.

    A convolution of embedded characters is a sum of one row a kernel offset, each from the small
    table `embeddings @ kernel[offset]`. The layer builds these tables and adds up their rows for
    real characters only, so no product is computed a position.

    Args:
        filters: Number of filters, one for all kernel sizes or one a kernel size.
        kernel_size: Width of the convolution in characters, or several.
        char_dim: Size of a character's embedding.
        vocabulary_size: Number V of character ids, 0 (padding) included. At least 2.
        activation: Activation of the result. Default: none.
        dropout: Share of the numbers of the embedding table that a training step sets to zero, the
            rest being scaled up. One draw a call: every occurrence of a character loses the same
            numbers, so equal words of a batch stay equal.
        distinct: Whether to compute each distinct word of a batch once. Changes no result.

    Call arguments:
        chars: Integers [B, T, C] or [N, C], padded by 0 (or less), below V. An id of V or more
            raises `tf.errors.InvalidArgumentError` on a CPU; on a GPU its embedding is zero.
        training: Whether dropout is active.

    Returns:
        Floats [B, T, F] or [N, F] with F the sum of all filters, in the layer's compute dtype. The
        inner computation stays in the variable dtype. The layer takes and gives no mask.

    Example:
        >>> layer = CharCNN(filters=50, kernel_size=3, char_dim=30, vocabulary_size=100)
        >>> layer(tf.constant([[[4, 8, 15], [16, 0, 0]]])).shape
        TensorShape([1, 2, 50])

        Four widths, linear, and embeddings to start from, as in DeepPavlov's character branch:

        >>> layer = CharCNN(filters=32, kernel_size=[3, 4, 5, 7], char_dim=32)
        >>> layer.set_embeddings(char_emb_mat)  # float [100, 32]

    References:
        Ma and Hovy (2016), End-to-end Sequence Labeling via Bi-directional LSTM-CNNs-CRF.
    """

    def __init__(
        self,
        filters: int | Sequence[int],
        kernel_size: int | Sequence[int] = 3,
        char_dim: int = 30,
        vocabulary_size: int = 100,
        activation: Any = None,
        dropout: float = 0.0,
        distinct: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kernel_size = _as_list(kernel_size)
        self.filters = _as_list(filters)
        if len(self.filters) == 1:
            self.filters *= len(self.kernel_size)
        if not self.kernel_size or len(self.filters) != len(self.kernel_size):
            raise ValueError(
                "filters must be one number or as many as kernel sizes. "
                f"Received: filters={filters}, kernel_size={kernel_size}"
            )
        if min(*self.filters, *self.kernel_size, char_dim, vocabulary_size - 1) < 1:
            raise ValueError(
                "filters, kernel_size and char_dim must be at least 1, vocabulary_size at least 2. "
                f"Received: filters={filters}, kernel_size={kernel_size}, char_dim={char_dim}, "
                f"vocabulary_size={vocabulary_size}"
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1). Received: dropout={dropout}")
        self.char_dim = char_dim
        self.vocabulary_size = vocabulary_size
        self.activation = keras.activations.get(activation)
        self.dropout = dropout
        self.distinct = distinct
        self.table_dropout = keras.layers.Dropout(dropout, dtype=self.variable_dtype)
        # Keras 3 would try XLA on a GPU, and XLA has no kernel for shapes that depend on data.
        self.supports_jit = False

    def build(self, input_shape: Any) -> None:
        # No autocast: the tables are tiny, and half precision would only lose in their gradients.
        limit = (3.0 / self.char_dim) ** 0.5
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.vocabulary_size - 1, self.char_dim),  # Padding has no row.
            initializer=keras.initializers.RandomUniform(-limit, limit),
            **NO_AUTOCAST,
        )
        self.kernels = [
            self.add_weight(
                name=f"kernel_{i}",
                shape=(size, self.char_dim, filters),
                initializer="glorot_uniform",
                **NO_AUTOCAST,
            )
            for i, (size, filters) in enumerate(zip(self.kernel_size, self.filters, strict=True))
        ]
        self.bias = self.add_weight(
            name="bias", shape=(sum(self.filters),), initializer="zeros", **NO_AUTOCAST
        )
        self.built = True

    def set_embeddings(self, matrix: np.ndarray) -> None:
        """Sets the characters' embeddings, floats [V, char_dim]; row 0, padding, has no effect."""
        matrix = np.asarray(matrix, np.float32)
        check_shape("matrix", matrix, (self.vocabulary_size, self.char_dim))
        ensure_built(self)
        self.embeddings.assign(matrix[1:])

    def call(self, chars: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        chars = tf.cast(chars, tf.int32)
        shape = tf.shape(chars)
        words = tf.reshape(chars, [tf.reduce_prod(shape[:-1]), shape[-1]])
        if self.distinct:
            words, index = tf.raw_ops.UniqueV2(x=words, axis=[0])
            outputs = tf.gather(self._features(words, training), index)
        else:
            outputs = self._features(words, training)
        outputs = tf.reshape(outputs, tf.concat([shape[:-1], [sum(self.filters)]], axis=0))
        return tf.cast(outputs, self.compute_dtype)

    def _features(self, words: tf.Tensor, training: bool | None) -> tf.Tensor:
        """Characters [N, C] -> features [N, F]."""
        real = tf.reduce_any(words > 0, axis=1)
        # A column so that C is at least 1, then a last word that is never empty: segment_max puts
        # out as many words as the last segment's number says.
        words = tf.pad(words, [[0, 0], [0, 1]])
        words = tf.pad(words, [[0, 1], [0, 0]], constant_values=1)
        positions = tf.where(words > 0)
        before = (max(self.kernel_size) - 1) // 2
        after = max(self.kernel_size) // 2
        words = tf.pad(words, [[0, 0], [before, after]])
        width = tf.shape(words, tf.int64)[1]
        first = positions[:, 0] * width + positions[:, 1]
        words = tf.reshape(words, [-1])
        # neighbours[before + o]: the character o places after each real character.
        neighbours = [tf.gather(words, first + i) for i in range(before + 1 + after)]

        table = self.table_dropout(tf.convert_to_tensor(self.embeddings), training=training)
        table = tf.pad(table, [[1, 0], [0, 0]])
        columns = []
        for size, kernel in zip(self.kernel_size, self.kernels, strict=True):
            start = before - (size - 1) // 2
            columns.append(
                tf.add_n(
                    [
                        tf.gather(tf.matmul(table, weights), neighbours[start + i])
                        for i, weights in enumerate(tf.unstack(kernel, num=size))
                    ]
                )
            )
        outputs = tf.math.segment_max(tf.concat(columns, axis=-1), positions[:, 0])[:-1]
        outputs = self.activation(outputs + self.bias)
        return tf.where(real[:, None], outputs, tf.zeros_like(outputs))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (*input_shape[:-1], sum(self.filters))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": list(self.filters),  # Keras wraps the lists it finds in a layer.
            "kernel_size": list(self.kernel_size),
            "char_dim": self.char_dim,
            "vocabulary_size": self.vocabulary_size,
            "activation": keras.activations.serialize(self.activation),
            "dropout": self.dropout,
            "distinct": self.distinct,
        }


def _as_list(value: int | Sequence[int]) -> list[int]:
    return [value] if isinstance(value, int) else list(value)
