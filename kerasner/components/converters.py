"""Components that change the form of what others put out."""

import tensorflow as tf

from kerasner.components._checks import check_flags
from kerasner.config import check_number
from kerasner.errors import ConfigError
from kerasner.registry import register


@register("one_hotter")
class OneHotter:
    """Ids to one-hot vectors: int [N] -> float32 [N, depth].

    Args:
        depth: number of ids; an id outside of them gives zeros.
        pad_zeros: no effect: sentences are always padded with zeros.
        single_vector: not supported: it adds up the vectors of a sentence, and the network wants
            one for each token.
    """

    def __init__(self, depth: int, pad_zeros: bool = False, single_vector: bool = False):
        check_number("one_hotter: depth", depth, 1, whole=True)
        check_flags("one_hotter", pad_zeros=pad_zeros, single_vector=single_vector)
        if pad_zeros and single_vector:
            raise ConfigError("one_hotter: pad_zeros and single_vector exclude each other")
        if single_vector:
            raise ConfigError(
                "one_hotter: single_vector: one vector a sentence is of no use to a tagger; "
                "expected false"
            )
        self.depth = depth

    def __call__(self, ids: tf.Tensor) -> tf.Tensor:
        return tf.one_hot(ids, self.depth)


@register("ner_bio_converter")
class BioConverter:
    """Marks the place where tags without prefixes become B- and I-.

    One tag alone does not tell: a tag gets I- where the token before has the same one. So tags
    pass here; with or without this component the tagger puts out BIO, since sentences are known
    there.
    """

    def __call__(self, tags: tf.Tensor) -> tf.Tensor:
        return tags
