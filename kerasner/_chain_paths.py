"""The best paths of a linear chain: the search behind Viterbi and k-best decoding.

Each sentence is searched from both ends to its middle at the same time, which halves the number of
dependent steps, and so are the paths traced back.
"""

import tensorflow as tf

from kerasner._chain_recursion import (
    arrivals,
    recur,
    step_numbers,
    take_padded_rows,
    take_rows,
)


def best_paths(
    emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor, k: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The k best paths of each row in falling order.

    Returns:
        tags int32 [B, k, T], 0 at padded steps, and scores float32 [B, k]: potentials less an
        unknown number for each row, not finite where there is no such path.
    """
    batch, length, n_tags = tf.unstack(tf.shape(emissions))
    row = tf.range(batch)
    left = (lengths + 1) // 2  # steps of the left half
    halves = tf.concat([left, lengths - left], 0)

    # Columns: B left halves from the first step on, B right halves from the last step back.
    step = step_numbers(length // 2)  # what arrives at the middle is a state as well
    start = row * length
    places = tf.concat([start + step, start + lengths - 1 - step], 1)
    emitted = take_padded_rows(emissions, places, step < halves, 0.0)  # [S, 2B, N]
    find = _best_arrivals if k == 1 else _k_best_arrivals
    arriving = find(emitted, transitions, k)  # [S, 2B, N * k]
    leaving = arriving + (emitted if k == 1 else tf.repeat(emitted, k, axis=-1))

    # The halves meet in the last tag of the left one.
    column = tf.range(2 * batch)
    ends = tf.maximum(left - 1, 0) * 2 * batch + row
    ahead = take_rows(leaving, ends)
    behind = take_rows(arriving, (lengths - left) * 2 * batch + batch + row)
    met = tf.reshape(ahead, [-1, n_tags, k, 1]) + tf.reshape(behind, [-1, n_tags, 1, k])
    scores, index = tf.math.top_k(tf.reshape(met, [-1, n_tags * k * k]), k)

    # Which tag led to which is worked out on the way back, for the best paths alone. The left half
    # starts from a tag of its own, the right one from the tag before it.
    turned = step + tf.concat([tf.ones_like(row), tf.zeros_like(row)], 0)
    back = take_rows(leaving, tf.maximum(halves - 1 - turned, 0) * 2 * batch + column)
    both = tf.stack([tf.transpose(transitions), transitions])
    sources = tf.repeat(both, batch, axis=0)  # [2B, to, from]

    def trace(tag, scores):
        scores += tf.gather(sources, tag, batch_dims=1)
        return tf.argmax(scores, axis=-1, output_type=tf.int32)

    def trace_ranked(state, scores):
        moved = tf.repeat(tf.gather(sources, state // k, batch_dims=1), k, axis=-1)
        _, ranked = tf.math.top_k(scores[:, None, :] + moved, k)
        return tf.gather(ranked, state % k, batch_dims=2)

    if k == 1:
        path = recur(tf.tile(index[:, 0], [2]), back, trace)
    else:
        tag = index // (k * k) * k
        meeting = tf.concat([tag + index // k % k, tag + index % k], 0)  # [2B, k]
        path = recur(meeting, back, trace_ranked) // k

    time = tf.range(length)
    row, left = row[:, None], left[:, None]
    place = tf.where(
        time < left,
        (left - 1 - time) * 2 * batch + row,
        (time - left + 1) * 2 * batch + batch + row,
    )
    mask = tf.sequence_mask(lengths, length, tf.int32)
    place = (place * mask)[:, None] * k + tf.range(k)[:, None]
    return tf.gather(tf.reshape(path, [-1]), place) * mask[:, None], scores


def _best_arrivals(emitted: tf.Tensor, transitions: tf.Tensor, k: int) -> tf.Tensor:
    """Score of the best path that arrives at each tag, [S, 2B, N]."""
    columns = tf.transpose(emitted, [0, 2, 1])
    moves = arrivals(transitions, tf.shape(emitted)[1] // 2)

    def step(best, column):
        return tf.reduce_max(best + column + moves, axis=1)

    arriving = recur(tf.zeros_like(columns[0]), columns, step, lambda best: _settled(best, 0))
    return tf.transpose(arriving, [0, 2, 1])


def _k_best_arrivals(emitted: tf.Tensor, transitions: tf.Tensor, k: int) -> tf.Tensor:
    """Scores of the k best paths that arrive at each tag in falling order, [S, 2B, N * k]."""
    n_tags = tf.shape(transitions)[0]
    moves = tf.repeat(tf.stack([tf.transpose(transitions), transitions]), k, axis=-1)[:, None]
    one = tf.where(tf.range(n_tags * k) % k == 0, 0.0, -float("inf"))

    def step(best, row):
        leaving = tf.reshape(best + tf.repeat(row, k, axis=-1), [2, -1, 1, n_tags * k])
        ranked, _ = tf.math.top_k(leaving + moves, k)  # [2, B, N, k]
        return tf.reshape(ranked, tf.shape(best))

    first = tf.repeat(one[None], tf.shape(emitted)[1], axis=0)
    return recur(first, emitted, step, lambda best: _settled(best, 1))


def _settled(best: tf.Tensor, axis: int) -> tf.Tensor:
    """The best score moved to 0, again and again: float32 stays exact at any length.

    Where there is no path at all, -inf becomes NaN.
    """
    return best - tf.reduce_max(best, axis=axis, keepdims=True)
