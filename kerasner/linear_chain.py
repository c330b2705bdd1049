"""Linear-chain conditional random fields as functions of tensors.

A chain over N tags is given by `emissions` float32 [B, T, N], `lengths` int [B] (rows are padded
at their end) and `transitions` float32 [N, N], where `transitions[i, j]` is the potential of tag j
following tag i. The potential of a path is the sum of its emissions and transitions; its
probability is exp(potential - log-partition). A potential of `FORBIDDEN` or less rules a tag or a
transition out. Boundary potentials are added to the first and last emissions by the caller.

Rows may have length 0 (one empty path, of potential 0) or 1, batches may be empty, and there may be
one tag only. Everything is normalised on the way, so that float32 holds for any length. Time and
memory grow linearly with it.

All functions run eagerly, in a `tf.function` and compiled by XLA (`jit_compile=True`, on the CPU
too, gradients included); compiled code is bound to the shapes of its arguments. Gradients of
`log_likelihood` and `log_partition` are computed in closed form, from the marginals, and are of
first order only. Where shapes are known while tracing, arguments that do not fit each other raise
a ValueError.

References:
    Lafferty, McCallum, Pereira (2001): Conditional random fields.
    Rabiner (1989): A tutorial on hidden Markov models (scaled recursions).
"""

from typing import NamedTuple

import tensorflow as tf

from kerasner import _chain_messages, _chain_paths
from kerasner._chain_recursion import (
    FORBIDDEN,
    RULED_OUT,
    recur,
    step_numbers,
    take_padded_rows,
    take_rows,
)
from kerasner.schemes import EntityRules

__all__ = [
    "FORBIDDEN",
    "RULED_OUT",
    "Posterior",
    "k_best",
    "log_likelihood",
    "log_partition",
    "marginals",
    "path_potential",
    "posterior",
    "sample",
    "span_log_probability",
    "viterbi",
]

_LEAST = 1e-30  # of a random number whose logarithm is taken


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
    """Potential of one path a row.

    Args:
        emissions: float32 [B, T, N].
        lengths: int [B].
        transitions: float32 [N, N].
        tags: int [B, T], any at padded steps.

    Returns:
        float32 [B], 0 for rows of length 0.
    """
    emissions, lengths, transitions = _checked(emissions, lengths, transitions)
    tags = tf.cast(tags, tf.int32)
    if not tags.shape.is_compatible_with(emissions.shape[:2]):
        raise ValueError(f"Expected tags [B, T] = {emissions.shape[:2]}; received {tags.shape}")
    mask = tf.sequence_mask(lengths, tf.shape(emissions)[1])
    n_tags = tf.shape(transitions)[0]
    # Not tf.gather(batch_dims=2): before TensorFlow 2.16 its gradient fails on empty batches. Not
    # a product alone: what stands at padded steps may be NaN.
    on_path = tf.where(mask[..., None], emissions, 0.0) * tf.one_hot(tags, n_tags)
    follows = mask[:, 1:]
    moves = (tags[:, :-1] * n_tags + tags[:, 1:]) * tf.cast(follows, tf.int32)
    moves = tf.where(follows, tf.gather(tf.reshape(transitions, [-1]), moves), 0.0)
    return tf.reduce_sum(on_path, [1, 2]) + tf.reduce_sum(moves, 1)


def log_likelihood(
    emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor, tags: tf.Tensor
) -> tf.Tensor:
    """Log-probability of one path a row.

    Args:
        emissions: float32 [B, T, N].
        lengths: int [B].
        transitions: float32 [N, N].
        tags: int [B, T], any at padded steps.

    Returns:
        float32 [B], 0 for rows of length 0.

    Example:

    ```python
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(log_likelihood(emissions, lengths, transitions, tags))
    gradient = tape.gradient(loss, transitions)
    ```
    """
    potential = path_potential(emissions, lengths, transitions, tags)
    return potential - log_partition(emissions, lengths, transitions)


def log_partition(emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor) -> tf.Tensor:
    """Log of the summed exponentials of all paths' potentials.

    Its gradient are the marginals of tags and of transitions.

    Args:
        emissions: float32 [B, T, N].
        lengths: int [B].
        transitions: float32 [N, N].

    Returns:
        float32 [B], 0 for rows of length 0.
    """
    return _chain_messages.log_partition(*_checked(emissions, lengths, transitions))


def posterior(emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor) -> Posterior:
    """Forward and backward messages, from which `marginals` and step probabilities follow.

    Args:
        emissions: float32 [B, T, N].
        lengths: int [B].
        transitions: float32 [N, N].

    Returns:
        a `Posterior`: softmax(alpha + beta) are the probabilities of the tags, and
        softmax(transitions[i] + gamma[:, t + 1]) those of the next tag where tag i is at step t.
    """
    return Posterior(*_chain_messages.posterior(*_checked(emissions, lengths, transitions)))


def marginals(emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor) -> tf.Tensor:
    """Probability of each tag at each step.

    Args:
        emissions: float32 [B, T, N].
        lengths: int [B].
        transitions: float32 [N, N].

    Returns:
        float32 [B, T, N], zeros at padded steps.
    """
    emissions, lengths, transitions = _checked(emissions, lengths, transitions)
    messages = posterior(emissions, lengths, transitions)
    mask = tf.sequence_mask(lengths, tf.shape(emissions)[1])
    return tf.where(mask[..., None], tf.nn.softmax(messages.alpha + messages.beta), 0.0)


def viterbi(
    emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Best path of each row and its potential.

    Args:
        emissions: float32 [B, T, N].
        lengths: int [B].
        transitions: float32 [N, N].

    Returns:
        tags int32 [B, T], 0 at padded steps, and potentials float32 [B].
    """
    emissions, lengths, transitions = _checked(emissions, lengths, transitions)
    tags, _ = _chain_paths.best_paths(emissions, lengths, transitions, 1)
    return tags[:, 0], path_potential(emissions, lengths, transitions, tags[:, 0])


def k_best(
    emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor, k: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The k best paths of each row, best first, and their potentials.

    Paths over what is `FORBIDDEN` are left out. The first path is that of `viterbi`, unless that
    one is forbidden.

    Args:
        emissions: float32 [B, T, N].
        lengths: int [B].
        transitions: float32 [N, N].
        k: number of paths, a Python int.

    Returns:
        tags int32 [B, k, T], 0 at padded steps, and potentials float32 [B, k] in falling order.
        Where a row has fewer than k paths, the others have potential -inf and tags 0.

    Example:

    ```python
    tags, potentials = k_best(emissions, lengths, transitions, 5)
    log_z = log_partition(emissions, lengths, transitions)
    probabilities = tf.exp(potentials - log_z[:, None])
    ```

    References:
        Seshadri, Sundberg (1994): List Viterbi decoding algorithms with applications.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"Expected a number of paths k, an int of 1 or more; received {k!r}")
    emissions, lengths, transitions = _checked(emissions, lengths, transitions)
    tags, scores = _chain_paths.best_paths(
        _or_impossible(emissions), lengths, _or_impossible(transitions), k
    )
    exist = tf.where(lengths[:, None] > 0, tf.math.is_finite(scores), tf.range(k) == 0)
    # Potentials of long rows are larger than the differences of float32's digits: these come from
    # the search, which keeps them small.
    potentials = path_potential(emissions, lengths, transitions, tags[:, 0])
    below = tf.where(tf.range(k) == 0, 0.0, scores - scores[:, :1])
    return tf.where(exist[..., None], tags, 0), tf.where(
        exist, potentials[:, None] + below, -float("inf")
    )


def sample(
    emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """One path of each row, drawn with its probability.

    Args:
        emissions: float32 [B, T, N].
        lengths: int [B].
        transitions: float32 [N, N].
        seed: int [2], as of `tf.random.stateless_uniform`: the same seed, the same paths.

    Returns:
        tags int32 [B, T], 0 at padded steps.

    Example: `sample(emissions, lengths, transitions, seed=[1, 2])`

    References:
        Scott (2002): Bayesian methods for hidden Markov models (forward filtering, backward
        sampling).
    """
    emissions, lengths, transitions = _checked(emissions, lengths, transitions)
    batch, length, n_tags = tf.unstack(tf.shape(emissions))
    uniform = tf.random.stateless_uniform(tf.shape(emissions), seed, _LEAST, alg="philox")
    # The largest of logits with such noise is a draw from their softmax (Gumbel, 1954).
    noisy = posterior(emissions, lengths, transitions).alpha - tf.math.log(-tf.math.log(uniform))
    step = step_numbers(length)  # from the last step of each row back to its first
    row = tf.range(batch)
    reached = take_padded_rows(noisy, row * length + lengths - 1 - step, step < lengths, 0.0)
    before = tf.concat([tf.transpose(transitions), tf.zeros([1, n_tags])], 0)  # [to or none, from]

    def draw(following, scores):
        return tf.argmax(scores + tf.gather(before, following), axis=-1, output_type=tf.int32)

    following = recur(tf.fill([batch], n_tags), reached, draw)
    mask = tf.sequence_mask(lengths, length, tf.int32)
    place = (lengths[:, None] - tf.range(length)) * batch + row[:, None]
    return take_rows(tf.reshape(following, [-1, 1]), place * mask)[..., 0] * mask


def span_log_probability(
    emissions: tf.Tensor,
    lengths: tf.Tensor,
    transitions: tf.Tensor,
    rules: EntityRules,
    rows: tf.Tensor,
    first: tf.Tensor,
    last: tf.Tensor,
    label: tf.Tensor,
) -> tf.Tensor:
    """Log-probability that given spans are entities of given labels, borders included.

    Summed over all paths whose tags read as just that entity there, so it is exact for every
    tagging scheme, with and without constraints. A path reads as `rules` say; what `FORBIDDEN`
    rules out has probability zero.

    Args:
        emissions: float32 [B, T, N].
        lengths: int [B].
        transitions: float32 [N, N].
        rules: how the N tags read, from `kerasner.schemes.entity_rules`.
        rows: int [M], sentence of each span, from 0 to B - 1.
        first: int [M], its first step.
        last: int [M], its last step, inclusive.
        label: int [M], its label, an index into `rules.labels`.

    Returns:
        float32 [M]; -inf where the span cannot be such an entity, or lies outside the sentence.

    Example:

    ```python
    rules = kerasner.schemes.entity_rules(["O", "B-PER", "I-PER"])
    # Are the first two tokens of the first sentence a person?
    span_log_probability(emissions, lengths, transitions, rules, [0], [0], [1], [0])
    ```

    References:
        Culotta, McCallum (2004): Confidence estimation for information extraction.
    """
    emissions, lengths, transitions = _checked(emissions, lengths, transitions)
    n_tags = rules.label.shape[0]
    if not transitions.shape.is_compatible_with([n_tags, n_tags]):
        raise ValueError(
            f"Expected rules for the {transitions.shape[0]} tags of the chain; received those of "
            f"{n_tags}"
        )
    spans = [tf.cast(x, tf.int32) for x in (rows, first, last, label)]
    shapes = [x.shape for x in spans]
    if not all(shape.is_compatible_with([None]) for shape in shapes) or not all(
        shape.is_compatible_with(other) for shape in shapes for other in shapes
    ):
        raise ValueError(f"Expected rows, first, last and label, each int [M]; received {shapes}")
    rows, first, last, label = spans

    # A step that does not exist reads a last row of zeros.
    start, length = rows * tf.shape(emissions)[1], tf.gather(lengths, rows)
    outside = tf.shape(emissions)[0] * tf.shape(emissions)[1]

    def rows_of(messages):
        possible = _or_impossible(messages, emissions > RULED_OUT)
        return tf.pad(tf.reshape(possible, [-1, n_tags]), [[0, 1], [0, 0]])

    def at(rows, step):
        return tf.gather(rows, tf.where((step >= 0) & (step < length), start + step, outside))

    messages = posterior(emissions, lengths, transitions)
    marginal = rows_of(tf.nn.log_softmax(messages.alpha + messages.beta))
    after = rows_of(messages.gamma)
    moves = _or_impossible(transitions)

    def onward(step, allowed):
        """Log-probability of each tag at a step given the one before it, [M, N, N]."""
        joint = moves + at(after, step)[:, None, :]
        total = tf.reduce_logsumexp(joint, axis=-1, keepdims=True)
        return _or_impossible(joint - tf.maximum(total, tf.float32.min), allowed)

    # log P(tags up to a step read as the entity up to there, and its tag at that step), [M, N].
    entering = at(marginal, first - 1)[..., None] + onward(first, ~rules.continues)
    within = tf.where(
        first[:, None] > 0, tf.reduce_logsumexp(entering, axis=1), at(marginal, first)
    )
    within = _or_impossible(within, rules.label == label[:, None])

    def go_on(offset, within):
        step = first + offset
        longer = within[..., None] + onward(step, rules.continues)
        is_inside = (step <= last)[:, None]
        return offset + 1, tf.where(is_inside, tf.reduce_logsumexp(longer, axis=1), within)

    longest = tf.reduce_max(tf.minimum(last, length - 1) - first)
    _, within = tf.while_loop(lambda offset, _: offset <= longest, go_on, (1, within))
    leaving = tf.reduce_logsumexp(onward(last + 1, ~rules.continues), axis=-1)
    within += tf.where(last[:, None] + 1 < length[:, None], leaving, 0.0)
    exists = (first >= 0) & (first <= last) & (last < length)
    return _or_impossible(tf.reduce_logsumexp(within, axis=-1), exists)


def _or_impossible(values: tf.Tensor, possible: tf.Tensor | None = None) -> tf.Tensor:
    """The values, -inf where something is not possible: by default, where they are forbidden."""
    return tf.where(values > RULED_OUT if possible is None else possible, values, -float("inf"))


def _checked(
    emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The chain as float32, int32 and float32 tensors, of shapes that fit where they are known."""
    emissions = tf.convert_to_tensor(emissions, tf.float32)
    lengths = tf.cast(lengths, tf.int32)
    transitions = tf.convert_to_tensor(transitions, tf.float32)
    if not emissions.shape.is_compatible_with([None, None, None]):
        raise ValueError(f"Expected emissions [B, T, N]; received shape {emissions.shape}")
    batch, _, n_tags = emissions.shape
    if n_tags is None and transitions.shape.rank == 2:
        n_tags = transitions.shape[0]
    for name, tensor, axes, expected in (
        ("lengths", lengths, "[B]", [batch]),
        ("transitions", transitions, "[N, N]", [n_tags, n_tags]),
    ):
        if not tensor.shape.is_compatible_with(expected):
            raise ValueError(
                f"Expected {name} {axes} = {expected} for emissions [B, T, N] of shape "
                f"{emissions.shape}; received shape {tensor.shape}"
            )
    return emissions, lengths, transitions
