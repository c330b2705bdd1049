"""What the embeddings share that look up a small trainable table and a large frozen one.

Ids count the rows of the trainable table first, then those of the frozen one. Id 0 is padding.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasner._compat import NO_AUTOCAST


def check_at_least(least: int, **sizes: int) -> None:
    """Raises ValueError for a size that is too small."""
    for name, value in sizes.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}. Received: {name}={value}")


def check_shape(name: str, value: np.ndarray, expected: tuple[int, ...]) -> None:
    """Raises ValueError for an array of another shape."""
    if value.shape != expected:
        raise ValueError(f"{name} must have shape {expected}. Received: {value.shape}")


def add_trainable_table(
    layer: keras.layers.Layer, rows: int, dim: int, initializer: keras.initializers.Initializer
) -> Any:
    """Adds the float32 variable "embeddings" [rows, dim] to a layer."""
    # No autocast: casting a whole table would cost more than the lookup.
    return layer.add_weight(
        name="embeddings",
        shape=(rows, dim),
        dtype="float32",
        initializer=initializer,
        **NO_AUTOCAST,
    )


def set_trainable_table(layer: keras.layers.Layer, matrix: np.ndarray) -> None:
    """Sets the variable "embeddings" of a layer, building the layer first if need be."""
    matrix = np.asarray(matrix, np.float32)
    check_shape("matrix", matrix, (layer.trainable_rows, layer.output_dim))
    ensure_built(layer)
    layer.embeddings.assign(matrix)


def ensure_built(layer: keras.layers.Layer) -> None:
    """Builds a layer whose weights do not depend on the shape of its inputs."""
    if not layer.built:
        layer.build((None,))


def look_up(
    ids: tf.Tensor,
    table: Any,
    frozen_rows: int,
    dequantize: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Vectors of ids; zeros for padding.

    Args:
        ids: numbers of any shape [...].
        table: the trainable variable, float32 [R, D].
        frozen_rows: size of the frozen table.
        dequantize: from rows of the frozen table, int64 [...], and a factor of each, float32
            [...], to vectors times factors, float32 [..., D]. Not called where there are no rows.

    Returns:
        float32 [..., D].
    """
    ids = tf.cast(ids, tf.int64)
    trainable_rows = table.shape[0]
    # Gathering from the variable itself, not from its value, never copies the table.
    table = table if isinstance(table, tf.Variable) else table.value
    frozen = ids >= trainable_rows
    # With no frozen table every id goes to the trainable one, which refuses those too large.
    rows = tf.where(frozen, tf.zeros_like(ids), ids) if frozen_rows else ids
    # A product zeroes both padding and its gradient, at a fraction of a broadcast select.
    outputs = tf.gather(table, rows) * tf.cast(rows > 0, tf.float32)[..., None]
    if frozen_rows:
        rows = tf.where(frozen, ids - trainable_rows, tf.zeros_like(ids))
        # On a GPU a gather does not refuse rows too large: they have to give zeros.
        outputs += dequantize(rows, tf.cast(frozen & (rows < frozen_rows), tf.float32))
    return outputs
