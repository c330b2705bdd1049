"""Embedding with a small trainable table and a large frozen one, product-quantised."""

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
from kerasner.product_vectors import MAX_CENTROIDS, ProductVectors, product_quantize


@keras.saving.register_keras_serializable("kerasner")
class ProductQuantizedEmbedding(keras.layers.Layer):
    """Looks up ids in a trainable float table followed by a frozen product-quantised one.

    A frozen vector is cut into M pieces, and each piece is one of K centroids: a row is M bytes, a
    twelfth of the size of 300 floats for M = 100, and is put together only when it is looked up.
    The format is that of navec; `kerasner.navec.read_navec` reads its files.

    All else is as in `QuantizedEmbedding`: id 0 is padding and always gives zeros, the gradient of
    the trainable table is sparse, and an id outside `0 ... trainable_rows + frozen_rows - 1`
    raises `tf.errors.InvalidArgumentError` on a CPU and gives zeros on a GPU, where TensorFlow
    does not check indices.

    Args:
        output_dim: Size of a vector, D.
        trainable_rows: Number R of ids, 0 included, that index the trainable table. At least 1.
        frozen_rows: Number of ids, from R on, that index the frozen table. May be 0.
        subspaces: Number M of pieces of a vector; divides D.
        centroids: Number K of centroids of a piece, at most 256.
        embeddings_initializer: Initializer of the trainable table.
        mask_zero: Whether the output carries the Keras mask `ids != 0`.

    Call arguments:
        ids: Integers of any shape [...].

    Returns:
        Floats [..., D] in the layer's compute dtype. All tables stay as they are under mixed
        precision.

    Example:
        >>> vectors, unknown = read_navec("navec_news_v1_1B_250K_300d_100q.tar")
        >>> layer = ProductQuantizedEmbedding.from_vectors(vectors, trainable_rows=2)
        >>> embedded = layer(tf.constant([[5, 2, 1, 0]]))  # float32 [1, 4, 300]

    References:
        Jégou, Douze, Schmid (2011): Product quantization for nearest neighbor search.
        https://github.com/natasha/navec
    """

    def __init__(
        self,
        output_dim: int,
        trainable_rows: int,
        frozen_rows: int,
        subspaces: int,
        centroids: int = MAX_CENTROIDS,
        embeddings_initializer: Any = "uniform",
        mask_zero: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_at_least(1, output_dim=output_dim, trainable_rows=trainable_rows)
        check_at_least(1, subspaces=subspaces, centroids=centroids)
        check_at_least(0, frozen_rows=frozen_rows)
        if output_dim % subspaces:
            raise ValueError(
                f"subspaces must divide output_dim={output_dim}. Received: subspaces={subspaces}"
            )
        if centroids > MAX_CENTROIDS:
            raise ValueError(
                f"centroids must be at most {MAX_CENTROIDS}. Received: centroids={centroids}"
            )
        self.output_dim = output_dim
        self.trainable_rows = trainable_rows
        self.frozen_rows = frozen_rows
        self.subspaces = subspaces
        self.centroids = centroids
        self.embeddings_initializer = keras.initializers.get(embeddings_initializer)
        self.mask_zero = mask_zero
        self.supports_masking = mask_zero

    @classmethod
    def from_vectors(
        cls, vectors: ProductVectors, trainable_rows: int, **kwargs: Any
    ) -> ProductQuantizedEmbedding:
        """Makes a layer whose frozen table holds `vectors`: word `i` has id `trainable_rows + i`.

        `kwargs` go to the constructor.
        """
        subspaces, centroids, _ = vectors.codebook.shape
        layer = cls(vectors.dim, trainable_rows, len(vectors.words), subspaces, centroids, **kwargs)
        layer.set_frozen_quantized(vectors.codes, vectors.codebook)
        return layer

    def build(self, input_shape: Any) -> None:
        self.embeddings = add_trainable_table(
            self, self.trainable_rows, self.output_dim, self.embeddings_initializer
        )
        if self.frozen_rows:
            self.codes = self.add_weight(
                name="codes",
                shape=(self.frozen_rows, self.subspaces),
                dtype="uint8",
                initializer="zeros",
                trainable=False,
            )
            self.codebook = self.add_weight(
                name="codebook",
                shape=self._codebook_shape(),
                dtype="float32",
                initializer="zeros",
                trainable=False,
                **NO_AUTOCAST,
            )
        self.built = True

    def _codebook_shape(self) -> tuple[int, int, int]:
        return self.subspaces, self.centroids, self.output_dim // self.subspaces

    def set_trainable(self, matrix: np.ndarray) -> None:
        """Sets the trainable table to floats [trainable_rows, D]; row 0 has no effect."""
        set_trainable_table(self, matrix)

    def set_frozen(self, matrix: np.ndarray, seed: int = 0) -> None:
        """Quantises floats [frozen_rows, D] into the frozen table, by `product_quantize`."""
        self.set_frozen_quantized(*product_quantize(matrix, self.subspaces, self.centroids, seed))

    def set_frozen_quantized(self, codes: np.ndarray, codebook: np.ndarray) -> None:
        """Sets the frozen table to uint8 codes [frozen_rows, M] and floats [M, K, D / M]."""
        codes, codebook = np.asarray(codes), np.asarray(codebook, np.float32)
        if codes.dtype != np.uint8:
            raise ValueError(f"codes must be uint8. Received: {codes.dtype}")
        check_shape("codes", codes, (self.frozen_rows, self.subspaces))
        check_shape("codebook", codebook, self._codebook_shape())
        if (largest := codes.max(initial=0)) >= self.centroids:
            raise ValueError(f"codes must be below {self.centroids}. Received: {largest}")
        ensure_built(self)
        if self.frozen_rows:
            self.codes.assign(codes)
            self.codebook.assign(codebook)

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        outputs = look_up(ids, self.embeddings, self.frozen_rows, self._dequantize)
        return tf.cast(outputs, self.compute_dtype)

    def _dequantize(self, rows: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
        codes = tf.gather(tf.convert_to_tensor(self.codes), rows)
        # One table of all centroids: those of piece m start at row m * K.
        places = tf.cast(codes, tf.int32) + tf.range(self.subspaces) * self.centroids
        codebook = tf.reshape(
            tf.convert_to_tensor(self.codebook), [self.subspaces * self.centroids, -1]
        )
        shape = tf.concat([tf.shape(rows), [self.output_dim]], axis=0)
        vectors = tf.reshape(tf.gather(codebook, places), shape) * factors[..., None]
        return tf.ensure_shape(vectors, rows.shape.concatenate([self.output_dim]))

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
            "subspaces": self.subspaces,
            "centroids": self.centroids,
            "embeddings_initializer": keras.initializers.serialize(self.embeddings_initializer),
            "mask_zero": self.mask_zero,
        }
