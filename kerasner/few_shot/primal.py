"""Linear support vector machines over dense features, by Newton's method.

liblinear, which scikit-learn's `LinearSVC` calls, copies dense features into lists of (number,
value), four times their size in float32. Here they stay as they are, most of the work is matrix
products, and a machine can start from one that has seen almost the same samples.
"""

import numpy as np

_AT_ONCE = 2_048  # samples gathered together
_STEPS = 50  # as a rule there are about ten
_TOLERANCE = 1e-6  # of the loss, relative


def fit_linear(
    features: np.ndarray, positive: np.ndarray, costs: np.ndarray, start: np.ndarray | None = None
) -> np.ndarray:
    """Weights that minimise |w|^2 / 2 + sum_i costs[i] * max(0, 1 - y_i * features[i] @ w)^2.

    This is the loss of `LinearSVC`. A column of ones among the features makes the intercept, which
    then counts in |w| as it does there.

    Args:
        features: float32 [N, F].
        positive: bool [N], whether y is 1 or -1.
        costs: float [N]; samples of cost 0 are not learnt from.
        start: weights to start from, [F].

    Returns:
        float64 [F].

    References:
        Keerthi, DeCoste (2005): A modified finite Newton method for fast solution of large scale
        linear SVMs.
        Chapelle (2007): Training a support vector machine in the primal.
    """
    signs = np.where(positive, 1.0, -1.0)
    weights = np.zeros(features.shape[1]) if start is None else start

    def margins(weights: np.ndarray) -> np.ndarray:
        return signs * (features @ weights.astype(np.float32))

    def loss(weights: np.ndarray, margins: np.ndarray) -> float:
        return weights @ weights / 2 + costs @ np.maximum(1 - margins, 0) ** 2

    reached = margins(weights)
    value = loss(weights, reached)
    for _ in range(_STEPS):
        missing = np.where(costs > 0, np.maximum(1 - reached, 0), 0)
        active = np.flatnonzero(missing)
        gradient = weights - 2 * (features.T @ _single(signs * costs * missing))
        step = -np.linalg.solve(_hessian(features, costs, active), gradient)
        along = margins(step)
        size = 1.0
        while (new := loss(weights + size * step, reached + size * along)) > value and size > 1e-6:
            size /= 2
        if new >= value:
            break
        weights, reached = weights + size * step, reached + size * along
        gain, value = value - new, new
        if gain < _TOLERANCE * value:
            break
    return weights


def _hessian(features: np.ndarray, costs: np.ndarray, active: np.ndarray) -> np.ndarray:
    hessian = np.eye(features.shape[1])
    for first in range(0, len(active), _AT_ONCE):
        numbers = active[first : first + _AT_ONCE]
        rows = features[numbers] * _single(np.sqrt(2 * costs[numbers]))[:, None]
        hessian += rows.T @ rows
    return hessian


def _single(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)
