"""Support vector machines in TensorFlow's ops: the same margins as scikit-learn's."""

import keras
import numpy as np
import pytest

from kerasner.few_shot import SupportVectorMachines

svm = pytest.importorskip("sklearn.svm")


def samples(n_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping clouds of points."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(n_classes, size=80)
    points = rng.normal(size=(80, 5)) + rng.normal(size=(n_classes, 5))[classes]
    return points.astype(np.float32), classes


def layer_of(machines, kernel: str, gamma: float) -> SupportVectorMachines:
    """scikit-learn's machines in one layer, their support vectors one after another."""
    vectors = np.concatenate([machine.support_vectors_ for machine in machines])
    coefficients, row = np.zeros((len(vectors), len(machines))), 0
    for column, machine in enumerate(machines):
        weights = machine.dual_coef_[0]
        coefficients[row : row + len(weights), column] = weights
        row += len(weights)
    layer = SupportVectorMachines(len(machines), len(vectors), kernel, gamma)
    layer.build((None, vectors.shape[1]))
    given = {"intercepts": [machine.intercept_[0] for machine in machines]}
    if kernel == "linear":
        layer.set(coefficients=vectors.T @ coefficients, **given)
    else:
        layer.set(vectors=vectors, coefficients=coefficients, **given)
    layer.set(scale=np.full(len(machines), 2.0), offset=np.arange(len(machines)) + 0.5)
    return layer


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_margins_are_those_of_scikit_learn(kernel, n_classes):
    points, classes = samples(n_classes)
    tags = [1] if n_classes == 2 else range(n_classes)
    machines = [svm.SVC(C=3.0, kernel=kernel, gamma=0.2).fit(points, classes == t) for t in tags]
    layer = layer_of(machines, kernel, 0.2)
    new = np.random.default_rng(1).normal(size=(40, 5)).astype(np.float32)
    expected = np.stack([machine.decision_function(new) for machine in machines], axis=-1)
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(layer.margins(new), expected, rtol=0, atol=1e-5)
    in_rows = np.asarray(layer(new.reshape(4, 10, 5))).reshape(40, -1)
    log_odds = 2 * expected + np.arange(len(machines)) + 0.5
    np.testing.assert_allclose(in_rows, log_odds, rtol=0, atol=2e-5)


def test_gamma_by_the_number_of_features_and_without_vectors():
    layer = SupportVectorMachines(machines=1, vectors=0)
    layer.build((None, 4))
    assert layer.rate == 0.25
    layer.set(intercepts=[3.0], scale=[2.0], offset=[1.0])
    np.testing.assert_allclose(layer(np.ones((2, 3, 4), np.float32)), np.full((2, 3, 1), 7.0))


def test_config_and_weights():
    layer = layer_of([svm.SVC(gamma=0.3).fit(*samples(2))], "rbf", 0.3)
    config = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(config)
    if not again.built:  # Keras 3 has done it
        again.build((None, 5))
    again.set_weights(layer.get_weights())
    points, _ = samples(2, seed=5)
    np.testing.assert_array_equal(again(points), layer(points))
    assert not layer.trainable_weights and len(layer.weights) == 5


def test_an_unknown_kernel():
    with pytest.raises(ValueError, match="kernel='poly'; expected one of"):
        SupportVectorMachines(1, kernel="poly")
