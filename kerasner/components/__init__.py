"""The components that a configuration may name, under DeepPavlov's class names."""

from kerasner.components.embedders import Glove
from kerasner.components.ner import Ner
from kerasner.components.text import TextSplitter
from kerasner.components.vocabulary import SimpleVocab

__all__ = ["Glove", "Ner", "SimpleVocab", "TextSplitter"]
