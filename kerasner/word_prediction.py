"""Learning to predict the words of raw text from both sides of their place."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np
import tensorflow as tf

from kerasner.config import check_number
from kerasner.data.pipeline import prefetched
from kerasner.data.text import Corpus, Splitter, read_texts
from kerasner.errors import ConfigError, DataError
from kerasner.parts import PARTS, learn_by_parts

_LOG = logging.getLogger(__name__)
_TYPES_AT_ONCE = 10_000
_WARM_UP = 200  # batches


class Settings(NamedTuple):
    """How it is learnt.

    Attributes:
        epochs: passes over the text.
        batch_tokens: tokens a batch, padding included.
        learning_rate: of Adam; it falls to 0 in a straight line.
        samples: words drawn a batch, from which the right one is to be told.
        min_count: words that occur less often are read but not predicted.
        held_out: sentences for the perplexity, and of no other use.
        max_tokens: longer sentences are cut.
        seed: of all that is drawn.
    """

    epochs: int = 3
    batch_tokens: int = 2500
    learning_rate: float = 2e-3
    samples: int = 2048
    min_count: int = 3
    held_out: int = 1000
    max_tokens: int = 80
    seed: int = 1


class Predictor(Protocol):
    """What learns: a Keras layer with these. Vectors of tokens are its own affair.

    The log-probability of a word at a place is the product of the word's type and the place's
    expectation, plus a bias of the word and the log of its frequency.
    """

    compute_dtype: str

    def __call__(self, vectors: tf.Tensor, mask: tf.Tensor, training: bool) -> tf.Tensor:
        """Vectors [B, T, E] -> expectations [B, T, K]; a place's does not know its own token."""

    def types(self, vectors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Vectors [N, E] -> types [N, K] and biases [N]."""


class Vectors(Protocol):
    """What a predictor reads of words."""

    def __call__(self, numbers: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Numbers of words, int [...] -> their vectors, float [..., E]."""


class Text(NamedTuple):
    """Sentences, some of them held out.

    Attributes:
        corpus: all of them.
        learnt, held_out: numbers of sentences.
    """

    corpus: Corpus
    learnt: np.ndarray
    held_out: np.ndarray


def check(texts: Sequence[str | Path], settings: Settings) -> None:
    """What can be told before anything is read.

    Raises:
        ConfigError: a setting is out of its range.
        DataError: a text is not there.
    """
    if isinstance(texts, (str, Path)):
        raise ConfigError(f"texts: expected a list of files and folders, received {texts!r}")
    for path in texts:
        if not Path(path).exists():
            raise DataError(f"{path}: expected a file of text, or a folder; there is none")
    for name in ("epochs", "batch_tokens", "samples", "min_count", "held_out", "max_tokens"):
        check_number(name, getattr(settings, name), 1, whole=True)
    check_number("learning_rate", settings.learning_rate, 1e-9)


def read(
    texts: Sequence[str | Path],
    splitter: Splitter,
    settings: Settings,
    rng: np.random.Generator,
) -> Text:
    """Sentences of files and folders, see `kerasner.data.text.read_texts`; rng holds some out.

    Raises:
        DataError: a file cannot be read, or there is too little text.
    """
    corpus = Corpus.of(read_texts(texts, splitter), settings.max_tokens)
    count = len(corpus.splits) - 1
    _LOG.info("%d tokens, %d sentences", len(corpus.tokens), count)
    if count < settings.held_out + PARTS:
        raise DataError(
            f"expected at least {PARTS} sentences more than held_out {settings.held_out}, which "
            f"are measured with; found {count}"
        )
    if max(corpus.counts) < settings.min_count:
        raise DataError(
            f"no word occurs min_count = {settings.min_count} times: there is nothing to predict"
        )
    shuffled = rng.permutation(count)
    return Text(corpus, shuffled[settings.held_out :], shuffled[: settings.held_out])


class Learner(keras.Model):
    """A predictor with its loss, over numbers of words [B, T], padded with -1.

    Words are told from words drawn by frequency (sampled softmax), without which each step would
    cost as much as the vocabulary is large.

    Args:
        predictor: built.
        vectors: of words.
        counts: how often each word occurs, in falling order.
        settings: how it learns.
    """

    def __init__(
        self,
        predictor: Predictor,
        vectors: Vectors,
        counts: np.ndarray,
        settings: Settings,
    ) -> None:
        super().__init__(name="learner")
        self.predictor, self.vectors = predictor, vectors
        self.n_words = int(np.sum(counts >= settings.min_count))
        self._samples = min(settings.samples, self.n_words)
        share = counts[: self.n_words] / counts[: self.n_words].sum()
        self._log_share = tf.constant(np.log(share), tf.float32)
        self.expected = tf.function(
            self.expectations, input_signature=[tf.TensorSpec([None, None], tf.int32)]
        )

    def expectations(self, numbers: tf.Tensor, training: bool = False) -> tf.Tensor:
        vectors = self.vectors(tf.maximum(numbers, 0), training=training)
        return self.predictor(vectors, mask=numbers >= 0, training=training)

    def _types(self, numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        types, bias = self.predictor.types(self.vectors(numbers))
        return types, bias + tf.gather(self._log_share, numbers)

    def call(self, numbers, training=None):
        is_known = (numbers >= 0) & (numbers < self.n_words)
        expected = tf.boolean_mask(self.expectations(numbers, training=bool(training)), is_known)
        right = tf.boolean_mask(numbers, is_known)
        # Words are sorted by frequency, as this sampler takes for granted.
        drawn, of_right, of_drawn = tf.random.log_uniform_candidate_sampler(
            tf.cast(right, tf.int64)[:, None], 1, self._samples, True, self.n_words
        )
        drawn = tf.cast(drawn, tf.int32)
        distinct, place = tf.unique(right)
        types, bias = self._types(tf.concat([distinct, drawn], 0))
        count = tf.size(distinct)
        of_types = tf.reduce_sum(expected * tf.gather(types, place), axis=-1)
        right_logit = of_types + tf.gather(bias, place) - tf.math.log(of_right[:, 0])
        product = self.predictor.compute_dtype
        logits = tf.matmul(
            tf.cast(expected, product), tf.cast(types[count:], product), transpose_b=True
        )
        logits = tf.cast(logits, tf.float32) + bias[count:] - tf.math.log(of_drawn)
        logits = tf.where(drawn == right[:, None], -1e9, logits)  # drawn, but right
        logits = tf.concat([right_logit[:, None], logits], axis=1)
        losses = tf.reduce_logsumexp(logits, axis=1) - right_logit
        # There may be no known word in a batch.
        n_known = tf.cast(tf.size(right), tf.float32)
        self.add_loss(tf.math.divide_no_nan(tf.reduce_sum(losses), n_known))
        return expected

    def perplexity(self, corpus: Corpus, sentences: np.ndarray, rng: np.random.Generator) -> float:
        """Of the words of sentences, each given all others of its sentence."""
        blocks = np.array_split(np.arange(self.n_words), -(-self.n_words // _TYPES_AT_ONCE))
        made = [self._types(tf.constant(block, tf.int32)) for block in blocks]
        types, bias = (tf.concat(parts, 0) for parts in zip(*made, strict=True))
        total, count = 0.0, 0
        for batch in corpus.batches(sentences, 4000, rng):
            is_known = (batch >= 0) & (batch < self.n_words)
            expected = self.expected(batch).numpy()[is_known]
            logits = tf.matmul(expected, types, transpose_b=True) + bias
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch[is_known], logits)
            total, count = total + float(tf.reduce_sum(losses)), count + len(expected)
        return float(np.exp(total / max(count, 1)))

    def measured(self, text: Text, settings: Settings) -> dict[str, float]:
        """What a run came to.

        Returns:
            "perplexity" of the words of sentences held out, as far as they occur often enough to be
            predicted, given both sides, exact over all such words; "unigram_perplexity", the same
            by their frequency in all sentences alone; "words" that are predicted; "tokens" of the
            text; "epochs".
        """
        corpus = text.corpus
        perplexity = self.perplexity(corpus, text.held_out, np.random.default_rng(settings.seed))
        bounds = zip(corpus.splits[text.held_out], corpus.splits[text.held_out + 1], strict=True)
        held_out = np.concatenate([corpus.tokens[start:end] for start, end in bounds])
        shares = tf.gather(self._log_share, held_out[held_out < self.n_words])
        by_frequency = np.exp(-shares.numpy().mean()) if len(shares) else 1.0
        return {
            "perplexity": round(perplexity, 2),
            "unigram_perplexity": round(float(by_frequency), 2),
            "words": self.n_words,
            "tokens": len(corpus.tokens),
            "epochs": settings.epochs,
        }


def fit(learner: Learner, text: Text, settings: Settings, state: Path, content: Any) -> None:
    """Trains by parts of an epoch, from the part where a run that was stopped had come to.

    Args:
        learner: with fresh weights.
        text: to learn from.
        settings: how.
        state: folder of what a stopped run needs to go on.
        content: all else that tells one run from another, to be written as JSON.
    """
    tokens = int(np.diff(text.corpus.splits)[text.learnt].sum())
    n_batches = -(-tokens // settings.batch_tokens)  # an epoch, about
    rate = _Triangle(settings.learning_rate, _WARM_UP, settings.epochs * n_batches)
    # XLA, which Keras may turn on where there is a GPU, knows no strings.
    learner.compile(keras.optimizers.Adam(rate, clipnorm=1.0), jit_compile=False)
    example = np.zeros([1, 3], np.int32)
    learner(tf.constant(example), training=False)
    learner.optimizer.build(learner.trainable_variables)

    def learn(batches: Sequence[np.ndarray]) -> str:
        dataset = tf.data.Dataset.from_generator(
            lambda: batches, output_signature=tf.TensorSpec([None, None], tf.int32)
        )
        counted = dataset.apply(tf.data.experimental.assert_cardinality(len(batches)))
        history = learner.fit(prefetched(counted), epochs=1, shuffle=False, verbose=0)
        return f"loss {history.history['loss'][-1]:.4f}"

    learn_by_parts(
        learn,
        text.corpus,
        text.learnt,
        settings,
        state,
        content,
        model=learner.predictor,
        optimizer=learner.optimizer,
    )


@keras.saving.register_keras_serializable("kerasner")
class _Triangle(keras.optimizers.schedules.LearningRateSchedule):
    """Rises from 0 in `up` steps, then falls in a straight line, to 0 after `steps`."""

    def __init__(self, rate: float, up: int, steps: int):
        self._rate, self._up, self._steps = rate, min(up, steps / 2), steps

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        left = tf.maximum(1.0 - step / self._steps, 0.01)
        return self._rate * tf.minimum((step + 1) / self._up, 1.0) * left

    def get_config(self) -> dict[str, Any]:
        return {"rate": self._rate, "up": self._up, "steps": self._steps}
