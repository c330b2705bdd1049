"""Moving the unmasked steps of each row to its front, and back."""

import tensorflow as tf


def lengths_of(mask: tf.Tensor) -> tf.Tensor:
    """Number of unmasked steps of each row: bool [B, T] -> int32 [B]."""
    return tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)


def left_align(mask: tf.Tensor, *tensors: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Puts the unmasked steps of each row first, keeping their order.

    Rows that are padded at their end, the usual case, pass as they are at the price of one check.

    Args:
        mask: bool [B, T].
        *tensors: each [B, T, ...].

    Returns:
        `order` int32 [B, T], the step that stands at each place, for `restore`, then the tensors.
    """
    steps = tf.range(tf.shape(mask)[1])

    def move() -> tuple[tf.Tensor, ...]:
        order = tf.argsort(tf.cast(~mask, tf.int32), axis=1, stable=True)
        return (order, *(tf.gather(tensor, order, batch_dims=1) for tensor in tensors))

    def keep() -> tuple[tf.Tensor, ...]:
        return (tf.broadcast_to(steps, tf.shape(mask)), *(tf.identity(t) for t in tensors))

    return tf.cond(is_left_aligned(mask), keep, move)


def is_left_aligned(mask: tf.Tensor) -> tf.Tensor:
    """Scalar bool: True where no row of the bool mask [B, T] has a True after a False."""
    return tf.reduce_all(mask[:, :-1] | ~mask[:, 1:])


def restore(order: tf.Tensor, tensor: tf.Tensor) -> tf.Tensor:
    """Undoes `left_align`: puts the steps of `tensor` [B, T, ...] back to where they stood."""
    identity = tf.reduce_all(order[:, 1:] > order[:, :-1])
    return tf.cond(
        identity,
        lambda: tf.identity(tensor),
        lambda: tf.gather(tensor, tf.argsort(order, axis=1), batch_dims=1),
    )
