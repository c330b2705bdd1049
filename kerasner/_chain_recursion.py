"""What the recursions along a linear chain share: the loop, and steps brought to where it is.

In all of them a state is what arrives at a step, before the step's own emission is added. The first
is neutral, and the state that the last tag leads to is part of the result.
"""

from collections.abc import Callable

import tensorflow as tf

FORBIDDEN = -1e9
RULED_OUT = -1e8  # anything below is a forbidden tag or transition, summed up or not
_UNROLLED_STEPS = 4


def step_numbers(last: tf.Tensor) -> tf.Tensor:
    """The numbers of the steps from 0 to `last` and more, as many as `recur` takes: int32 [S, 1].

    `last` is 0 or more: an empty TensorArray of unknown batch size cannot be stacked.
    """
    rounds = last // _UNROLLED_STEPS + 1
    return tf.range(rounds * _UNROLLED_STEPS)[:, None]


def take_rows(values: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Of values [..., N], seen as a list of rows, those at `places`."""
    return tf.gather(tf.reshape(values, [-1, tf.shape(values)[-1]]), places)


def take_padded_rows(
    values: tf.Tensor, places: tf.Tensor, exist: tf.Tensor, neutral: float
) -> tf.Tensor:
    """`take_rows`, but a row of the neutral value where there is none."""
    rows = tf.reshape(values, [-1, tf.shape(values)[-1]])
    count, width = tf.unstack(tf.shape(rows))
    return tf.gather(
        tf.concat([rows, tf.fill([1, width], neutral)], 0), tf.where(exist, places, count)
    )


def recur(
    first: tf.Tensor,
    inputs: tf.Tensor,
    step: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    settle: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> tf.Tensor:
    """States before each of the inputs: state_0 = first, state_t+1 = step(state_t, input_t).

    Several steps an iteration: a loop over small tensors costs as much as their operations do.
    `settle` normalises the state after each iteration. The number of inputs is that of
    `step_numbers`.
    """
    rounds = tf.shape(inputs)[0] // _UNROLLED_STEPS
    group = tf.concat([[rounds, _UNROLLED_STEPS], tf.shape(inputs)[1:]], 0)
    group_at = tf.TensorArray(inputs.dtype, rounds).unstack(tf.reshape(inputs, group))
    states = tf.TensorArray(first.dtype, rounds, element_shape=[_UNROLLED_STEPS, *first.shape])

    def iterate(index, state, states):
        reached = []
        for value in tf.unstack(group_at.read(index), _UNROLLED_STEPS):
            reached.append(state)
            state = step(state, value)
            state.set_shape(first.shape)
        return index + 1, settle(state), states.write(index, tf.stack(reached))

    *_, states = tf.while_loop(lambda index, *_: index < rounds, iterate, (0, first, states))
    return tf.reshape(states.stack(), tf.concat([[-1], tf.shape(first)], 0))


def arrivals(transitions: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    """Transitions as the two directions of B chains add them to states [from, 2B].

    Returns:
        float32 [to, from, 2B], first B columns from left to right, then B from right to left. Seen
        so, adding and reducing are several times faster than over [B, to, from].
    """
    both = tf.stack([tf.transpose(transitions), transitions], axis=-1)
    return tf.repeat(both, batch, axis=-1)
