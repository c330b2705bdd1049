"""Forward and backward messages of a linear chain, its log-partition and their gradient.

Both directions run side by side in one loop: the backward message is the forward recursion of the
reversed sentence under transposed transitions. Either over probabilities, two matrix products a
step, or, where their range is too wide for that, over log-probabilities. Both are normalised at
every step, so that float32 holds for any length.
"""

from typing import NamedTuple

import tensorflow as tf

from kerasner._chain_recursion import (
    RULED_OUT,
    arrivals,
    recur,
    step_numbers,
    take_padded_rows,
    take_rows,
)

# float32 probabilities end at e^-87. What a state that underflowed may still gain over a better one
# is what it costs the better one to join its path: below this range, less than float32 resolves.
_SAFE_RANGE = 70.0
_TINY = 1e-37


def log_partition(emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor) -> tf.Tensor:
    """See `kerasner.linear_chain.log_partition`."""
    return tf.cond(
        _is_safe(emissions, lengths, transitions),
        lambda: _scaled_log_partition(emissions, lengths, transitions),
        lambda: _exact_log_partition(emissions, lengths, transitions),
    )


def posterior(emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor) -> list[tf.Tensor]:
    """See `kerasner.linear_chain.posterior`."""

    def messages_of(make):
        messages = make(emissions, lengths, transitions)
        return [messages.alpha(), messages.gamma(), messages.beta()]

    def scaled():
        messages = messages_of(_scaled_messages)
        return [tf.math.log(tf.maximum(message, _TINY)) for message in messages]

    return tf.cond(
        _is_safe(emissions, lengths, transitions), scaled, lambda: messages_of(_exact_messages)
    )


def _is_safe(emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor) -> tf.Tensor:
    """Whether scaled float32 probabilities hold every path that matters (see _SAFE_RANGE).

    From any tag the path of any other can be joined with n transitions and n - 1 emissions between
    them, where n is the number of steps in which every tag leads to every other: 2 or fewer in BIO
    and IOB1 (by O or B-), 3 in BIOES (by E- and B-).
    """

    def spread(below_peak, mask):
        allowed = mask & (below_peak < -RULED_OUT)
        widest = tf.reduce_max(tf.where(allowed, below_peak, 0.0))
        return tf.maximum(widest, 0.0)  # the maximum over an empty batch is -inf

    mask = tf.sequence_mask(lengths, tf.shape(emissions)[1])[..., None]
    emitted = spread(tf.reduce_max(emissions, axis=-1, keepdims=True) - emissions, mask)
    moved = spread(tf.reduce_max(transitions) - transitions, True)
    one = tf.cast(transitions > RULED_OUT, tf.float32)
    two = tf.matmul(one, one)
    in_two, in_three = tf.reduce_all(two > 0), tf.reduce_all(tf.matmul(two, one) > 0)
    return (in_two & (emitted + 2.0 * moved < _SAFE_RANGE)) | (
        in_three & (2.0 * emitted + 3.0 * moved < _SAFE_RANGE)
    )


class _Messages(NamedTuple):
    """Messages of both directions, each in the order of its own steps; padded steps are undefined.

    Attributes:
        arriving: [S, B, 2, N], emission of the step left out.
        leaving: [S, B, 2, N], emission of the step included, normalised.
        emissions: float32 [B, T, N].
        lengths: int32 [B].
        log_partition: float32 [B].
    """

    arriving: tf.Tensor
    leaving: tf.Tensor
    emissions: tf.Tensor
    lengths: tf.Tensor
    log_partition: tf.Tensor

    # Shapes are looked up where they are needed: XLA knows none that went through a tf.cond.

    def alpha(self) -> tf.Tensor:
        """Forward messages, emission of the step included, [B, T, N]."""
        return self._at(self.leaving, tf.range(tf.shape(self.emissions)[1]), 0)

    def gamma(self, ahead: int = 0) -> tf.Tensor:
        """Backward messages, emission of the step included, of `ahead` steps later, [B, T, N]."""
        return self._at(self.leaving, self._from_end(ahead), 1)

    def beta(self) -> tf.Tensor:
        """Backward messages, emission of the step left out, [B, T, N]."""
        return self._at(self.arriving, self._from_end(0), 1)

    def _from_end(self, ahead: int) -> tf.Tensor:
        step = tf.range(tf.shape(self.emissions)[1])
        return tf.maximum(self.lengths[:, None] - 1 - ahead - step, 0)

    def _at(self, messages: tf.Tensor, steps: tf.Tensor, direction: int) -> tf.Tensor:
        batch = tf.shape(self.emissions)[0]
        return take_rows(messages, (steps * batch + tf.range(batch)[:, None]) * 2 + direction)


def _both_ways(
    values: tf.Tensor, lengths: tf.Tensor, neutral: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """[B, T, N] -> [S, B, 2, N], each sentence from left to right and from right to left.

    Returns:
        the steps, those that do not exist neutral, and their mask bool [S, B].
    """
    batch, length, _ = tf.unstack(tf.shape(values))
    step = step_numbers(tf.maximum(length - 1, 0))
    start = tf.range(batch) * length
    mask = step < lengths
    places = tf.stack([start + step, start + lengths - 1 - step], axis=-1)
    return take_padded_rows(values, places, mask[..., None], neutral), mask


def _scaled_messages(emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor) -> _Messages:
    batch, length, n_tags = tf.unstack(tf.shape(emissions))
    peaks = tf.reduce_max(emissions, axis=-1)
    peak_move = tf.reduce_max(transitions)
    moves = tf.exp(transitions - peak_move)
    emitted, mask = _both_ways(tf.exp(emissions - peaks[..., None]), lengths, 1.0)

    # Both directions in one row, under one block-diagonal matrix: TensorFlow's product of a stack
    # of small matrices is ten times slower. A product with ones sums and repeats in one operation.
    rows = tf.reshape(emitted, [-1, batch, 2 * n_tags])
    both_moves = _block_diagonal(moves, tf.transpose(moves))
    ones = _block_diagonal(tf.ones_like(moves), tf.ones_like(moves))

    def step(state, row):
        state *= row
        return tf.math.divide_no_nan(tf.matmul(state, both_moves), tf.matmul(state, ones))

    arriving = recur(tf.ones_like(rows[0]), rows, step)
    leaving = tf.reshape(arriving * rows, [-1, 2 * n_tags])
    sums = tf.matmul(leaving, ones)
    scales = tf.reshape(tf.math.log(tf.maximum(sums[:, 0], _TINY)), tf.shape(mask))
    n_moves = tf.cast(tf.maximum(lengths - 1, 0), tf.float32)
    total = tf.reduce_sum(tf.where(mask, scales, 0.0), 0) + n_moves * peak_move
    total += tf.reduce_sum(tf.where(tf.sequence_mask(lengths, length), peaks, 0.0), 1)
    leaving = tf.math.divide_no_nan(leaving, sums)
    shape = tf.shape(emitted)
    return _Messages(
        tf.reshape(arriving, shape), tf.reshape(leaving, shape), emissions, lengths, total
    )


def _block_diagonal(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    zeros = tf.zeros_like(first)
    return tf.concat([tf.concat([first, zeros], 1), tf.concat([zeros, second], 1)], 0)


def _exact_messages(emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor) -> _Messages:
    """The same of log-potentials."""
    batch, _, n_tags = tf.unstack(tf.shape(emissions))
    emitted, mask = _both_ways(emissions, lengths, 0.0)
    columns = tf.reshape(tf.transpose(emitted, [0, 3, 2, 1]), [-1, n_tags, 2 * batch])
    moves = arrivals(transitions, batch)

    def step(state, column):
        return tf.reduce_logsumexp(tf.nn.log_softmax(state + column, axis=0) + moves, axis=1)

    def by_row(messages):
        by_direction = tf.reshape(messages, [-1, n_tags, 2, batch])
        return tf.transpose(by_direction, [0, 3, 2, 1])

    arriving = recur(tf.zeros_like(columns[0]), columns, step)
    leaving = arriving + columns
    scales = tf.reduce_logsumexp(leaving, axis=1, keepdims=True)
    total = tf.reduce_sum(tf.where(mask, scales[:, 0, :batch], 0.0), 0)
    return _Messages(by_row(arriving), by_row(leaving - scales), emissions, lengths, total)


@tf.custom_gradient
def _scaled_log_partition(emissions, lengths, transitions):
    messages = _scaled_messages(emissions, lengths, transitions)

    def gradient(upstream):
        alpha = messages.alpha()
        joint = alpha * messages.beta()
        scale = tf.maximum(tf.reduce_sum(joint, axis=-1), _TINY)
        of_step, of_move = _step_weights(upstream[:, None] / scale, lengths)
        # Expected transitions: alpha_t(i) moves(i, j) gamma_t+1(j), summed in one product.
        n_tags = tf.shape(transitions)[0]
        counts = tf.matmul(
            tf.reshape(alpha * of_move[..., None], [-1, n_tags]),
            tf.reshape(messages.gamma(ahead=1), [-1, n_tags]),
            transpose_a=True,
        )
        moves = tf.exp(transitions - tf.reduce_max(transitions))
        return joint * of_step[..., None], None, counts * moves

    return messages.log_partition, gradient


@tf.custom_gradient
def _exact_log_partition(emissions, lengths, transitions):
    messages = _exact_messages(emissions, lengths, transitions)

    def gradient(upstream):
        alpha = messages.alpha()
        joint = alpha + messages.beta()
        scale = tf.reduce_logsumexp(joint, axis=-1, keepdims=True)
        of_step, of_move = _step_weights(upstream[:, None] + tf.zeros_like(scale[..., 0]), lengths)
        before = tf.where(of_move[..., None] == 0, -float("inf"), alpha - scale)
        before, after, of_move = (
            tf.transpose(x, [1, 0, *range(2, x.shape.rank)])
            for x in (before, messages.gamma(ahead=1), of_move)
        )

        # A step at a time: the joint probabilities of all are N times as large as the chain.
        def count(step, counts):
            moved = tf.exp(before[step][:, :, None] + transitions + after[step][:, None, :])
            return step + 1, counts + tf.reduce_sum(of_move[step][:, None, None] * moved, axis=0)

        length = tf.shape(emissions)[1]
        _, counts = tf.while_loop(
            lambda step, _: step < length, count, (0, tf.zeros_like(transitions))
        )
        return tf.exp(joint - scale) * of_step[..., None], None, counts

    return messages.log_partition, gradient


def _step_weights(weights: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Weights [B, T], 0 at padded steps, and 0 at steps that no other follows."""
    length = tf.shape(weights)[1]
    return (
        tf.where(tf.sequence_mask(lengths, length), weights, 0.0),
        tf.where(tf.sequence_mask(lengths - 1, length), weights, 0.0),
    )
