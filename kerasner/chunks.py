"""Finding entities in tag ids, inside the graph."""

import numpy as np
import tensorflow as tf

from kerasner import schemes


class ChunkFinder:
    """Marks where the entities of a batch start, with their label and end.

    Works as conlleval does: an entity of label X starts at B-X or S-X, and at I-X or E-X where
    the tag before is not of label X or closes an entity (E-, S-); it ends where the next one
    starts or the label changes.

    Args:
        tags: names of the tags in the order of their ids.
        scheme: "bio", "iob1", "bioes" or "io", see `kerasner.schemes`.
    """

    def __init__(self, tags: list[str], scheme: str = "bio"):
        parts = [schemes.split_tag(tag, scheme) for tag in tags]
        self.labels = sorted({label for _, label in parts if label})
        # Label number 0 is "no entity".
        self._label = np.array(
            [self.labels.index(label) + 1 if label else 0 for _, label in parts], np.int32
        )
        self._opens = np.array([prefix in ("B", "S") for prefix, _ in parts])
        self._closes = np.array([prefix in ("E", "S") for prefix, _ in parts])

    def boundaries(self, tags: tf.Tensor, is_first: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Where entities start and end in a flat list of tags.

        Args:
            tags: ids int32 [N] of sentences one after another.
            is_first: bool [N], whether a sentence starts there.

        Returns:
            is_start bool [N], is_end bool [N], label numbers int32 [N], 0 outside entities.
        """
        label = tf.gather(self._label, tags)
        closed = is_first | _shift(tf.gather(self._closes, tags))
        is_start = tf.gather(self._opens, tags) | closed | (label != _shift(label))
        is_start &= label > 0
        breaks = tf.concat([(is_start | closed | (label != _shift(label)))[1:], [True]], 0)
        return is_start, (label > 0) & breaks[: tf.size(tags)], label

    def __call__(self, tags: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Tag ids int32 [B, T] and mask bool [B, T] -> int64 [M], M unmasked steps, row by row.

        A step where an entity starts gets a code of its label and length, others 0: two taggings
        share an entity where their codes are equal and not 0.
        """
        row = tf.cast(tf.where(mask)[:, 0], tf.int32)
        is_first = tf.concat([[True], row[1:] != row[:-1]], 0)[: tf.size(row)]
        is_start, is_end, label = self.boundaries(tf.boolean_mask(tags, mask), is_first)
        # Entities do not overlap: the k-th start and the k-th end are those of one entity.
        starts, ends = tf.where(is_start), tf.where(is_end)
        length = (ends - starts)[:, 0] + 1
        codes = length * (len(self.labels) + 1) + tf.cast(tf.gather_nd(label, starts), tf.int64)
        return tf.scatter_nd(starts, codes, tf.shape(label, out_type=tf.int64))


def _shift(values: tf.Tensor) -> tf.Tensor:
    """The value before each of a flat list, 0 or False before the first."""
    return tf.pad(values, [[1, 0]])[:-1]
