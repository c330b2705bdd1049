"""Trains the language model of few-shot tagging on raw text: python -m kerasner.pretraining.

    python -m kerasner.pretraining lm_ru TEXT... --vectors navec.tar --language ru

Texts are UTF-8 files, plain or compressed (.gz, .xz, .bz2), a paragraph or sentence a line; or
folders of tagged sentences in the format of CoNLL-2003, whose tokens of train.txt are read. A
run that was stopped goes on when the command is given again.
"""

import argparse
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kerasner import _commands, storage
from kerasner.components import TextSplitter, language_model
from kerasner.components.language_model import LanguageModelText
from kerasner.config import check_number, find_file
from kerasner.data.text import Corpus, read_texts
from kerasner.errors import DataError
from kerasner.few_shot.language_model import LanguageModel
from kerasner.product_vectors import k_means

_LOG = logging.getLogger(__name__)
_TYPES_AT_ONCE = 10_000
_WARM_UP = 200  # batches
_POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
_PARTS = 20  # of an epoch; the state is saved after each


class Settings(NamedTuple):
    """How a language model is trained.

    Attributes:
        epochs: passes over the text.
        batch_tokens: tokens a batch, padding included.
        learning_rate: of Adam; it falls to 0 in a straight line.
        samples: words drawn a batch, from which the right one is to be told.
        min_count: words that occur less often are read but not predicted.
        held_out: sentences for the perplexity, and of no other use.
        max_tokens: longer sentences are cut.
        policy: of Keras, for the large products; "mixed_bfloat16" is faster where processors have
            instructions for it.
        seed: of all that is drawn.
    """

    epochs: int = 3
    batch_tokens: int = 2500
    learning_rate: float = 2e-3
    samples: int = 2048
    min_count: int = 3
    held_out: int = 1000
    max_tokens: int = 80
    policy: str = "float32"
    seed: int = 1


def pretrain(
    texts: Sequence[str | Path],
    save_path: Path,
    text: LanguageModelText,
    splitter: TextSplitter,
    settings: Settings,
    **sizes: Any,
) -> dict[str, float]:
    """Trains a language model and writes it to a folder.

    Args:
        texts: files and folders, see above.
        save_path: folder of the model. Beside it lies the state of a run that was stopped.
        text: what makes ids of tokens, not fitted yet.
        splitter: from lines to sentences of tokens.
        settings: how.
        **sizes: of `LanguageModel`.

    Returns:
        What was measured: "perplexity" of held-out words that occur often enough to be predicted,
        given both sides, exact over all such words, of the model as it is saved; "words" predicted,
        "tokens" of the text, "epochs".
    """
    whole = ("epochs", "batch_tokens", "samples", "min_count", "held_out", "max_tokens")
    for name, value in [*((name, getattr(settings, name)) for name in whole), *sizes.items()]:
        check_number(name, value, 1, whole=True)
    check_number("learning_rate", settings.learning_rate, 1e-9)
    storage.check_writable(save_path.parent)
    storage.check_replaceable(save_path, f"{language_model.NAME}.json")
    corpus = Corpus.of(read_texts(texts, splitter), settings.max_tokens)
    _LOG.info("%d tokens, %d sentences", len(corpus.tokens), len(corpus.splits) - 1)
    if len(corpus.splits) - 1 < settings.held_out + _PARTS:
        raise DataError(
            f"expected at least {_PARTS} sentences more than the {settings.held_out} to be held "
            f"out, found {len(corpus.splits) - 1}"
        )
    if max(corpus.counts) < settings.min_count:
        raise DataError(
            f"no word occurs min_count = {settings.min_count} times: there is nothing to predict"
        )
    text.fit(tf.constant(np.repeat(np.array(corpus.words, object), corpus.counts)))
    keras.utils.set_random_seed(settings.seed)
    model = LanguageModel(text.embedder.embedding, text.n_endings, **sizes, dtype=settings.policy)
    learner = _Learner(model, text(tf.constant(corpus.words)), corpus.counts, settings)
    rng = np.random.default_rng(settings.seed)
    shuffled = rng.permutation(len(corpus.splits) - 1)
    held_out, learnt = shuffled[: settings.held_out], shuffled[settings.held_out :]
    state = save_path.with_name(f"{save_path.name}.training")
    sentences = hashlib.sha256(b"\n".join(corpus.words))
    for numbers in (corpus.tokens, corpus.splits):
        sentences.update(np.ascontiguousarray(numbers))
    content = [repr(text.settings), sizes, settings._asdict(), sentences.hexdigest()]
    _fit(learner, corpus, learnt, settings, state, content)
    learner.set_statistics(corpus, learnt[: 4 * settings.held_out], rng)
    with storage.replacing_folder(save_path) as beside:
        language_model.save(text, model, beside)
        # Measured as it is saved: with 8-bit weights.
        saved = language_model.load(beside)[1]
        learner = _Learner(saved, learner.ids, corpus.counts, settings)
        perplexity = learner.perplexity(corpus, held_out, rng)
        measured = {
            "perplexity": round(perplexity, 2),
            "words": learner.n_words,
            "tokens": len(corpus.tokens),
            "epochs": settings.epochs,
        }
        storage.write_json(beside / "measured.json", measured)
    shutil.rmtree(state, ignore_errors=True)
    return measured


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


class _Learner(keras.Model):
    """The language model with its loss, over numbers of words [B, T], padded with -1.

    Words are told from words drawn by frequency (sampled softmax), without which each step would
    cost as much as the vocabulary is large.
    """

    def __init__(
        self, model: LanguageModel, ids: tf.Tensor, counts: np.ndarray, settings: Settings
    ) -> None:
        super().__init__(name="learner")
        model.build()
        self.model, self.ids = model, ids
        self.n_words = int(np.sum(counts >= settings.min_count))
        self._samples = min(settings.samples, self.n_words)
        share = counts[: self.n_words] / counts[: self.n_words].sum()
        self._log_share = tf.constant(np.log(share), tf.float32)
        self._expectations = tf.function(
            self.expectations, input_signature=[tf.TensorSpec([None, None], tf.int32)]
        )

    def expectations(self, numbers: tf.Tensor, training: bool = False) -> tf.Tensor:
        mask = numbers >= 0
        ids = tf.where(mask[..., None], tf.gather(self.ids, tf.maximum(numbers, 0)), 0)
        vectors = self.model.token_vectors(ids, training=training)
        return self.model(vectors, mask=mask, training=training)

    def _types(self, numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        vectors = self.model.token_vectors(tf.gather(self.ids, numbers))
        types, bias = self.model.types(vectors)
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
        product = self.model.compute_dtype
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

    def set_statistics(
        self, corpus: Corpus, sentences: np.ndarray, rng: np.random.Generator
    ) -> None:
        """Sets means and clusters to those of sentences."""
        of_types, of_expectations = [], []
        for batch in corpus.batches(sentences, 4000, rng):
            is_token = batch >= 0
            of_expectations.append(self._expectations(batch).numpy()[is_token])
            vectors = self.model.token_vectors(tf.gather(self.ids, batch[is_token]))
            of_types.append(self.model.types(vectors)[0].numpy())
        points = []
        for name, values in (("mean_type", of_types), ("mean_expectation", of_expectations)):
            values = np.concatenate(values)
            mean = values.mean(axis=0)
            self.model.statistics[name].assign(mean)
            points.append(_unit(values - mean))
        found = k_means(_unit(sum(points)), self.model.settings["clusters"], rng)
        centroids = np.zeros(self.model.centroids.shape, np.float32)
        centroids[: len(found)] = _unit(found)
        self.model.centroids.assign(centroids)

    def perplexity(self, corpus: Corpus, sentences: np.ndarray, rng: np.random.Generator) -> float:
        """Of the words of sentences, each given all others of its sentence."""
        blocks = np.array_split(np.arange(self.n_words), -(-self.n_words // _TYPES_AT_ONCE))
        made = [self._types(tf.constant(block, tf.int32)) for block in blocks]
        types, bias = (tf.concat(parts, 0) for parts in zip(*made, strict=True))
        total, count = 0.0, 0
        for batch in corpus.batches(sentences, 4000, rng):
            is_known = (batch >= 0) & (batch < self.n_words)
            expected = self._expectations(batch).numpy()[is_known]
            logits = tf.matmul(expected, types, transpose_b=True) + bias
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch[is_known], logits)
            total, count = total + float(tf.reduce_sum(losses)), count + len(expected)
        return float(np.exp(total / max(count, 1)))


def _fit(
    learner: _Learner,
    corpus: Corpus,
    sentences: np.ndarray,
    settings: Settings,
    state: Path,
    content: Any,
) -> None:
    """Trains by parts of an epoch, from the part where a run that was stopped had come to."""
    n_parts = settings.epochs * _PARTS
    n_batches = _n_batches(corpus, sentences, settings)
    rate = _Triangle(settings.learning_rate, _WARM_UP, settings.epochs * n_batches)
    learner.compile(keras.optimizers.Adam(rate, clipnorm=1.0))
    example = np.zeros([1, 3], np.int32)
    learner(tf.constant(example), training=False)
    learner.optimizer.build(learner.trainable_variables)
    done = tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(model=learner.model, optimizer=learner.optimizer, done=done)
    digest = hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:12]
    manager = tf.train.CheckpointManager(checkpoint, state / digest, max_to_keep=1)
    if state.exists() and not (state / digest).exists():
        _LOG.info("%s is of a run with other settings or text: starting anew", state)
    if manager.restore_or_initialize():
        _LOG.info("going on after part %d of %d", int(done), n_parts)
    for part in range(int(done), n_parts):
        started = time.monotonic()
        rng = np.random.default_rng([settings.seed, part])
        # The same order for all parts of an epoch, of which each part takes its share.
        order = np.random.default_rng([settings.seed, part // _PARTS]).permutation(sentences)
        chosen = np.array_split(order, _PARTS)[part % _PARTS]
        batches = tf.data.Dataset.from_generator(
            lambda chosen=chosen, rng=rng: corpus.batches(chosen, settings.batch_tokens, rng),
            output_signature=tf.TensorSpec([None, None], tf.int32),
        )
        history = learner.fit(batches.prefetch(4), epochs=1, verbose=0)
        done.assign(part + 1)
        manager.save()
        n_tokens = int(np.diff(corpus.splits)[chosen].sum())
        _LOG.info(
            "part %d of %d: loss %.4f, %d tokens a second",
            part + 1,
            n_parts,
            history.history["loss"][-1],
            n_tokens / (time.monotonic() - started),
        )


def _n_batches(corpus: Corpus, sentences: np.ndarray, settings: Settings) -> int:
    """Batches of an epoch, about."""
    return -(-int(np.diff(corpus.splits)[sentences].sum()) // settings.batch_tokens)


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


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("kerasner.pretraining", description=__doc__.split(":")[0])
    parser.add_argument("folder", type=Path, help="where the language model is written")
    _commands.add_texts(parser)
    parser.add_argument("--vectors", required=True, help="file of word vectors")
    parser.add_argument("--format", default="navec", choices=["navec", "glove", "fasttext"])
    parser.add_argument("--keep", default="", help="characters whose diacritics stay, as in йЙ")
    parser.add_argument("--own-words", type=int, default=200, help="lacking_min_count of --format")
    parser.add_argument("--units", type=int, default=256, help="of the LSTM of each direction")
    parser.add_argument("--hidden", type=int, default=256, help="units of both dense networks")
    parser.add_argument("--dim", type=int, default=128, help="width of types and expectations")
    _commands.add_settings(parser, Settings, policy=_POLICIES)
    options = parser.parse_args(argv)
    splitter = _commands.splitter_of(parser, options)

    def work() -> dict[str, Any]:
        find_file(options.vectors, "--vectors")  # texts take long to read
        embedder = {
            "class_name": options.format,
            "load_path": options.vectors,
            "lacking_min_count": options.own_words,
        }
        return pretrain(
            options.texts,
            options.folder.absolute(),
            LanguageModelText(embedder, {"nums": True, "keep": options.keep}),
            splitter,
            _commands.settings_of(options, Settings),
            units=options.units,
            hidden=options.hidden,
            dim=options.dim,
        )

    return _commands.exit_code(work)


if __name__ == "__main__":
    _commands.run(main)
