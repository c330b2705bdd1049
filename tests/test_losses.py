import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasner.layers import CRF, unpack
from kerasner.losses import CRFLoss

LENGTHS = [3, 1, 0]


def packed(n_tags=3, scale=0.0):
    """Output of a CRF layer for rows of the lengths above, padded to 4 steps."""
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(3, 4, n_tags)) * scale
    mask = np.arange(4) < np.array(LENGTHS)[:, None]
    steps = np.concatenate([steps, mask[..., None]], -1)
    chain = np.pad(rng.normal(size=(n_tags, n_tags)) * scale, [[0, 0], [0, 1]])
    return tf.constant(np.concatenate([np.tile(chain, (3, 1, 1)), steps], 1), tf.float32)


def test_of_equal_potentials_is_the_log_of_the_number_of_paths():
    loss = CRFLoss(reduction="none")(np.zeros([3, 4]), packed())
    np.testing.assert_allclose(loss, np.log(3) * np.array(LENGTHS), rtol=1e-6)


def test_is_the_mean_of_the_negative_log_likelihoods():
    outputs = packed(scale=1.0)
    tags = np.array([[0, 2, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    likelihoods = unpack(outputs).log_likelihood(tags).numpy()
    assert likelihoods[0] < 0 and likelihoods[1] < 0 and likelihoods[2] == 0
    np.testing.assert_allclose(CRFLoss()(tags, outputs), -likelihoods.mean(), rtol=1e-6)
    weighted = CRFLoss()(tags, outputs, sample_weight=np.array([0.0, 3.0, 1.0]))
    np.testing.assert_allclose(weighted, -likelihoods[1], rtol=1e-6)


def test_tags_at_masked_steps_do_not_matter():
    outputs = packed(scale=1.0)
    tags = np.array([[0, 2, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    garbage = np.array([[0, 2, 1, -1], [1, 99, -7, 3], [5, -1, 8, 9]])
    assert CRFLoss()(tags, outputs) == CRFLoss()(garbage, outputs)


@pytest.mark.parametrize("tag", [-1, 3])
def test_an_unknown_tag_is_an_error_that_says_what_is_expected(tag):
    with pytest.raises(tf.errors.InvalidArgumentError, match="from 0 to 2"):
        CRFLoss()(np.array([[0, tag, 0, 0], [0] * 4, [0] * 4]), packed())


@pytest.mark.parametrize("weights", [None, np.array([1.0, 0.0, 2.0], "float32")])
def test_compiled_with_a_model(weights):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input([None, 5]), CRF(3)])
    model.compile(keras.optimizers.SGD(0.1), CRFLoss())
    x = np.random.default_rng(0).normal(size=(3, 4, 5)).astype("float32")
    y = np.random.default_rng(1).integers(0, 3, size=(3, 4))
    losses = -unpack(model(x)).log_likelihood(y).numpy()
    expected = losses.mean() if weights is None else (losses * weights).sum() / 3
    history = model.fit(x, y, sample_weight=weights, epochs=3, verbose=0).history["loss"]
    np.testing.assert_allclose(history[0], expected, rtol=1e-5)
    assert history[2] < history[1] < history[0]


def test_survives_serialization():
    loss = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(CRFLoss()))
    assert isinstance(loss, CRFLoss)
    assert loss.name == "crf_loss"
