"""Embedding with a small trainable table and a large frozen one of 8-bit numbers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasner._compat import NO_AUTOCAST
from kerasner.layers._two_tables import (
    add_trainable_table,
    check_at_least,
    check_shape,
    ensure_built,
    look_up,
    set_trainable_table,
)
from kerasner.vectors import QuantizedVectors, quantize_rows


@keras.saving.register_keras_serializable("kerasner")
class QuantizedEmbedding(keras.layers.Layer):
    """Looks up ids in a trainable float table followed by a frozen int8 table.

    The frozen part holds pretrained vectors at a quarter of their size: int8 codes with one float
    scale a row, turned into floats only for the rows looked up. Id 0 is padding and always gives
    zeros, whatever row 0 of the trainable table holds. The gradient of the trainable table is
    sparse; frozen ids and padding add nothing to it.

    An id outside `0 ... trainable_rows + frozen_rows - 1` raises `tf.errors.InvalidArgumentError`
    on a CPU; on a GPU, where TensorFlow does not check indices, it gives zeros.

    Args:
        output_dim: Size of a vector, D.
        trainable_rows: Number R of ids, 0 included, that index the trainable table. At least 1.
        frozen_rows: Number of ids, from R on, that index the frozen table. May be 0.
        embeddings_initializer: Initializer of the trainable table.
        mask_zero: Whether the output carries the Keras mask `ids != 0`.

    Call arguments:
        ids: Integers of any shape [...].

    Returns:
        Floats [..., D] in the layer's compute dtype. Both tables stay as they are under mixed
        precision.

    Example:
        >>> layer = QuantizedEmbedding(100, trainable_rows=2, frozen_rows=len(matrix))
        >>> layer.set_frozen(matrix)             # float [V, 100]
        >>> vectors = layer(tf.constant([[5, 2, 1, 0]]))  # float32 [1, 4, 100]
    """

    def __init__(
        self,
        output_dim: int,
        trainable_rows: int,
        frozen_rows: int,
        embeddings_initializer: Any = "uniform",
        mask_zero: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_at_least(1, output_dim=output_dim, trainable_rows=trainable_rows)
        check_at_least(0, frozen_rows=frozen_rows)
        self.output_dim = output_dim
        self.trainable_rows = trainable_rows
        self.frozen_rows = frozen_rows
        self.embeddings_initializer = keras.initializers.get(embeddings_initializer)
        self.mask_zero = mask_zero
        self.supports_masking = mask_zero

    @classmethod
    def from_vectors(
        cls, vectors: QuantizedVectors, trainable_rows: int, **kwargs: Any
    ) -> QuantizedEmbedding:
        """Makes a layer whose frozen table holds `vectors`: word `i` has id `trainable_rows + i`.

        `kwargs` go to the constructor.
        """
        layer = cls(vectors.dim, trainable_rows, len(vectors.words), **kwargs)
        layer.set_frozen_quantized(vectors.codes, vectors.scales)
        return layer

    def build(self, input_shape: Any) -> None:
        self.embeddings = add_trainable_table(
            self, self.trainable_rows, self.output_dim, self.embeddings_initializer
        )
        if self.frozen_rows:
            self.codes = self.add_weight(
                name="codes",
                shape=(self.frozen_rows, self.output_dim),
                dtype="int8",
                initializer="zeros",
                trainable=False,
            )
            self.scales = self.add_weight(
                name="scales",
                shape=(self.frozen_rows,),
                dtype="float32",
                initializer="zeros",
                trainable=False,
                **NO_AUTOCAST,
            )
        self.built = True

    def set_trainable(self, matrix: np.ndarray) -> None:
        """Sets the trainable table to floats [trainable_rows, D]; row 0 has no effect."""
        set_trainable_table(self, matrix)

    def set_frozen(self, matrix: np.ndarray) -> None:
        """Quantises floats [frozen_rows, D] into the frozen table."""
        self.set_frozen_quantized(*quantize_rows(matrix))

    def set_frozen_quantized(self, codes: np.ndarray, scales: np.ndarray) -> None:
        """Sets the frozen table to int8 codes [frozen_rows, D] and float scales [frozen_rows]."""
        codes, scales = np.asarray(codes), np.asarray(scales, np.float32)
        if codes.dtype != np.int8:
            raise ValueError(f"codes must be int8. Received: {codes.dtype}")
        check_shape("codes", codes, (self.frozen_rows, self.output_dim))
        check_shape("scales", scales, (self.frozen_rows,))
        ensure_built(self)
        if self.frozen_rows:
            self.codes.assign(codes)
            self.scales.assign(scales)

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        outputs = look_up(ids, self.embeddings, self.frozen_rows, self._dequantize)
        return tf.cast(outputs, self.compute_dtype)

    def _dequantize(self, rows: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
        codes = tf.gather(tf.convert_to_tensor(self.codes), rows)
        scales = tf.gather(tf.convert_to_tensor(self.scales), rows) * factors
        return tf.cast(codes, tf.float32) * scales[..., None]

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return inputs != 0 if self.mask_zero else None

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (*input_shape, self.output_dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "output_dim": self.output_dim,
            "trainable_rows": self.trainable_rows,
            "frozen_rows": self.frozen_rows,
            "embeddings_initializer": keras.initializers.serialize(self.embeddings_initializer),
            "mask_zero": self.mask_zero,
        }
