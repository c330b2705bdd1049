"""The serving graph: raw text in, tags, offsets and scores out."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kerasner import linear_chain, schemes
from kerasner.chunks import ChunkFinder
from kerasner.layers import SentenceSplitter, Tokenizer, unpack
from kerasner.network import TaggingNetwork

TOKEN_BUDGET = 4096  # tokens a chunk, padding included
_PARALLEL_CHUNKS = 2
_BYTES = [bytes([code]) for code in range(256)]


def _traced(function: Callable, *signature: tf.TensorSpec) -> tf.types.experimental.GenericFunction:
    # No Python control flow over tensors: without AutoGraph tracing takes a third of the time.
    return tf.function(function, input_signature=signature, autograph=False)


class _Tagged(NamedTuple):
    """What is known of each token of a flat list, all [N].

    Attributes:
        tag: int32, id of the decoded tag.
        marginal: float32, log-probability of that tag at that token.
        onward: float32, log-probability of that tag given the decoded tag before it.
        opening: float32, log-probability that an entity of that tag does not begin earlier.
        closing: float32, log-probability that an entity of that tag does not go on.
    """

    tag: tf.Tensor
    marginal: tf.Tensor
    onward: tf.Tensor
    opening: tf.Tensor
    closing: tf.Tensor


class _Sentences(NamedTuple):
    """Tokenized texts: flat tokens [N], what stands beside them, and row lengths."""

    tokens: tf.Tensor
    splits: tf.Tensor  # int64 [B + 1], of texts
    starts: tf.Tensor
    ends: tf.Tensor
    is_first: tf.Tensor  # bool [N], of a sentence
    text: tf.Tensor  # string [B], as the offsets count it


class TaggingGraph(tf.Module):
    """Functions of text or tokens, ready to be saved: see "Serve it" in README.

    All sentences of a batch are rows of one work list, sorted by length and tagged in chunks of a
    budget of tokens, so that the cost follows the number of tokens whatever their distribution, and
    memory the budget. What depends on a token alone is computed once for each distinct one, and its
    product with the weights of the first recurrent layer once a chunk.

    Args:
        network: a built network.
        encode: strings [N] of each input -> the network's inputs, a dict of tensors [N, ...].
        text_layers: the layers that `encode` uses; a SavedModel holds their tables.
        tokenizer, sentence_splitter: from texts to sentences of tokens.
        further_inputs: names of the inputs beside the tokens. With them there are no functions of
            raw text.
        token_budget: tokens a chunk, padding included.

    Attributes:
        signatures: the functions by the names of their signatures.
    """

    def __init__(
        self,
        network: TaggingNetwork,
        encode: Callable[..., dict[str, tf.Tensor]],
        text_layers: Sequence[tf.Module],
        tokenizer: Tokenizer,
        sentence_splitter: SentenceSplitter,
        further_inputs: Sequence[str] = (),
        token_budget: int = TOKEN_BUDGET,
    ):
        super().__init__(name="kerasner")
        if network.scheme == "iob1":
            raise ValueError("expected a network of scheme 'bio', 'bioes' or 'io', received 'iob1'")
        # Of the network only the variables are tracked: a Keras model would leave functions of its
        # own in the SavedModel.
        self._token_features = network.token_features
        self._tag_potentials = network.tag_potentials
        self._weights = [
            weight if isinstance(weight, tf.Variable) else weight.value
            for weight in network.variables
        ]
        self._encode = encode
        self._text_layers = list(text_layers)
        self._tokenizer = tokenizer
        self._sentence_splitter = sentence_splitter
        self._token_budget = token_budget
        self._finder = ChunkFinder(network.tags, network.scheme)
        self._continues = schemes.entity_rules(network.tags, network.scheme).continues
        self._use_crf = network.use_crf
        self._temperature = network.temperature

        texts = tf.TensorSpec([None], tf.string, name="text")
        names = ["tokens", *further_inputs]
        rows = [tf.TensorSpec([None, None], tf.string, name=name) for name in names]
        flat = [tf.TensorSpec([None], tf.string) for _ in names]
        # `_split` and `_tag` are functions of their own so that a SavedModel holds each once.
        self._tag = _traced(self._tag_flat, tf.TensorSpec([None], tf.int32), *flat)
        self.tokens = _traced(self._of_tokens, *rows)
        if not further_inputs:
            self._split = _traced(self._split_texts, tf.TensorSpec([None], tf.string))
            self.text = _traced(self._of_text, texts)
            self.entities = _traced(self._entities_of_text, texts)

    @property
    def signatures(self) -> dict[str, tf.types.experimental.GenericFunction]:
        # No attribute: TensorFlow refuses to save a module that has one of this name.
        functions = {"tokens": self.tokens}
        if hasattr(self, "text"):
            functions |= {"serving_default": self.text, "entities": self.entities}
        return functions

    def _of_text(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Raw texts [B] -> tokens, tags, scores, offsets of each; signature `serving_default`."""
        sentences = self._split(text)
        tagged = self._tag(_row_lengths(sentences.is_first), sentences.tokens)

        def dense(values, empty):
            ragged = tf.RaggedTensor.from_row_splits(values, sentences.splits, validate=False)
            return ragged.to_tensor(empty)

        lengths = sentences.splits[1:] - sentences.splits[:-1]
        return {
            "tokens": dense(sentences.tokens, ""),
            "tags": dense(self._bio_tags(tagged.tag, sentences.is_first), ""),
            "scores": dense(tf.exp(tagged.marginal), 0.0),
            "starts": dense(sentences.starts, 0),
            "ends": dense(sentences.ends, 0),
            "lengths": tf.cast(lengths, tf.int32),
        }

    def _of_tokens(self, tokens: tf.Tensor, *further: tf.Tensor) -> dict[str, tf.Tensor]:
        """Token rows [B, T], padded with "" -> tags and scores; signature `tokens`.

        Each row is one sentence. Padding may stand anywhere; `lengths` counts up to the last token.
        """
        mask = tokens != ""
        places = tf.where(mask)
        counts = tf.math.count_nonzero(mask, axis=1, dtype=tf.int32)
        tagged = self._tag(counts, *(tf.gather_nd(rows, places) for rows in (tokens, *further)))
        is_first = tf.concat([[True], places[1:, 0] != places[:-1, 0]], 0)[: tf.shape(places)[0]]
        shape = tf.shape(tokens, out_type=tf.int64)
        last = tf.cast(mask, tf.int32) * (tf.range(tf.shape(tokens)[1]) + 1)
        empty = tf.fill(shape, "")
        tags = tf.tensor_scatter_nd_update(empty, places, self._bio_tags(tagged.tag, is_first))
        return {
            "tags": tags,
            "scores": tf.scatter_nd(places, tf.exp(tagged.marginal), shape),
            "lengths": tf.reduce_max(tf.pad(last, [[0, 0], [0, 1]]), axis=1),
        }

    def _entities_of_text(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Raw texts [B] -> entities of each; signature `entities`."""
        sentences = self._split(text)
        tagged = self._tag(_row_lengths(sentences.is_first), sentences.tokens)
        is_start, is_end, label = self._finder.boundaries(tagged.tag, sentences.is_first)
        first, last = tf.where(is_start)[:, 0], tf.where(is_end)[:, 0]

        # P(span) = P(first tag) x P(no earlier begin) x P(each next tag | the one before)
        # x P(no continuation).
        log_score = tf.where(is_start, tagged.marginal + tagged.opening, tagged.onward)
        log_score += tf.where(is_end, tagged.closing, 0.0)
        inside = tf.where(label > 0)[:, 0]
        entity = tf.cumsum(tf.cast(is_start, tf.int32)) - 1
        scores = tf.exp(
            tf.math.unsorted_segment_sum(
                tf.gather(log_score, inside), tf.gather(entity, inside), tf.size(first)
            )
        )
        starts, ends = tf.gather(sentences.starts, first), tf.gather(sentences.ends, last)
        rows = tf.searchsorted(sentences.splits, first, side="right", out_type=tf.int64) - 1
        texts = _substrings(sentences.text, rows, starts, ends)
        labels = tf.gather(np.array(["", *self._finder.labels]), tf.gather(label, first))

        batch = tf.size(text, tf.int64)

        def dense(values, empty):
            return tf.RaggedTensor.from_value_rowids(
                values, rows, nrows=batch, validate=False
            ).to_tensor(empty)

        return {
            "labels": dense(labels, ""),
            "texts": dense(texts, ""),
            "starts": dense(starts, 0),
            "ends": dense(ends, 0),
            "scores": dense(scores, 0.0),
            "counts": tf.math.bincount(tf.cast(rows, tf.int32), minlength=tf.size(text)),
        }

    def _bio_tags(self, tags: tf.Tensor, is_first: tf.Tensor) -> tf.Tensor:
        """Tag ids int32 [N] -> the same entities in BIO, strings [N]."""
        is_start, _, label = self._finder.boundaries(tags, is_first)
        labels = self._finder.labels
        return tf.where(
            is_start,
            tf.gather(np.array(["O", *(f"B-{label}" for label in labels)]), label),
            tf.gather(np.array(["O", *(f"I-{label}" for label in labels)]), label),
        )

    def _split_texts(self, text: tf.Tensor) -> _Sentences:
        tokenized = self._tokenizer(text)
        tokens = tokenized["tokens"]
        is_first = self._sentence_splitter(tokens, tokenized["paragraph_starts"])
        return _Sentences(
            tokens.values,
            tokens.row_splits,
            tokenized["starts"].values,
            tokenized["ends"].values,
            is_first.values,
            tokenized["text"],
        )

    def _tag_flat(self, lengths: tf.Tensor, *inputs: tf.Tensor) -> _Tagged:
        """Flat tokens and further inputs [N] of sentences of the given lengths, int32 [R]."""
        index = tf.range(tf.size(inputs[0]))
        if len(inputs) == 1:
            distinct, index = tf.unique(inputs[0])
            inputs = (distinct,)
        features = self._token_features(self._encode(*inputs), training=False)
        order = tf.argsort(lengths, stable=True)
        sorted_lengths = tf.gather(lengths, order)
        sorted_starts = tf.gather(tf.cumsum(lengths, exclusive=True), order)
        n_rows = tf.size(lengths)
        first = tf.math.count_nonzero(lengths == 0, dtype=tf.int32)

        def tag_chunk(row, chunk, places, results):
            # The most rows whose product with the longest of them is within the budget; there are
            # no more of them than tokens in it.
            candidates = tf.cast(sorted_lengths[row : row + self._token_budget], tf.int64)
            costs = tf.range(1, tf.size(candidates, tf.int64) + 1) * candidates
            fitting = tf.math.count_nonzero(costs <= self._token_budget, dtype=tf.int32)
            next_row = row + tf.maximum(fitting, 1)
            rows_lengths = sorted_lengths[row:next_row]
            mask = tf.sequence_mask(rows_lengths)
            place = sorted_starts[row:next_row, None] + tf.range(tf.shape(mask)[1])
            chosen = tf.boolean_mask(place, mask)
            indices = tf.gather(index, tf.where(mask, place, 0))
            distinct, token = tf.unique(tf.reshape(indices, [-1]))
            token = tf.reshape(token, tf.shape(mask))
            tagged = self._tag_rows(tf.gather(features, distinct), token, rows_lengths, mask)
            results = [
                array.write(chunk, tf.boolean_mask(values, mask))
                for array, values in zip(results, tagged, strict=True)
            ]
            return next_row, chunk + 1, places.write(chunk, chosen), results

        def array(dtype):
            return tf.TensorArray(
                dtype, 0, dynamic_size=True, infer_shape=False, element_shape=[None]
            )

        dtypes = (tf.int32, *[tf.float32] * (len(_Tagged._fields) - 1))
        *_, places, results = tf.while_loop(
            lambda row, *_: row < n_rows,
            tag_chunk,
            (first, 0, array(tf.int32), [array(dtype) for dtype in dtypes]),
            parallel_iterations=_PARALLEL_CHUNKS,
        )
        back = tf.math.invert_permutation(places.concat())
        return _Tagged(*(tf.gather(result.concat(), back) for result in results))

    def _tag_rows(
        self, features: tf.Tensor, token: tf.Tensor, lengths: tf.Tensor, mask: tf.Tensor
    ) -> _Tagged:
        """Features [U, D] of distinct tokens, their numbers [R, L] -> of each token, [R, L]."""
        potentials = unpack(self._tag_potentials(features, mask, training=False, places=token))
        emissions, _, transitions = potentials.tempered(self._temperature)
        if not self._use_crf:
            tags = tf.argmax(potentials.emissions, axis=-1, output_type=tf.int32)
            best = tf.reduce_max(tf.nn.log_softmax(emissions), axis=-1)
            return _Tagged(tags, best, best, tf.zeros_like(best), tf.zeros_like(best))
        tags, _ = linear_chain.viterbi(potentials.emissions, lengths, potentials.transitions)
        messages = linear_chain.posterior(emissions, lengths, transitions)

        def at(values, tags):
            return tf.gather(values, tags, batch_dims=2)

        joint = messages.alpha + messages.beta
        marginal = at(joint, tags) - tf.reduce_logsumexp(joint, axis=-1)
        # log P(next tag | decoded tag), and log P(tag before | decoded tag), [R, L - 1, N].
        moves = tf.gather(transitions, tags[:, :-1]) + messages.gamma[:, 1:]
        moves -= tf.reduce_logsumexp(moves, axis=-1, keepdims=True)
        origins = tf.gather(tf.transpose(transitions), tags[:, 1:]) + messages.alpha[:, :-1]
        origins -= tf.reduce_logsumexp(origins, axis=-1, keepdims=True)

        def apart(steps, is_same_entity):
            separate = tf.where(is_same_entity, linear_chain.FORBIDDEN, steps)
            return tf.where(mask[:, 1:], tf.reduce_logsumexp(separate, axis=-1), 0.0)

        opening = apart(origins, tf.gather(self._continues.T, tags[:, 1:]))
        closing = apart(moves, tf.gather(self._continues, tags[:, :-1]))
        return _Tagged(
            tags,
            marginal,
            tf.pad(at(moves, tags[:, 1:]), [[0, 0], [1, 0]]),
            tf.pad(opening, [[0, 0], [1, 0]]),
            tf.pad(closing, [[0, 0], [0, 1]]),
        )


def _row_lengths(is_first: tf.Tensor) -> tf.Tensor:
    """Flags of the first tokens of sentences, bool [N] -> int32 [R]."""
    firsts = tf.cast(tf.where(is_first)[:, 0], tf.int32)
    return tf.concat([firsts[1:], tf.shape(is_first)], 0)[: tf.size(firsts)] - firsts


def _substrings(text: tf.Tensor, rows: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor) -> tf.Tensor:
    """`text[row][start:end]` in code points of valid UTF-8 [B], for each of M spans -> [M].

    Linear in the length of the texts, where `substr` would copy and scan the text once a span.
    """
    codes = tf.io.decode_raw(tf.strings.reduce_join(text), tf.uint8)
    is_character = codes // 64 != 2  # not a continuation byte
    bounds = tf.concat([tf.where(is_character)[:, 0], tf.shape(codes, tf.int64)], 0)
    origins = tf.cumsum(tf.strings.length(text, unit="UTF8_CHAR"), exclusive=True)
    origins = tf.gather(origins, rows)
    spans = tf.ragged.range(tf.gather(bounds, origins + starts), tf.gather(bounds, origins + ends))
    chars = tf.gather(_BYTES, tf.cast(tf.gather(codes, spans.values), tf.int32))
    return tf.strings.reduce_join(spans.with_values(chars), axis=-1)
