"""Readers of tagged corpora and the iterator over their parts."""

from kerasner.data.conll import Conll2003Reader, read_conll
from kerasner.data.iterator import DataLearningIterator

__all__ = ["Conll2003Reader", "DataLearningIterator", "read_conll"]
