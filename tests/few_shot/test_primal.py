"""Newton's method finds what liblinear finds."""

import numpy as np
import pytest

from kerasner.few_shot.primal import fit_linear

svm = pytest.importorskip("sklearn.svm")


def samples(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Clouds that overlap, with a column of ones."""
    rng = np.random.default_rng(seed)
    positive = rng.random(3000) < 0.2
    features = rng.normal(size=(3000, 12)) + 0.7 * positive[:, None]
    features[:, -1] = 1
    return features.astype(np.float32), positive


def of_liblinear(features, positive, C, weights=None) -> np.ndarray:
    machine = svm.LinearSVC(C=C, dual=False, fit_intercept=False, tol=1e-8)
    return machine.fit(features, positive, sample_weight=weights).coef_[0]


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_weights_are_those_of_liblinear(C):
    features, positive = samples()
    found = fit_linear(features, positive, np.full(len(positive), C))
    np.testing.assert_allclose(found, of_liblinear(features, positive, C), rtol=0, atol=2e-3)


def test_costs_of_single_samples():
    features, positive = samples()
    costs = np.random.default_rng(1).choice([0.0, 0.5, 4.0], size=len(positive))
    kept = costs > 0
    expected = of_liblinear(features[kept], positive[kept], 1.0, costs[kept])
    np.testing.assert_allclose(fit_linear(features, positive, costs), expected, rtol=0, atol=2e-3)


def test_where_it_starts_does_not_matter():
    features, positive = samples()
    costs = np.ones(len(positive))
    found = fit_linear(features, positive, costs)
    for start in (found, 10 * np.ones(12), -3 * found):
        again = fit_linear(features, positive, costs, start)
        np.testing.assert_allclose(again, found, rtol=0, atol=2e-3)


def test_samples_that_a_plane_parts():
    features = np.float32([[2, 1], [3, 1], [-2, 1], [-3, 1]])
    positive = np.array([True, True, False, False])
    margins = features @ fit_linear(features, positive, np.full(4, 1e4))
    assert np.abs(margins[[0, 2]]) == pytest.approx(1.0, abs=1e-3)
