"""Readers of tagged corpora and the iterators over their parts."""

from kerasner.data.conll import Conll2003Reader, read_conll
from kerasner.data.dstc2 import Dstc2NerIterator, Dstc2Reader
from kerasner.data.few_shot import NerFewShotIterator
from kerasner.data.iterator import DataLearningIterator
from kerasner.data.mentions import with_other_mentions

__all__ = [
    "Conll2003Reader",
    "DataLearningIterator",
    "Dstc2NerIterator",
    "Dstc2Reader",
    "NerFewShotIterator",
    "read_conll",
    "with_other_mentions",
]
