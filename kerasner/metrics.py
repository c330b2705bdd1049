"""Metrics for tagging."""

import keras
import tensorflow as tf

from kerasner.chunks import ChunkFinder
from kerasner.layers.crf import unpack


@keras.saving.register_keras_serializable("kerasner")
class EntityF1(keras.metrics.Metric):
    """Micro-averaged F1 of whole entities, counted as the conlleval script counts them.

    An entity is right if its span and its label are. Sentence borders end entities.

    Args:
        tags: names of the tags in the order of their ids.
        scheme: "bio", "iob1", "bioes" or "io", see `kerasner.schemes`.

    Call arguments:
        y_true: tag ids [B, T].
        y_pred: output of a `kerasner.layers.CRF` [B, N + T, N + 1], or tag scores [B, T, N] where
            ids of `y_true` below 0 mark padding.

    Returns:
        Scalar between 0 and 1; 0 where there are no entities.

    References:
        Tjong Kim Sang, De Meulder (2003): Introduction to the CoNLL-2003 shared task.
    """

    def __init__(self, tags: list[str], scheme: str = "bio", name: str = "f1", **kwargs):
        super().__init__(name=name, **kwargs)
        self.tags = list(tags)
        self.scheme = scheme
        self._finder = ChunkFinder(self.tags, scheme)
        self._counts = self.add_weight(name="counts", shape=(3,), initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true = tf.cast(y_true, tf.int32)
        y_pred = tf.convert_to_tensor(y_pred)
        n_tags = len(self.tags)
        if y_pred.shape[-1] == n_tags:
            predicted, mask = tf.argmax(y_pred, -1, output_type=tf.int32), y_true >= 0
        elif y_pred.shape[-1] == n_tags + 1:
            potentials = unpack(y_pred)
            predicted, mask = potentials.decode(), potentials.mask
        else:
            raise ValueError(
                f"EntityF1 of {n_tags} tags takes predictions of {n_tags} columns (scores) or "
                f"{n_tags + 1} (output of a CRF); received shape {y_pred.shape}"
            )
        gold = self._finder(y_true, mask)
        found = self._finder(predicted, mask)
        right = (gold > 0) & (gold == found)
        counts = [tf.math.count_nonzero(x, dtype=tf.float32) for x in (right, gold, found)]
        self._counts.assign_add(tf.stack(counts))

    def result(self):
        counts = tf.convert_to_tensor(self._counts)
        return tf.math.divide_no_nan(2.0 * counts[0], counts[1] + counts[2])

    def reset_state(self):
        self._counts.assign(tf.zeros_like(tf.convert_to_tensor(self._counts)))

    def get_config(self):
        return {**super().get_config(), "tags": self.tags, "scheme": self.scheme}
