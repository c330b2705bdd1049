"""From tokens and tags to batches of ids, with tf.data."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from kerasner.errors import DataError

# Sentences of like length share a batch. Upper borders in tokens; the last bucket is open.
BUCKET_BOUNDARIES = (8, 12, 16, 20, 26, 32, 40, 50, 75, 120)
_ENCODED_AT_ONCE = 512
_AHEAD = 4  # batches that are made before they are asked for
_PRIME = 1_000_003  # far above any number of epochs

Encoder = Callable[..., dict[str, tf.Tensor]]
Sentence = Sequence[str] | tuple[Sequence[str], ...]
"""The tokens of a sentence, or these and further rows as long, such as parts of speech."""

Change = Callable[[Sequence[str]], list[str]]
"""What writes the tokens of a sentence in another form."""


def columns(sentences: Sequence[Sentence], count: int = 1) -> list[list[Sequence[str]]]:
    """Sentences of `count` inputs each -> a list of rows for each input.

    Raises:
        DataError: a sentence of another number of inputs, or of inputs of different lengths.
    """
    if count == 1:
        return [list(sentences)]
    for number, sentence in enumerate(sentences):
        rows = sentence if isinstance(sentence, tuple) else (sentence,)
        if len(rows) != count or len({len(row) for row in rows}) > 1:
            raise DataError(
                f"sentence {number}: expected {count} inputs of the same length, received "
                f"{len(rows)} of lengths {[len(row) for row in rows]}"
            )
    return [list(column) for column in zip(*sentences, strict=True)] or [[] for _ in range(count)]


def changed(sentences: Sequence[Sentence], change: Change, count: int = 1) -> list[Sentence]:
    """Sentences of `count` inputs each, whose tokens are changed; further rows stay as they are."""
    if count == 1:
        return [change(tokens) for tokens in sentences]
    return [(change(tokens), *others) for tokens, *others in sentences]


def encoded(
    sentences: Sequence[Sentence],
    tags: Sequence[Sequence[str]],
    encode: Encoder,
    encode_tags: Callable[[tf.Tensor], tf.Tensor],
    n_inputs: int = 1,
) -> tf.data.Dataset:
    """Sentences as ids, one an element, in their order.

    Args:
        sentences: inputs of each sentence.
        tags: their tags.
        encode: strings [N] of each input -> dict of tensors [N, ...], the inputs of the network.
        encode_tags: strings [N] -> int [N].
        n_inputs: number of inputs a sentence.

    Returns:
        A dataset of (inputs, tag ids): dict of [T, ...] and int32 [T], cached in memory, so that
        only the first pass computes anything.

    Raises:
        DataError: a sentence with more tags than tokens or fewer; and see `columns`.
    """
    inputs = columns(sentences, n_inputs)
    for number, (tokens, row) in enumerate(zip(inputs[0], tags, strict=True)):
        if len(tokens) != len(row):
            raise DataError(
                f"sentence {number}: expected a tag for each of its {len(tokens)} tokens, "
                f"received {len(row)} tags: {list(row)!r:.200}"
            )

    def encode_group(sentences: tuple[tf.RaggedTensor, ...], tags: tf.RaggedTensor):
        splits = sentences[0].row_splits
        inputs = {
            name: tf.RaggedTensor.from_row_splits(values, splits, validate=False)
            for name, values in encode(*(rows.values for rows in sentences)).items()
        }
        return inputs, tags.with_values(tf.cast(encode_tags(tags.values), tf.int32))

    strings = (tuple(map(_ragged, inputs)), _ragged(tags))
    groups = tf.data.Dataset.from_tensor_slices(strings).batch(_ENCODED_AT_ONCE)
    rows = groups.map(encode_group, num_parallel_calls=tf.data.AUTOTUNE).unbatch()
    rows = rows.map(lambda inputs, tags: (_trimmed(inputs), tf.identity(tags)))
    return _untuned(rows.cache())


def _trimmed(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The inputs of a sentence, its characters no wider than its longest token."""
    # Rows of a ragged batch are tensors by value but not yet by type.
    trimmed = {name: tf.identity(values) for name, values in inputs.items()}
    if "chars" in trimmed:  # as wide as the longest token of hundreds of sentences
        chars = trimmed["chars"]
        width = tf.reduce_max(tf.math.count_nonzero(chars, axis=-1))
        trimmed["chars"] = chars[:, : tf.maximum(width, 1)]
    return trimmed


def _ragged(rows: Sequence[Sequence[str]]) -> tf.RaggedTensor:
    flat = [item for row in rows for item in row]
    values = tf.constant(flat, tf.string, shape=[len(flat)])
    return tf.RaggedTensor.from_row_lengths(values, [len(row) for row in rows])


def training_batches(
    sentences: tf.data.Dataset,
    batch_size: int,
    seed: int | None = None,
    epoch: tf.Variable | None = None,
    forms: Sequence[tuple[float, tf.data.Dataset]] = (),
) -> tf.data.Dataset:
    """Batches of sentences of like length, drawn anew for each epoch.

    Args:
        sentences: as `encoded` gives them.
        batch_size: sentences a batch; the last batch of each length may be smaller.
        seed: of the order.
        epoch: int64; with a seed, its value when a pass starts and the seed make the order. None:
            each pass goes on in the random numbers of the one before.
        forms: other forms of the same sentences, of the same lengths and in the same order, each
            with the probability that it takes a sentence's place in a pass.

    Returns:
        A dataset of known cardinality.
    """
    lengths = [len(tags) for _, tags in sentences.as_numpy_iterator()]
    per_bucket = np.bincount(np.searchsorted(BUCKET_BOUNDARIES, lengths, side="right"))
    batches = int(np.sum(-(-per_bucket // batch_size)))

    rows = _with_forms(sentences, forms) if forms else sentences

    def drawn(seed) -> tf.data.Dataset:
        shuffled = rows.shuffle(max(1, len(lengths)), seed=seed)
        # Buckets give out a batch as it fills up: without a second shuffle the short ones come
        # first.
        batches = _bucketed(shuffled, batch_size).shuffle(256, seed=seed)
        return _in_drawn_forms(batches, forms, seed) if forms else batches

    mixed = drawn(seed)
    if epoch is not None and seed is not None:
        once = tf.data.Dataset.range(1)
        mixed = once.flat_map(lambda _: drawn(seed * _PRIME + epoch))
    counted = mixed.apply(tf.data.experimental.assert_cardinality(batches))
    return prefetched(counted)


def _with_forms(
    sentences: tf.data.Dataset, forms: Sequence[tuple[float, tf.data.Dataset]]
) -> tf.data.Dataset:
    """(inputs of each form and at last the sentence's own, tags), one an element, cached."""
    rows = tf.data.Dataset.zip((*(form for _, form in forms), sentences))
    # A cache of its own: a zip need not read its parts to the end, and their caches then stay
    # unfilled. It holds the same tensors, not copies.
    return rows.map(lambda *rows: (tuple(inputs for inputs, _ in rows), rows[-1][1])).cache()


def _in_drawn_forms(
    batches: tf.data.Dataset, forms: Sequence[tuple[float, tf.data.Dataset]], seed
) -> tf.data.Dataset:
    """Batches of `_with_forms`, each row of a batch in a form drawn for it.

    Whole batches, since a function called for each sentence would take longer than all else.
    """
    borders = tf.constant(np.cumsum([probability for probability, _ in forms]), tf.float32)

    def choose(number: tf.Tensor, batch: tuple) -> tuple:
        inputs, tags = batch
        drawn = tf.random.stateless_uniform(tf.shape(tags)[:1], [number, 0])
        form = tf.searchsorted(borders, drawn, side="right")
        return tf.nest.map_structure(lambda *values: _rows_of(values, form), *inputs), tags

    numbers = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
    return tf.data.Dataset.zip((numbers, batches)).map(choose)


def _rows_of(values: Sequence[tf.Tensor], index: tf.Tensor) -> tf.Tensor:
    """Row n of the tensor index[n], for each n; what is smaller is padded with zeros."""
    shapes = tf.stack([tf.shape(value) for value in values])
    missing = tf.reduce_max(shapes, axis=0) - shapes
    padded = [
        tf.pad(value, tf.stack([tf.zeros_like(pad), pad], axis=1))
        for value, pad in zip(values, tf.unstack(missing), strict=True)
    ]
    rows = tf.gather(tf.stack(padded, axis=1), index, batch_dims=1)
    return tf.ensure_shape(rows, values[-1].shape)


def evaluation_batches(sentences: tf.data.Dataset, batch_size: int = 256) -> tf.data.Dataset:
    """The same batches every time; the order of the sentences is not kept."""
    return prefetched(_bucketed(sentences, batch_size).cache())


def prefetched(batches: tf.data.Dataset) -> tf.data.Dataset:
    """The batches, made ahead of those who ask for them, without a thread that tunes how."""
    return _untuned(batches.prefetch(_AHEAD))


def _untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The dataset without the thread that tunes it; what is made of it has none either.

    Where a process has one core, the end of a pass waits for that thread to wake up: as long again
    as the pass took, up to a minute.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def _bucketed(sentences: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    return sentences.bucket_by_sequence_length(
        lambda inputs, tags: tf.shape(tags)[0],
        bucket_boundaries=BUCKET_BOUNDARIES,
        bucket_batch_sizes=[batch_size] * (len(BUCKET_BOUNDARIES) + 1),
    )
