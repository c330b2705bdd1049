import numpy as np
import tensorflow as tf

from kerasner.layers._two_tables import look_up


def test_a_row_too_large_counts_for_nothing_where_a_gather_takes_it():
    """As on a GPU, where no gather raises."""
    table = tf.Variable([[5.0, 5.0], [1.0, 2.0]])
    seen = []

    def dequantize(rows, factors):
        seen.append(rows.numpy())
        return tf.fill([len(rows), 2], 7.0) * factors[:, None]

    outputs = look_up(tf.constant([4, 2, 0, 5, 1]), table, 3, dequantize)
    np.testing.assert_array_equal(outputs, [[7, 7], [7, 7], [0, 0], [0, 0], [1, 2]])
    np.testing.assert_array_equal(seen, [[2, 0, 0, 3, 0]])


def test_without_a_frozen_table():
    table = tf.Variable([[5.0, 5.0], [1.0, 2.0]])
    outputs = look_up(tf.constant([[1, 0]], tf.uint8), table, 0, None)
    np.testing.assert_array_equal(outputs, [[[1, 2], [0, 0]]])
