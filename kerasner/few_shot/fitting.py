"""Fitting support vector machines to tagged sentences with scikit-learn."""

import logging
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kerasner.errors import ConfigError, DataError
from kerasner.few_shot.kernels import Machine, Maker, maker
from kerasner.few_shot.network import SvmNetwork
from kerasner.schemes import split_tag

_LOG = logging.getLogger(__name__)
_FOLDS = 5
_UNKNOWN_SCALE = 2.0  # of margins that cannot be measured


class SvmSettings(NamedTuple):
    """How the machines are fitted.

    Attributes:
        C: weight of the errors against that of the margin.
        class_weight: None, or "balanced": each class counts the same however rare it is.
        threshold: probability above which a token gets a tag other than O.
        seed: of what is drawn.
        transitions: how much the tag before counts, where the network has a CRF layer.
    """

    C: float = 1.0
    class_weight: str | None = None
    threshold: float = 0.5
    seed: int = 42
    transitions: float = 0.25


def check_installed() -> None:
    """Raises ConfigError where scikit-learn is missing."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise ConfigError(
            "ner_svm is trained with scikit-learn, which is missing: pip install "
            "kerasner[few-shot] (a trained model does without)"
        ) from None


def fitted(
    network: SvmNetwork,
    sentences: Sequence[np.ndarray],
    tags: Sequence[np.ndarray],
    settings: SvmSettings,
) -> SvmNetwork:
    """A network with machines fitted to sentences.

    Where the network has a CRF layer, its transitions are what neighbouring tags of the sentences
    tell of each other. Margins become probabilities by Platt's method, on sentences that a machine
    has not seen. Up to 5,000 tokens the machines are exact. Beyond, they are linear, an "rbf"
    kernel being approximated on 1,000 tokens (Nyström's method): then time and memory grow as the
    tokens do.

    Args:
        network: built, of the same settings, with any number of support vectors.
        sentences: features of the tokens of each in context, float32 [T, D].
        tags: ids of their tags, int [T].
        settings: how.

    Returns:
        A new network over the word vectors of `network`.

    Raises:
        DataError: all tokens are O, or of one type.

    References:
        Platt (1999): Probabilistic outputs for support vector machines.
        Williams, Seeger (2001): Using the Nyström method to speed up kernel machines.
    """
    names = network.tags
    classes = np.concatenate([np.zeros(0, np.intp), *(np.asarray(row, np.intp) for row in tags)])
    check_classes(names, network.scheme, classes, len(tags))
    sentence_of = np.repeat(np.arange(len(tags)), [len(row) for row in tags])
    sentence_of = np.unique(sentence_of, return_inverse=True)[1]  # of those that have tokens
    makes = maker(
        sentences,
        classes,
        network.svm.kernel,
        network.svm.rate,
        settings.C,
        settings.class_weight,
        settings.seed,
    )
    everything = np.arange(len(classes))
    machines: list[Machine | None] = []
    scales, offsets = [], []
    for tag in network.machine_tags:
        positive = classes == tag
        if not positive.any():
            _LOG.warning("no token of the training part has the tag %r", names[tag])
            machines.append(None)
            scale, offset = 0.0, -math.log(2 * len(classes))
        else:
            machine = makes.fit(positive, everything)
            machines.append(machine)
            scale, offset = _platt(makes, machine, positive, sentence_of)
        scales.append(scale)
        is_entity = names[tag] != "O"
        offsets.append(offset + is_entity * math.log(1 / settings.threshold - 1))
    found = [machine for machine in machines if machine is not None]
    none = Machine(np.zeros_like(found[0].weights), 0.0)  # of a tag that is nowhere
    fitted_ones = [machine or none for machine in machines]
    coefficients = makes.coefficients(np.stack([one.weights for one in fitted_ones], axis=1))
    weights: dict[str, Any] = {
        "intercepts": [one.intercept for one in fitted_ones],
        "scale": scales,
        "offset": offsets,
    }
    used = np.flatnonzero(coefficients.any(axis=1))
    vectors, coefficients = makes.vectors[used], coefficients[used]
    if network.svm.kernel == "rbf":
        result = network.with_vectors(len(used))
        result.svm.set(vectors=vectors, coefficients=coefficients, **weights)
    else:
        result = network.with_vectors(0)
        result.svm.set(coefficients=vectors.T @ coefficients, **weights)
    if result.crf is not None:
        potentials = settings.transitions * transition_potentials(tags, len(names))
        result.crf.transitions.assign(potentials.astype(np.float32))
    return result


def check_classes(names: Sequence[str], scheme: str, classes: np.ndarray, n_sentences: int) -> None:
    """Raises DataError where there is nothing to tell apart: all tokens are O, or of one type."""
    found = [names[number] for number in np.unique(classes)]
    if len({split_tag(name, scheme)[1] for name in found}) < 2:
        listed = " and ".join(map(repr, found)) if found else "'none'"
        kind = "tags of one type" if len(found) > 1 else "one tag"
        raise DataError(
            f"the train part ({n_sentences} sentences, {len(classes)} tokens) has {kind} alone, "
            f"{listed}; expected sentences with an entity among it, and tokens outside of any"
        )


def transition_potentials(tags: Sequence[np.ndarray], n_tags: int) -> np.ndarray:
    """log(p(next tag | tag) / p(next tag)), with each pair counted once more than it is there.

    Machines know how likely a tag is by itself; divided by that, only what the tag before tells is
    added.

    Args:
        tags: ids of the tags of sentences, int [T] each.
        n_tags: number of tags, N.

    Returns:
        float64 [N, N].
    """
    counts = np.ones((n_tags, n_tags))
    for row in tags:
        np.add.at(counts, (row[:-1], row[1:]), 1)
    expected = counts.sum(1, keepdims=True) * counts.sum(0) / counts.sum()
    return np.log(counts / expected)


def _platt(
    makes: Maker, machine: Machine, positive: np.ndarray, sentence_of: np.ndarray
) -> tuple[float, float]:
    """Scale and offset that make log-odds of margins, of sentences not learnt from."""
    from sklearn.linear_model import LogisticRegression

    with_class = np.unique(sentence_of[positive])
    others = np.setdiff1d(sentence_of, with_class)
    folds = np.zeros(sentence_of.max() + 1, np.intp)
    folds[np.concatenate([with_class, others])] = np.arange(len(folds)) % _FOLDS
    fold_of = folds[sentence_of]
    margins = np.zeros(len(positive))
    for fold in np.unique(fold_of):
        train, held_out = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
        if len(np.unique(positive[train])) < 2:
            _LOG.warning("too few sentences to measure probabilities; scores are guesses")
            return _UNKNOWN_SCALE, 0.0
        margins[held_out] = makes.margins(makes.fit(positive, train, machine), held_out)
    odds = LogisticRegression(C=10.0).fit(margins[:, None], positive)
    if odds.coef_[0, 0] <= 0:
        _LOG.warning("sentences held out are tagged by chance; scores are guesses")
        return _UNKNOWN_SCALE, 0.0
    return float(odds.coef_[0, 0]), float(odds.intercept_[0])
