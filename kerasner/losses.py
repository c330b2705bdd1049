"""Losses for tagging."""

import keras
import tensorflow as tf

from kerasner.layers.crf import unpack


@keras.saving.register_keras_serializable("kerasner")
class CRFLoss(keras.losses.Loss):
    """Negative log-likelihood of the tags under a `kerasner.layers.CRF`.

    One value a sentence: the sum over its tokens, as in Lafferty et al. (2001). A sample weight is
    one number a sentence.

    Call arguments:
        y_true: tag ids [B, T]; what stands at masked steps does not matter.
        y_pred: output of the `CRF` layer, [B, N + T, N + 1].

    Example: `model.compile("adam", kerasner.losses.CRFLoss())`
    """

    def __init__(self, name: str = "crf_loss", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        return -unpack(tf.convert_to_tensor(y_pred)).log_likelihood(tf.cast(y_true, tf.int32))
