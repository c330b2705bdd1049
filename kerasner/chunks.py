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
        scheme: "bio", "iob1" or "bioes".
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

    def boundaries(self, tags: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Tag ids int32 [B, T], mask bool [B, T] padded at the end -> is_start, is_end, label.

        Returns:
            bool [B, T], bool [B, T] and label numbers int32 [B, T], 0 outside entities.
        """
        tags = tf.where(mask, tags, 0)
        label = tf.where(mask, tf.gather(self._label, tags), 0)
        opens = tf.gather(self._opens, tags)
        closes = tf.gather(self._closes, tags)
        before = tf.pad(label, [[0, 0], [1, 0]])[:, :-1]
        closed = tf.pad(closes, [[0, 0], [1, 0]])[:, :-1]
        is_start = (label > 0) & (opens | closed | (label != before))
        next_start = tf.pad(is_start, [[0, 0], [0, 1]])[:, 1:]
        next_label = tf.pad(label, [[0, 0], [0, 1]])[:, 1:]
        is_end = (label > 0) & (next_start | (next_label != label))
        return is_start, is_end, label

    def __call__(self, tags: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Tag ids and mask [B, T] -> int64 [B, T]: at each start a code of label and length.

        Two taggings share an entity where their codes are equal and not 0.
        """
        is_start, is_end, label = self.boundaries(tags, mask)
        # Entities do not overlap: the k-th start and the k-th end are those of one entity.
        starts, ends = tf.where(is_start), tf.where(is_end)
        length = ends[:, 1] - starts[:, 1] + 1
        codes = length * (len(self.labels) + 1) + tf.cast(tf.gather_nd(label, starts), tf.int64)
        return tf.scatter_nd(starts, codes, tf.shape(tags, out_type=tf.int64))
