"""Adversarial training: a training step on features as they are and on features made harder."""

from typing import Any

import keras
import tensorflow as tf

from kerasner import _compat

_TINY = 1e-30  # keeps a gradient of zeros from being divided by zero


def adversarial_step(model: Any, data: Any, size: float) -> dict[str, tf.Tensor]:
    """One training step of a `NerNetwork` against the worst small change of the features.

    The features of each sentence are moved by `size` times their norm in the direction in which
    its loss grows fastest. The weights follow the mean of both losses, that of the features as
    they are and that of the moved ones. The direction comes with the gradients of the former, so
    that a step costs two passes of the layers above the features. Dropout of these layers is drawn
    anew for each pass; what is drawn for the features themselves, of words and characters, is the
    same. Batch normalization takes the statistics of both passes. Losses that layers add for the
    features (activity regularizers) are counted, but not learnt from.

    Args:
        model: compiled.
        data: a batch as `fit` gives it: (inputs, tag ids) or (inputs, tag ids, sample weights),
            the inputs a dict.
        size: norm of the change, as a part of the norm of a sentence's features.

    Returns:
        What `train_step` returns; loss and metrics are those of the features as they are.

    References:
        Goodfellow, Shlens, Szegedy (2015): Explaining and harnessing adversarial examples.
        Miyato, Dai, Goodfellow (2017): Adversarial training methods for semi-supervised text
        classification.
        Bekoulis et al. (2018): Adversarial training for multi-context joint entity and relation
        extraction.
    """
    inputs, tags, sample_weights = keras.utils.unpack_x_y_sample_weight(data)
    if not model.built:
        model(inputs)
    mask = model.token_mask(inputs)
    variables = model.trainable_variables

    def backpropagated(features):
        """Output, loss, and gradients of half of it for the variables and for the features."""
        with tf.GradientTape() as tape:
            tape.watch(features)
            output = model.tag_potentials(features, mask, training=True)
            loss = model.compute_loss(inputs, tags, output, sample_weights)
            scaled = _compat.scaled_loss(model.optimizer, loss / 2)
        *gradients, for_features = tape.gradient(scaled, [*variables, features])
        return output, loss, gradients, for_features

    with tf.GradientTape() as tape:
        features = model.token_features(inputs, training=True)
    output, loss, gradients, for_features = backpropagated(features)
    _compat.count_loss(model, loss, tf.shape(tags)[0])
    moved = features + _change(features, for_features, mask, size)
    with _compat.uncounted_losses(model):
        _, _, gradients_moved, for_moved = backpropagated(moved)
    below = tape.gradient(features, variables, output_gradients=for_features + for_moved)
    summed = [_sum(parts) for parts in zip(gradients, gradients_moved, below, strict=True)]
    _compat.apply_scaled_gradients(model.optimizer, summed, variables)
    return model.compute_metrics(inputs, tags, output, sample_weights)


def _change(features: tf.Tensor, gradient: tf.Tensor, mask: tf.Tensor, size: float) -> tf.Tensor:
    """What is added to features [B, T, D], given the gradient of the loss for them."""
    tokens = tf.cast(features, tf.float32) * tf.cast(mask, tf.float32)[..., None]
    gradient = tf.cast(gradient, tf.float32)
    change = size * _norms(tokens) / tf.maximum(_norms(gradient), _TINY) * gradient
    # Of a loss that was scaled too much; the step will be skipped, statistics would stay.
    change = tf.where(tf.math.is_finite(change), change, 0.0)
    return tf.cast(change, features.dtype)


def _norms(sentences: tf.Tensor) -> tf.Tensor:
    """[B, T, D] -> [B, 1, 1]."""
    return tf.norm(sentences, axis=[1, 2], keepdims=True)


def _sum(gradients: tuple) -> Any:
    known = [gradient for gradient in gradients if gradient is not None]
    if len(known) < 2:
        return known[0] if known else None
    return tf.add_n([tf.convert_to_tensor(gradient) for gradient in known])
