"""Learning from raw text by parts: a run that was stopped goes on where it had come to."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from kerasner.data.text import Corpus

_LOG = logging.getLogger(__name__)
PARTS = 20  # of an epoch; the state is saved after each


class Settings(Protocol):
    """What a run is cut by, a named tuple.

    Attributes:
        epochs: passes over the text.
        batch_tokens: tokens a batch, padding included.
        seed: of the order of sentences.
    """

    epochs: int
    batch_tokens: int
    seed: int

    def _asdict(self) -> dict[str, Any]: ...


def learn_by_parts(
    learn: Callable[[Sequence[np.ndarray]], str],
    corpus: Corpus,
    sentences: np.ndarray,
    settings: Settings,
    state: Path,
    content: Any,
    **learnt: Any,
) -> None:
    """Goes through sentences `settings.epochs` times, each time in another order.

    Args:
        learn: called with the batches of each part, see `Corpus.batches`; it returns what is to be
            told of them.
        corpus, sentences: text, and numbers of its sentences to learn from.
        settings: how.
        state: folder of what a stopped run needs to go on.
        content: all else that tells one run from another, to be written as JSON.
        **learnt: what changes, as `tf.train.Checkpoint` takes it, with all its variables.
    """
    count = settings.epochs * PARTS
    done = tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(done=done, **learnt)
    run = json.dumps([content, settings._asdict(), _digest(corpus)], default=str)
    digest = hashlib.sha256(run.encode()).hexdigest()[:12]
    manager = tf.train.CheckpointManager(checkpoint, state / digest, max_to_keep=1)
    if state.exists() and not (state / digest).exists():
        _LOG.info("%s is of a run with other settings or text: starting anew", state)
    if manager.restore_or_initialize():
        _LOG.info("going on after part %d of %d", int(done), count)
    for part in range(int(done), count):
        started = time.monotonic()
        # The same order for all parts of an epoch, of which each part takes its share.
        order = np.random.default_rng([settings.seed, part // PARTS]).permutation(sentences)
        chosen = np.array_split(order, PARTS)[part % PARTS]
        rng = np.random.default_rng([settings.seed, part])
        try:
            told = learn(list(corpus.batches(chosen, settings.batch_tokens, rng)))
        except KeyboardInterrupt:
            _LOG.info("Stopped; the same command goes on after part %d of %d", part, count)
            raise
        done.assign(part + 1)
        manager.save()
        speed = np.diff(corpus.splits)[chosen].sum() / (time.monotonic() - started)
        _LOG.info("part %d of %d: %s, %d tokens a second", part + 1, count, told, speed)


def _digest(corpus: Corpus) -> str:
    digest = hashlib.sha256(b"\n".join(corpus.words))
    for numbers in (corpus.tokens, corpus.splits):
        digest.update(np.ascontiguousarray(numbers))
    return digest.hexdigest()
