"""Linear-chain conditional random fields as functions of tensors.

A chain over N tags is given by `emissions` float32 [B, T, N], `lengths` int32 [B] (rows are padded
at their end) and `transitions` float32 [N, N], where `transitions[i, j]` is the potential of tag j
following tag i. The potential of a path is the sum of its emissions and transitions; its
probability is exp(potential - log-partition). A potential of `FORBIDDEN` or less rules a tag or a
transition out. Boundary potentials are added to the first and last emissions by the caller.

The forward and the backward recursion run side by side in one loop over scaled probabilities, two
matrix products a step, normalised at every step, so that float32 holds for any length. Where the
range of the potentials is so wide that scaled probabilities could underflow, the same loop runs on
log-potentials instead.

References:
    Lafferty, McCallum, Pereira (2001): Conditional random fields.
    Rabiner (1989): A tutorial on hidden Markov models (scaled recursions).
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

FORBIDDEN = -1e9
_RULED_OUT = -1e8  # anything below is a forbidden tag or transition, summed up or not
# float32 probabilities end at e^-87. What a state that underflowed may still gain over a better one
# is what it costs the better one to join its path: below this range, less than float32 resolves.
_SAFE_RANGE = 70.0
_UNROLLED_STEPS = 4
_TINY = 1e-37


class Posterior(NamedTuple):
    """Normalised log-messages of a chain, each float32 [B, T, N]; padded steps are undefined.

    Attributes:
        alpha: log of the forward message, emission of the step included.
        gamma: log of the backward message, emission of the step included.
        beta: log of the backward message, emission of the step left out.
    """

    alpha: tf.Tensor
    gamma: tf.Tensor
    beta: tf.Tensor


def path_potential(
    emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor, tags: tf.Tensor
) -> tf.Tensor:
    """Potential of one path a row: int tags [B, T], any at padded steps -> float32 [B]."""
    mask = tf.sequence_mask(lengths, tf.shape(emissions)[1])
    n_tags = tf.shape(transitions)[0]
    tags = tf.where(mask, tf.cast(tags, tf.int32), 0)
    # Not tf.gather(batch_dims=2): before TensorFlow 2.16 its gradient fails on empty batches.
    on_path = tf.reduce_sum(emissions * tf.one_hot(tags, n_tags), axis=-1)
    moves = tf.gather(tf.reshape(transitions, [-1]), tags[:, :-1] * n_tags + tags[:, 1:])
    mask = tf.cast(mask, tf.float32)
    return tf.reduce_sum(on_path * mask, 1) + tf.reduce_sum(moves * mask[:, 1:], 1)


def log_likelihood(
    emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor, tags: tf.Tensor
) -> tf.Tensor:
    """Log-probability of the paths `tags` int [B, T] -> float32 [B]; 0 for rows of length 0."""
    potential = path_potential(emissions, lengths, transitions, tags)
    return potential - log_partition(emissions, lengths, transitions)


def log_partition(
    emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor
) -> tf.Tensor:
    """Log of the summed exponentials of all paths' potentials -> float32 [B].

    The gradient is computed in closed form: the marginals of tags and of transitions.
    """
    return tf.cond(
        _is_safe(emissions, lengths, transitions),
        lambda: _scaled_log_partition(emissions, lengths, transitions),
        lambda: _exact_log_partition(emissions, lengths, transitions),
    )


def posterior(
    emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor
) -> Posterior:
    """Forward and backward messages, from which `marginals` and step probabilities follow."""
    return Posterior(
        *tf.cond(
            _is_safe(emissions, lengths, transitions),
            lambda: _scaled_posterior(emissions, lengths, transitions),
            lambda: _exact_posterior(emissions, lengths, transitions),
        )
    )


def marginals(emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor) -> tf.Tensor:
    """Probability of each tag at each step -> float32 [B, T, N]; zeros at padded steps."""
    messages = posterior(emissions, lengths, transitions)
    probabilities = tf.nn.softmax(messages.alpha + messages.beta)
    return probabilities * tf.sequence_mask(lengths, tf.shape(emissions)[1], tf.float32)[..., None]


def viterbi(
    emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Best path of each row and its potential.

    Returns:
        tags int32 [B, T] (0 at padded steps) and potentials float32 [B].
    """
    arrivals = tf.transpose(transitions)  # [to, from]

    def forward(best, emitted):
        best = tf.reduce_max(best[:, None, :] + arrivals, axis=-1) + emitted
        # The best score of each step is moved to 0: float32 stays exact at any length.
        return best - tf.reduce_max(best, axis=-1, keepdims=True)

    inputs = _time_major(emissions)
    reached = _recur(inputs[0], inputs[1:], forward)

    # Which tag led to which is worked out on the way back, for the best path alone.
    def backward(tag, scores):
        return tf.argmax(scores + tf.gather(arrivals, tag), axis=-1, output_type=tf.int32)

    scores = _reverse(reached, lengths)
    last = tf.argmax(scores[0], axis=-1, output_type=tf.int32)
    path = _reverse(_recur(last, scores[1:], backward), lengths)
    length = tf.shape(emissions)[1]
    tags = tf.transpose(path)[:, :length] * tf.sequence_mask(lengths, length, tf.int32)
    return tags, path_potential(emissions, lengths, transitions, tags)


def _time_major(emissions: tf.Tensor) -> tf.Tensor:
    """[B, T, N] -> [max(T, 1), B, N]: the recursions start from a first step."""
    missing = tf.maximum(1 - tf.shape(emissions)[1], 0)
    return tf.transpose(tf.pad(emissions, [[0, 0], [0, missing], [0, 0]]), [1, 0, 2])


def _recur(first: tf.Tensor, inputs: tf.Tensor, step: Callable) -> tf.Tensor:
    """All states of state_0 = first, state_t = step(state_t-1, inputs_t-1), stacked.

    Several steps an iteration: a loop over small tensors costs as much as their operations do.
    """
    count = tf.shape(inputs)[0]
    # At least one round: an empty TensorArray of unknown batch size cannot be stacked.
    rounds = tf.maximum((count + _UNROLLED_STEPS - 1) // _UNROLLED_STEPS, 1)
    missing = rounds * _UNROLLED_STEPS - count
    row = tf.shape(inputs)[1:]
    padded = tf.concat([inputs, tf.ones(tf.concat([[missing], row], 0))], 0)
    groups = tf.reshape(padded, tf.concat([[rounds, _UNROLLED_STEPS], row], 0))
    group_at = tf.TensorArray(tf.float32, rounds).unstack(groups)
    states = tf.TensorArray(first.dtype, rounds, element_shape=[_UNROLLED_STEPS, *first.shape])

    def iterate(index, state, states):
        group = []
        for value in tf.unstack(group_at.read(index), _UNROLLED_STEPS):
            state = tf.ensure_shape(step(state, value), first.shape)
            group.append(state)
        return index + 1, state, states.write(index, tf.stack(group))

    *_, states = tf.while_loop(lambda index, *_: index < rounds, iterate, (0, first, states))
    later = tf.reshape(states.stack(), tf.concat([[-1], tf.shape(first)], 0))[:count]
    return tf.concat([first[None], later], 0)


def _is_safe(emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor) -> tf.Tensor:
    """Whether scaled float32 probabilities hold every path that matters (see _SAFE_RANGE).

    From any tag the path of any other can be joined with n transitions and n - 1 emissions between
    them, where n is the number of steps in which every tag leads to every other: 2 or fewer in BIO
    and IOB1 (by O or B-), 3 in BIOES (by E- and B-).
    """

    def spread(potentials, axis):
        allowed = potentials > _RULED_OUT
        lowest = tf.reduce_min(tf.where(allowed, potentials, tf.float32.max), axis=axis)
        return tf.maximum(tf.reduce_max(potentials, axis=axis) - lowest, 0.0)

    mask = tf.sequence_mask(lengths, tf.shape(emissions)[1], tf.float32)
    emitted = tf.reduce_max(tf.concat([[0.0], tf.reshape(spread(emissions, -1) * mask, [-1])], 0))
    moved = spread(transitions, None)
    one = tf.cast(transitions > _RULED_OUT, tf.float32)
    two = tf.matmul(one, one)
    in_two, in_three = tf.reduce_all(two > 0), tf.reduce_all(tf.matmul(two, one) > 0)
    return (in_two & (emitted + 2.0 * moved < _SAFE_RANGE)) | (
        in_three & (2.0 * emitted + 3.0 * moved < _SAFE_RANGE)
    )


class _ScaledMessages(NamedTuple):
    """Messages as probabilities, each [T, B, N] and summing to 1 but for beta."""

    alpha: tf.Tensor
    gamma: tf.Tensor
    beta: tf.Tensor
    moves: tf.Tensor  # exp(transitions - their maximum) [N, N]
    log_partition: tf.Tensor  # [B]


def _scaled_messages(
    emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor
) -> _ScaledMessages:
    """The backward message with its emission, gamma_t = e_t * (moves @ gamma_t+1), is the forward
    recursion of the reversed sentence under transposed moves: one loop computes both."""
    inputs = _time_major(emissions)
    mask = tf.transpose(tf.sequence_mask(lengths, tf.shape(inputs)[0]))
    peaks = tf.reduce_max(inputs, axis=-1)
    emitted = tf.where(mask[..., None], tf.exp(inputs - peaks[..., None]), 1.0)
    peak_move = tf.reduce_max(transitions)
    moves = tf.exp(transitions - peak_move)

    # Both directions in one row, under one block-diagonal matrix: TensorFlow's product of a stack
    # of small matrices is ten times slower.
    both = tf.concat([emitted, _reverse(emitted, lengths)], axis=-1)
    both_moves = _block_diagonal(moves, tf.transpose(moves))
    ones = _block_diagonal(tf.ones_like(moves), tf.ones_like(moves))

    def normalise(state):
        return state / (tf.matmul(state, ones) + _TINY)

    states = _recur(
        normalise(both[0]), both[1:], lambda state, e: normalise(tf.matmul(state, both_moves) * e)
    )
    alpha, backward = tf.split(states, 2, axis=-1)
    gamma = _reverse(backward, lengths)
    onward = tf.matmul(gamma[1:], moves, transpose_b=True)
    onward = tf.concat([onward, tf.ones_like(gamma[:1])], 0)
    is_last = ~tf.concat([mask[1:], tf.zeros_like(mask[:1])], 0)
    beta = tf.where(is_last[..., None], 1.0, onward)

    arrived = tf.concat([emitted[:1], tf.matmul(alpha[:-1], moves) * emitted[1:]], 0)
    scales = tf.math.log(tf.maximum(tf.reduce_sum(arrived, -1), _TINY)) + peaks
    n_moves = tf.cast(tf.maximum(lengths - 1, 0), tf.float32)
    total = tf.reduce_sum(tf.where(mask, scales, 0.0), 0) + n_moves * peak_move
    return _ScaledMessages(alpha, gamma, beta, moves, total)


def _block_diagonal(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    zeros = tf.zeros_like(first)
    return tf.concat([tf.concat([first, zeros], 1), tf.concat([zeros, second], 1)], 0)


def _reverse(time_major: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    return tf.reverse_sequence(time_major, lengths, seq_axis=0, batch_axis=1)


@tf.custom_gradient
def _scaled_log_partition(emissions, lengths, transitions):
    messages = _scaled_messages(emissions, lengths, transitions)

    def gradient(upstream):
        joint = messages.alpha * messages.beta
        scale = tf.maximum(tf.reduce_sum(joint, axis=-1, keepdims=True), _TINY)
        mask = tf.transpose(tf.sequence_mask(lengths, tf.shape(joint)[0], tf.float32))
        weights = (mask * upstream)[..., None] / scale
        of_emissions = tf.transpose(joint * weights, [1, 0, 2])[:, : tf.shape(emissions)[1]]
        # Expected transitions: alpha_t(i) moves(i, j) gamma_t+1(j), summed in one product.
        n_tags = tf.shape(transitions)[0]
        left = messages.alpha[:-1] * weights[:-1] * mask[1:, :, None]
        counts = tf.matmul(
            tf.reshape(left, [-1, n_tags]),
            tf.reshape(messages.gamma[1:], [-1, n_tags]),
            transpose_a=True,
        )
        return of_emissions, None, counts * messages.moves

    return messages.log_partition, gradient


def _scaled_posterior(emissions, lengths, transitions) -> list[tf.Tensor]:
    messages = _scaled_messages(emissions, lengths, transitions)
    length = tf.shape(emissions)[1]
    return [
        tf.transpose(tf.math.log(tf.maximum(message, _TINY)), [1, 0, 2])[:, :length]
        for message in (messages.alpha, messages.gamma, messages.beta)
    ]


def _exact_log_partition(emissions, lengths, transitions) -> tf.Tensor:
    inputs = _time_major(emissions)
    alpha = _log_recursion(inputs, transitions)
    mask = tf.transpose(tf.sequence_mask(lengths, tf.shape(inputs)[0]))
    arrived = tf.concat([inputs[:1], _log_step(alpha[:-1], transitions) + inputs[1:]], 0)
    return tf.reduce_sum(tf.where(mask, tf.reduce_logsumexp(arrived, axis=-1), 0.0), axis=0)


def _exact_posterior(emissions, lengths, transitions) -> list[tf.Tensor]:
    inputs = _time_major(emissions)
    back = tf.transpose(transitions)
    alpha = _log_recursion(inputs, transitions)
    gamma = _reverse(_log_recursion(_reverse(inputs, lengths), back), lengths)
    onward = tf.concat([_log_step(gamma[1:], back), tf.zeros_like(gamma[:1])], 0)
    is_last = tf.range(tf.shape(inputs)[0])[:, None] >= lengths - 1
    beta = tf.where(is_last[..., None], 0.0, onward)
    length = tf.shape(emissions)[1]
    return [tf.transpose(message, [1, 0, 2])[:, :length] for message in (alpha, gamma, beta)]


def _log_step(messages: tf.Tensor, transitions: tf.Tensor) -> tf.Tensor:
    """logsumexp over i of messages[..., i] + transitions[i, j]."""
    return tf.reduce_logsumexp(messages[..., None] + transitions, axis=-2)


def _log_recursion(inputs: tf.Tensor, transitions: tf.Tensor) -> tf.Tensor:
    """Log-messages [T, B, N], normalised at every step."""
    return _recur(
        tf.nn.log_softmax(inputs[0]),
        inputs[1:],
        lambda state, e: tf.nn.log_softmax(_log_step(state, transitions) + e),
    )
