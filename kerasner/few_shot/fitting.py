"""Fitting support vector machines to tagged sentences with scikit-learn."""

import logging
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from kerasner.errors import ConfigError, DataError
from kerasner.few_shot.network import SvmNetwork

_LOG = logging.getLogger(__name__)
EXACT_TOKENS = 5_000
LANDMARKS = 1_000
_FOLDS = 5
_AT_ONCE = 4_096  # tokens whose kernel is computed together
_JITTER = 1e-3  # among the landmarks are tokens that are alike
_UNKNOWN_SCALE = 2.0  # of margins that cannot be measured


class SvmSettings(NamedTuple):
    """How the machines are fitted.

    Attributes:
        C: weight of the errors against that of the margin.
        class_weight: None, or "balanced": each class counts the same however rare it is.
        threshold: probability above which a token gets a tag other than O.
        seed: of what is drawn.
    """

    C: float = 1.0
    class_weight: str | None = None
    threshold: float = 0.5
    seed: int = 42


class _Machine(NamedTuple):
    """A decision function: weights [S] of vectors, an intercept, its values at held-out rows."""

    weights: np.ndarray
    intercept: float
    margins: np.ndarray


class _Fitter(Protocol):
    """Fits machines to some of the tokens, the vectors [S, D] being the same for all."""

    vectors: np.ndarray

    def fit(self, positive: np.ndarray, train: np.ndarray, held_out: np.ndarray) -> _Machine:
        """Flags bool [N] of the class; numbers of the tokens to learn from and to measure."""


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

    Margins become probabilities by Platt's method, on sentences that a machine has not seen. Up
    to 5,000 tokens the machines are exact. Beyond, they are linear, an "rbf" kernel being
    approximated on 1,000 tokens (Nyström's method): then time and memory grow as the tokens do.

    Args:
        network: built, of the same settings, with any number of support vectors.
        sentences: features of the tokens of each in context, float32 [T, D].
        tags: ids of their tags, int [T].
        settings: how.

    Returns:
        A new network over the word vectors of `network`.

    Raises:
        DataError: all tokens have one and the same tag.

    References:
        Platt (1999): Probabilistic outputs for support vector machines.
        Williams, Seeger (2001): Using the Nyström method to speed up kernel machines.
    """
    names = network.tags
    classes = np.concatenate([np.zeros(0, np.intp), *(np.asarray(row, np.intp) for row in tags)])
    check_classes(names, classes, len(tags))
    sentence_of = np.repeat(np.arange(len(tags)), [len(row) for row in tags])
    sentence_of = np.unique(sentence_of, return_inverse=True)[1]  # of those that have tokens
    fitter = _fitter(np.concatenate(sentences), classes, network, settings)
    everything = np.arange(len(classes))
    machines, scales, offsets = [], [], []
    for tag in network.machine_tags:
        positive = classes == tag
        if not positive.any():
            _LOG.warning("no token of the training part has the tag %r", names[tag])
            machines.append(_Machine(np.zeros(len(fitter.vectors)), 0.0, everything[:0]))
            scale, offset = 0.0, -math.log(2 * len(classes))
        else:
            machines.append(fitter.fit(positive, everything, everything[:0]))
            scale, offset = _platt(fitter, positive, sentence_of)
        scales.append(scale)
        is_entity = names[tag] != "O"
        offsets.append(offset + is_entity * math.log(1 / settings.threshold - 1))
    coefficients = np.stack([machine.weights for machine in machines], axis=1)
    weights: dict[str, Any] = {
        "intercepts": [machine.intercept for machine in machines],
        "scale": scales,
        "offset": offsets,
    }
    used = np.flatnonzero(coefficients.any(axis=1))
    vectors, coefficients = fitter.vectors[used], coefficients[used]
    if network.svm.kernel == "rbf":
        result = network.with_vectors(len(used))
        result.svm.set(vectors=vectors, coefficients=coefficients, **weights)
    else:
        result = network.with_vectors(0)
        result.svm.set(coefficients=vectors.T @ coefficients, **weights)
    return result


def check_classes(names: Sequence[str], classes: np.ndarray, n_sentences: int) -> None:
    """Raises DataError where there is nothing to tell apart."""
    found = np.unique(classes)
    if len(found) < 2:
        listed = names[found[0]] if len(found) else "none"
        raise DataError(
            f"the train part ({n_sentences} sentences, {len(classes)} tokens) has one tag alone, "
            f"{listed!r}; expected sentences with an entity among it, and tokens outside of any"
        )


def _fitter(
    features: np.ndarray, classes: np.ndarray, network: SvmNetwork, settings: SvmSettings
) -> _Fitter:
    kernel, gamma = network.svm.kernel, network.svm.rate
    if len(features) <= EXACT_TOKENS:
        return _Exact(features.astype(np.float64), kernel, gamma, settings)
    if kernel == "linear":
        _LOG.info("%d tokens: fitting linear machines directly", len(features))
        return _Linear(features, np.eye(features.shape[1]), np.eye(features.shape[1]), settings)
    _LOG.info(
        "%d tokens, more than %d: approximating the kernel on %d of them",
        len(features),
        EXACT_TOKENS,
        LANDMARKS,
    )
    landmarks = features[_landmarks(classes, settings.seed)].astype(np.float64)
    gram = _rbf(landmarks, landmarks, gamma) + _JITTER * np.eye(len(landmarks))
    root = np.linalg.inv(np.linalg.cholesky(gram)).T  # gram = inverse of root @ root.T
    blocks = [
        _rbf(features[start : start + _AT_ONCE].astype(np.float64), landmarks, gamma) @ root
        for start in range(0, len(features), _AT_ONCE)
    ]
    return _Linear(np.concatenate(blocks), landmarks, root, settings)


def _rbf(rows: np.ndarray, columns: np.ndarray, gamma: float) -> np.ndarray:
    distances = (rows**2).sum(1)[:, None] + (columns**2).sum(1) - 2 * rows @ columns.T
    return np.exp(-gamma * np.maximum(distances, 0))


def _landmarks(classes: np.ndarray, seed: int) -> np.ndarray:
    """Numbers of tokens, of rare classes before those of frequent ones."""
    rng = np.random.default_rng(seed)
    chosen: list[np.ndarray] = []
    labels, counts = np.unique(classes, return_counts=True)
    for place, label in enumerate(labels[np.argsort(counts)]):
        share = (LANDMARKS - sum(map(len, chosen))) // (len(labels) - place)
        chosen.append(rng.permutation(np.flatnonzero(classes == label))[:share])
    return np.sort(np.concatenate(chosen))


class _Exact:
    """Machines whose kernel is known between all tokens."""

    def __init__(self, features: np.ndarray, kernel: str, gamma: float, settings: SvmSettings):
        self.vectors = features
        self._settings = settings
        is_linear = kernel == "linear"
        self._gram = features @ features.T if is_linear else _rbf(features, features, gamma)

    def fit(self, positive: np.ndarray, train: np.ndarray, held_out: np.ndarray) -> _Machine:
        from sklearn.svm import SVC

        machine = SVC(
            C=self._settings.C, kernel="precomputed", class_weight=self._settings.class_weight
        )
        machine.fit(self._gram[np.ix_(train, train)], positive[train])
        support = train[machine.support_]
        weights = np.zeros(len(self.vectors))
        weights[support] = machine.dual_coef_[0]
        intercept = float(machine.intercept_[0])
        margins = self._gram[np.ix_(held_out, support)] @ weights[support] + intercept
        return _Machine(weights, intercept, margins)


class _Linear:
    """Linear machines over features that stand for a kernel.

    Args:
        features: of all tokens [N, F].
        vectors: [S, D], of which the features are made.
        root: [S, F], from weights of features to weights of vectors.
    """

    def __init__(
        self, features: np.ndarray, vectors: np.ndarray, root: np.ndarray, settings: SvmSettings
    ):
        self.vectors = vectors
        self._features, self._root, self._settings = features, root, settings

    def fit(self, positive: np.ndarray, train: np.ndarray, held_out: np.ndarray) -> _Machine:
        from sklearn.svm import LinearSVC

        machine = LinearSVC(
            C=self._settings.C, dual=False, class_weight=self._settings.class_weight
        )
        machine.fit(self._features[train], positive[train])
        weights, intercept = machine.coef_[0], float(machine.intercept_[0])
        margins = self._features[held_out] @ weights + intercept
        return _Machine(self._root @ weights, intercept, margins)


def _platt(fitter: _Fitter, positive: np.ndarray, sentence_of: np.ndarray) -> tuple[float, float]:
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
        margins[held_out] = fitter.fit(positive, train, held_out).margins
    odds = LogisticRegression(C=10.0).fit(margins[:, None], positive)
    if odds.coef_[0, 0] <= 0:
        _LOG.warning("sentences held out are tagged by chance; scores are guesses")
        return _UNKNOWN_SCALE, 0.0
    return float(odds.coef_[0, 0]), float(odds.intercept_[0])
