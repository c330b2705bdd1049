import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner.layers._alignment import is_left_aligned, left_align, lengths_of, restore

MASKS = st.tuples(st.integers(0, 4), st.integers(0, 5)).flatmap(
    lambda shape: st.lists(
        st.lists(st.booleans(), min_size=shape[1], max_size=shape[1]),
        min_size=shape[0],
        max_size=shape[0],
    ).map(lambda rows: np.array(rows, bool).reshape(shape))
)


@tf.function(input_signature=[tf.TensorSpec([None, None], tf.bool), tf.TensorSpec([None, None, 2])])
def there_and_back(mask, values):
    order, aligned, steps = left_align(mask, values, values[..., 0])
    return lengths_of(mask), is_left_aligned(mask), aligned, steps, restore(order, aligned)


@settings(deadline=None, max_examples=80, derandomize=True)
@given(MASKS)
def test_moves_unmasked_steps_to_the_front_and_back(mask):
    values = np.arange(mask.size * 2, dtype="float32").reshape(*mask.shape, 2)
    lengths, is_aligned, aligned, steps, restored = there_and_back(mask, values)
    np.testing.assert_array_equal(lengths, mask.sum(1))
    assert bool(is_aligned) == all(row[: row.sum()].all() for row in mask)
    for row, m in enumerate(mask):
        np.testing.assert_array_equal(aligned[row, : m.sum()], values[row, m])
        np.testing.assert_array_equal(aligned[row, m.sum() :], values[row, ~m])
    np.testing.assert_array_equal(steps, aligned[..., 0])
    np.testing.assert_array_equal(restored, values)


def test_gradients_follow_the_steps():
    mask = tf.constant([[False, True, True], [True, True, False]])
    values = tf.reshape(tf.range(6.0), [2, 3])
    with tf.GradientTape() as tape:
        tape.watch(values)
        order, aligned = left_align(mask, values)
        total = tf.reduce_sum(aligned[:, 0] + 10.0 * restore(order, aligned)[:, 1])
    np.testing.assert_array_equal(tape.gradient(total, values), [[0, 11, 0], [1, 10, 0]])
