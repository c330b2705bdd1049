"""Support vector machines over the tokens of sentences, exact or with an approximated kernel."""

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from kerasner.few_shot.primal import fit_linear

_LOG = logging.getLogger(__name__)
EXACT_TOKENS = 5_000
LANDMARKS = 1_000
_AT_ONCE = 2_048  # tokens whose kernel is computed together
_JITTER = 1e-3  # among the landmarks are tokens that are alike


class Machine(NamedTuple):
    """A decision function: weights as its maker has them, an intercept."""

    weights: np.ndarray
    intercept: float


class Maker(Protocol):
    """Makes machines that learn from some of the tokens.

    Attributes:
        vectors: [S, D], in whose terms `coefficients` are.
    """

    vectors: np.ndarray

    def fit(self, positive: np.ndarray, train: np.ndarray, start: Machine | None = None) -> Machine:
        """Flags bool [N] of the class, numbers of the tokens to learn from, a machine alike."""

    def margins(self, machine: Machine, numbers: np.ndarray) -> np.ndarray:
        """The decision function of some tokens."""

    def coefficients(self, weights: np.ndarray) -> np.ndarray:
        """Weights of machines [..., M] -> those of the vectors, [S, M]."""


def maker(
    sentences: Sequence[np.ndarray],
    classes: np.ndarray,
    kernel: str,
    gamma: float,
    C: float,
    class_weight: str | None,
    seed: int,
) -> Maker:
    """What fits the number of tokens: exact machines, or linear ones over an approximated kernel.

    Args:
        sentences: features of the tokens of each, float32 [T, D], of N tokens in all.
        classes: their tags, int [N].
        kernel, gamma: of `SupportVectorMachines`.
        C, class_weight, seed: of `fitting.SvmSettings`.
    """
    n_tokens, width = len(classes), sentences[0].shape[1]
    if n_tokens <= EXACT_TOKENS:
        return _Exact(np.concatenate(sentences), kernel, gamma, C, class_weight)
    if kernel == "linear":
        _LOG.info("%d tokens: fitting linear machines directly", n_tokens)
        features = _with_ones(n_tokens, width)
        for there, rows in _blocks(sentences):
            features[there, :-1] = rows
        identity = np.eye(width, dtype=np.float32)
        return _Linear(features, identity, identity, C, class_weight)
    _LOG.info(
        "%d tokens, more than %d: approximating the kernel on %d of them",
        n_tokens,
        EXACT_TOKENS,
        LANDMARKS,
    )
    chosen = _landmarks(classes, seed)
    landmarks = np.concatenate([rows[chosen[there]] for there, rows in _blocks(sentences)])
    gram = _rbf(landmarks, landmarks, gamma) + _JITTER * np.eye(len(landmarks))
    root = np.linalg.inv(np.linalg.cholesky(gram)).T  # gram = inverse of root @ root.T
    features = _with_ones(n_tokens, len(landmarks))
    for there, rows in _blocks(sentences):
        features[there, :-1] = _rbf(rows, landmarks, gamma) @ root
    return _Linear(features, landmarks, root, C, class_weight)


def _blocks(sentences: Sequence[np.ndarray]) -> Iterator[tuple[slice, np.ndarray]]:
    """All tokens, some at a time, for together they would take their room twice."""
    first, waiting = 0, []
    for place, rows in enumerate(sentences):
        waiting.append(rows)
        count = sum(map(len, waiting))
        if count >= _AT_ONCE or place == len(sentences) - 1:
            yield slice(first, first + count), np.concatenate(waiting)
            first, waiting = first + count, []


def _rbf(rows: np.ndarray, columns: np.ndarray, gamma: float) -> np.ndarray:
    rows, columns = rows.astype(np.float64), columns.astype(np.float64)
    distances = (rows**2).sum(1)[:, None] + (columns**2).sum(1) - 2 * rows @ columns.T
    return np.exp(-gamma * np.maximum(distances, 0))


def _with_ones(n_tokens: int, width: int) -> np.ndarray:
    """Room for features, the last of which makes the intercept."""
    return np.ones((n_tokens, width + 1), np.float32)


def _landmarks(classes: np.ndarray, seed: int) -> np.ndarray:
    """Some of the tokens, of rare classes before those of frequent ones: bool [N]."""
    rng = np.random.default_rng(seed)
    chosen: list[np.ndarray] = []
    labels, counts = np.unique(classes, return_counts=True)
    for place, label in enumerate(labels[np.argsort(counts)]):
        share = (LANDMARKS - sum(map(len, chosen))) // (len(labels) - place)
        chosen.append(rng.permutation(np.flatnonzero(classes == label))[:share])
    is_chosen = np.zeros(len(classes), bool)
    is_chosen[np.concatenate(chosen)] = True
    return is_chosen


class _Exact:
    """Machines whose kernel is known between all tokens; weights are of these, [N]."""

    def __init__(
        self, features: np.ndarray, kernel: str, gamma: float, C: float, class_weight: str | None
    ):
        self.vectors = features
        self._C, self._class_weight = C, class_weight
        if kernel == "linear":
            rows = features.astype(np.float64)
            self._gram = rows @ rows.T
        else:
            self._gram = _rbf(features, features, gamma)

    def fit(self, positive: np.ndarray, train: np.ndarray, start: Machine | None = None) -> Machine:
        from sklearn.svm import SVC

        machine = SVC(C=self._C, kernel="precomputed", class_weight=self._class_weight)
        machine.fit(self._gram[np.ix_(train, train)], positive[train])
        weights = np.zeros(len(self.vectors))
        weights[train[machine.support_]] = machine.dual_coef_[0]
        return Machine(weights, float(machine.intercept_[0]))

    def margins(self, machine: Machine, numbers: np.ndarray) -> np.ndarray:
        support = np.flatnonzero(machine.weights)
        gram = self._gram[np.ix_(numbers, support)]
        return gram @ machine.weights[support] + machine.intercept

    def coefficients(self, weights: np.ndarray) -> np.ndarray:
        return weights


class _Linear:
    """Linear machines over features that stand for a kernel; weights are of the features, [F].

    Args:
        features: of all tokens, and ones, [N, F + 1].
        vectors: [S, D], of which the features are made.
        root: [S, F], from weights of features to weights of vectors.
    """

    def __init__(
        self,
        features: np.ndarray,
        vectors: np.ndarray,
        root: np.ndarray,
        C: float,
        class_weight: str | None,
    ):
        self.vectors = vectors
        self._features, self._root = features, root
        self._C, self._class_weight = C, class_weight

    def fit(self, positive: np.ndarray, train: np.ndarray, start: Machine | None = None) -> Machine:
        costs = np.zeros(len(positive))
        costs[train] = self._C
        if self._class_weight == "balanced":
            n_positive = positive[train].sum()
            counts = np.where(positive, n_positive, len(train) - n_positive)
            costs *= len(train) / (2 * counts)
        first = None if start is None else np.append(start.weights, start.intercept)
        weights = fit_linear(self._features, positive, costs, first)
        return Machine(weights[:-1], float(weights[-1]))

    def margins(self, machine: Machine, numbers: np.ndarray) -> np.ndarray:
        weights = np.append(machine.weights, machine.intercept).astype(np.float32)
        return self._features[numbers] @ weights

    def coefficients(self, weights: np.ndarray) -> np.ndarray:
        return self._root @ weights
