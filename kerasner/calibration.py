"""Scores that mean what they say: a temperature fitted to sentences not learnt from."""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kerasner import linear_chain
from kerasner.components import Ner
from kerasner.components.ner import TEMPERATURES
from kerasner.data import pipeline
from kerasner.errors import ConfigError, DataError
from kerasner.layers import unpack
from kerasner.network import TaggingNetwork
from kerasner.tagger import Tagger

_LOG = logging.getLogger(__name__)
_PRECISION = 1e-3  # of the logarithm of the temperature
_GOLDEN = (math.sqrt(5) - 1) / 2


def calibrate(tagger: Tagger, samples: Sequence[tuple[Any, Sequence[str]]]) -> float:
    """Fits the temperature of a trained tagger to sentences and sets it.

    Networks are too sure of themselves: they were trained until they knew the training part by
    heart. Dividing all potentials by a temperature above 1 makes their probabilities, those of
    tokens and of entities, those of being right. The tags stay the same. Training does it
    on its own where there is a part valid.

    Args:
        tagger: trained, with the component `ner`. Changed in place, so that `save` and `export`
            keep the temperature.
        samples: (inputs, tags) pairs as of `Tagger.evaluate`, with tags of the scheme that was
            learnt; not those that were trained on.

    Returns:
        The temperature: that of the highest likelihood of the tags.

    Raises:
        kerasner.errors.DataError: no sentences, or tags that the model does not know.

    Example:

    ```python
    ner = build_model("my_ner.json")
    calibrate(ner, read_conll("conll2003/valid.txt"))
    ner.save("my_model")
    ```

    References:
        Guo, Pleiss, Sun, Weinberger (2017): On calibration of modern neural networks.
    """
    chainer = tagger.chainer
    if not isinstance(chainer.main, Ner):
        raise ConfigError("expected a model of 'ner'; the scores of 'ner_svm' have no temperature")
    known = set(tagger.tags)
    unknown = sorted({tag for _, tags in samples for tag in tags} - known)
    if not samples or unknown:
        received = f"the unknown tags {unknown}" if samples else "none"
        raise DataError(f"expected sentences with the tags {sorted(known)}, received {received}")
    sentences, tags = zip(*samples, strict=True)
    encoded = pipeline.encoded(
        sentences, tags, chainer.encode, chainer.tag_vocab, len(chainer.inputs)
    )
    temperature = fitted_temperature(tagger.model, pipeline.evaluation_batches(encoded))
    set_temperature(tagger, temperature)
    return temperature


def set_temperature(tagger: Tagger, temperature: float) -> None:
    """Gives a tagger with the component `ner` a temperature, its configuration included."""
    chainer = tagger.config["chainer"]
    pipe = [
        {**entry, "temperature": temperature} if entry.get("class_name") == "ner" else entry
        for entry in chainer["pipe"]
    ]
    tagger.config = {**tagger.config, "chainer": {**chainer, "pipe": pipe}}
    tagger.chainer.main.temperature = tagger.model.temperature = temperature
    vars(tagger).pop("graph", None)  # it was traced with another one


def fitted_temperature(network: TaggingNetwork, batches: tf.data.Dataset) -> float:
    """The temperature at which a network finds the right tags of sentences the most probable.

    Sentences whose tags the scheme of the network forbids do not count. A few sentences, or such as
    are all tagged right, say little: a prior keeps the temperature near 1 there.

    Args:
        network: trained.
        batches: (inputs, tag ids int [B, T]) as of `kerasner.data.pipeline.evaluation_batches`.

    Returns:
        0.1 to 10, three digits after the point.
    """

    @tf.function(reduce_retracing=True)
    def potentials(inputs):
        return unpack(network(inputs, training=False))

    @tf.function(reduce_retracing=True)
    def log_likelihood(potentials, tags, temperature):
        found = potentials.tempered(temperature).log_likelihood(tags)
        return tf.reduce_sum(tf.where(found > linear_chain.RULED_OUT, found, 0.0))

    cached = [(potentials(inputs), tags) for inputs, tags in batches]

    def cost(logarithm: float) -> float:
        temperature = tf.constant(math.exp(logarithm), tf.float32)
        likelihood = sum(float(log_likelihood(*batch, temperature)) for batch in cached)
        return logarithm**2 / 2 - likelihood

    temperature = round(math.exp(_lowest(cost, *map(math.log, TEMPERATURES))), 3)
    _LOG.info("Temperature of the scores: %.3f", temperature)
    return temperature


def expected_calibration_error(
    scores: Sequence[float] | np.ndarray, correct: Sequence[bool] | np.ndarray, bins: int = 15
) -> float:
    """How far scores are from the share of what is right among those of about that score.

    Scores are put into bins of equal width; of each bin the difference between the mean score and
    the share that is right counts as much as it has scores.

    Args:
        scores: [N], 0 to 1.
        correct: [N], whether what has that score is right.
        bins: their number.

    Returns:
        0 to 1; 0 where there are no scores.

    Example: `expected_calibration_error([0.9, 0.9], [True, False])` is 0.4.

    References:
        Naeini, Cooper, Hauskrecht (2015): Obtaining well calibrated probabilities using Bayesian
        binning.
    """
    scores = np.asarray(scores, np.float64)
    bin_of = np.minimum((scores * bins).astype(np.intp), bins - 1)
    surplus = np.bincount(bin_of, scores - np.asarray(correct, np.float64))
    return float(np.abs(surplus).sum() / max(len(scores), 1))


def _lowest(cost: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that falls and then rises is lowest (golden section)."""
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = cost(left), cost(right)
    while high - low > _PRECISION:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = cost(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = cost(right)
    return (low + high) / 2
