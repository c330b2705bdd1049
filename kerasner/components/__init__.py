"""The components that a configuration may name, under DeepPavlov's class names."""

from kerasner.components.converters import BioConverter, OneHotter
from kerasner.components.embedders import FastText, Glove, Navec
from kerasner.components.matrices import EmbMatAssembler, RandomEmbMat
from kerasner.components.ner import Ner
from kerasner.components.text import CapitalizationFeaturizer, Mask, TextSplitter
from kerasner.components.vocabulary import SimpleVocab

__all__ = [
    "BioConverter",
    "CapitalizationFeaturizer",
    "EmbMatAssembler",
    "FastText",
    "Glove",
    "Mask",
    "Navec",
    "Ner",
    "OneHotter",
    "RandomEmbMat",
    "SimpleVocab",
    "TextSplitter",
]
