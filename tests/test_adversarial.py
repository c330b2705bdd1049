"""Adversarial training steps of the tagging network."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasner.layers import CharCNN, unpack
from kerasner.losses import CRFLoss
from kerasner.metrics import EntityF1
from kerasner.network import NerNetwork

TAGS = ["O", "B-PER", "I-PER"]
SIZE = 0.05


def network(**settings):
    keras.utils.set_random_seed(1)
    embedding = keras.layers.Embedding(9, 4)
    chars = CharCNN(3, 3, char_dim=2, vocabulary_size=7)
    settings = {"n_hidden_list": [5], "dropout": 0.0, "adversarial": SIZE, **settings}
    return NerNetwork(TAGS, embedding, chars, **settings)


def samples():
    rng = np.random.default_rng(0)
    lengths = np.array([4, 2, 5])
    words = rng.integers(1, 9, (3, 5)) * (np.arange(5) < lengths[:, None])
    chars = rng.integers(1, 7, (3, 5, 3)) * (words != 0)[..., None]
    inputs = {"words": words.astype("int32"), "chars": chars.astype("int32")}
    return inputs, rng.integers(0, 3, (3, 5)).astype("int32")


def loss_of(model, features, inputs, tags):
    output = model.tag_potentials(features, tf.constant(inputs["words"] != 0), training=True)
    return tf.reduce_mean(-unpack(output).log_likelihood(tags))


def test_a_step_follows_the_mean_of_both_losses():
    inputs, tags = samples()
    model = network()
    model.compile(keras.optimizers.SGD(0.1), CRFLoss())
    model(inputs)
    variables = model.trainable_variables
    before = [variable.numpy() for variable in variables]

    with tf.GradientTape() as tape:
        features = model.token_features(inputs)
        loss = loss_of(model, features, inputs, tags)
    direction = tape.gradient(loss, features).numpy()
    seen = features.numpy() * (inputs["words"] != 0)[..., None]
    norms = [np.linalg.norm(x.reshape(3, -1), axis=1)[:, None, None] for x in (seen, direction)]
    change = SIZE * norms[0] * direction / norms[1]
    with tf.GradientTape() as tape:
        features = model.token_features(inputs)
        moved = loss_of(model, features + change, inputs, tags)
        mean = (loss_of(model, features, inputs, tags) + moved) / 2
    gradients = [tf.convert_to_tensor(g).numpy() for g in tape.gradient(mean, variables)]

    logs = model.fit(inputs, tags, batch_size=3, verbose=0).history
    for variable, old, gradient in zip(variables, before, gradients, strict=True):
        np.testing.assert_allclose(variable.numpy(), old - 0.1 * gradient, atol=1e-6)
    assert moved > loss + 0.01, "the change is one for the worse"
    assert logs["loss"] == [pytest.approx(float(loss), rel=1e-5)]


def test_sample_weights_count_in_both_passes():
    inputs, tags = samples()
    model = network()
    model.compile(keras.optimizers.SGD(0.1), CRFLoss())
    model(inputs)
    before = model.get_weights()
    model.fit(inputs, tags, sample_weight=np.zeros(3), batch_size=3, verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_weight_penalty_counts_once():
    inputs, tags = samples()
    model = network(l2_reg=0.5)
    model.compile(keras.optimizers.SGD(0.1), CRFLoss())
    model(inputs)
    kernel = model.crf.kernel
    before = kernel.numpy()
    model.fit(inputs, tags, sample_weight=np.zeros(3), batch_size=3, verbose=0)
    np.testing.assert_allclose(kernel.numpy(), before * (1 - 0.1 * 0.5), rtol=1e-5)


def test_without_a_size_a_step_is_that_of_keras():
    inputs, tags = samples()
    changed = []
    for size in (0.0, 1e-9):
        model = network(adversarial=size)
        model.compile(keras.optimizers.SGD(0.1), CRFLoss())
        model.fit(inputs, tags, batch_size=3, verbose=0)
        changed.append(model.get_weights())
    for plain, adversarial in zip(*changed, strict=True):
        np.testing.assert_allclose(plain, adversarial, atol=1e-6)


KINDS = {
    "lstm": {},
    "gru": {"cell_type": "gru", "use_crf": False},
    "cnn": {"net_type": "cnn", "use_batch_norm": True, "two_dense_on_top": True},
}


@pytest.mark.parametrize(
    ("kind", "policy"), [("lstm", "mixed_float16"), ("gru", "float32"), ("cnn", "float32")]
)
def test_learns(kind, policy):
    inputs, tags = samples()
    old = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = network(dropout=0.1, **KINDS[kind])
        model.compile(
            keras.optimizers.Adam(0.02, global_clipnorm=5.0), CRFLoss(), metrics=[EntityF1(TAGS)]
        )
        batches = tf.data.Dataset.from_tensors((inputs, tags)).repeat(60)
        history = model.fit(batches, epochs=2, shuffle=False, verbose=0).history
    finally:
        keras.mixed_precision.set_global_policy(old)
    assert history["loss"][-1] < history["loss"][0] / 2
    assert history["f1"][-1] > 0.9


def with_loss_scale(optimizer, initial_scale):
    return keras.mixed_precision.LossScaleOptimizer(optimizer, initial_scale=initial_scale)


def test_a_loss_that_is_scaled_changes_nothing():
    inputs, tags = samples()
    changed = []
    for optimizer in (
        keras.optimizers.SGD(0.1),
        with_loss_scale(keras.optimizers.SGD(0.1), 2.0**10),
    ):
        model = network()
        model.compile(optimizer, CRFLoss())
        model.fit(inputs, tags, batch_size=3, verbose=0)
        changed.append(model.get_weights())
    for plain, scaled in zip(*changed, strict=True):
        np.testing.assert_allclose(plain, scaled, rtol=1e-4, atol=1e-6)


def test_a_scale_that_is_too_large_spoils_nothing():
    """The step is skipped; batch normalization must not have seen what is not finite."""
    inputs, tags = samples()
    old = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = network(net_type="cnn", use_batch_norm=True)
        model.compile(with_loss_scale(keras.optimizers.SGD(0.1), 2.0**40), CRFLoss())
        model(inputs)
        before = model.get_weights()
        model.fit(inputs, tags, batch_size=3, verbose=0)
    finally:
        keras.mixed_precision.set_global_policy(old)
    moved = 0
    for variable, value in zip(model.weights, before, strict=True):
        assert np.isfinite(variable.numpy()).all()
        moved += not np.array_equal(variable.numpy(), value)
    assert moved == 2  # moving mean and variance


def test_weights_of_losses_count():
    inputs, tags = samples()
    changed = []
    for size in (0.0, 1e-9):
        model = network(adversarial=size)
        model.compile(keras.optimizers.SGD(0.1), [CRFLoss()], loss_weights=[2.0])
        model.fit(inputs, tags, batch_size=3, verbose=0)
        changed.append(model.get_weights())
    for plain, adversarial in zip(*changed, strict=True):
        np.testing.assert_allclose(plain, adversarial, atol=1e-6)


def test_an_unbuilt_model_can_be_saved_after_training(tmp_path):
    inputs, tags = samples()
    model = network()
    model.compile("adam", CRFLoss())
    model.fit(inputs, tags, batch_size=3, verbose=0)
    model.save(tmp_path / "model.keras")
    model.export(str(tmp_path / "exported"))
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config()["adversarial"] == SIZE
    np.testing.assert_allclose(loaded(inputs), model(inputs), atol=1e-6)


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="adversarial=-0.1; expected at least 0"):
        network(adversarial=-0.1)
