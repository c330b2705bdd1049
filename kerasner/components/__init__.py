"""The components that a configuration may name, under DeepPavlov's class names."""

from kerasner.components.converters import BioConverter, OneHotter
from kerasner.components.embedders import FastText, Glove, Navec
from kerasner.components.language_model import LanguageModelEmbedder
from kerasner.components.lexicon import Lexicon
from kerasner.components.matrices import EmbMatAssembler, RandomEmbMat
from kerasner.components.ner import Ner
from kerasner.components.ner_svm import NerSvm
from kerasner.components.text import CapitalizationFeaturizer, Mask, TextSplitter
from kerasner.components.vocabulary import SimpleVocab

# The trained components, one of which every pipe ends in, by class_name.
MAIN = {"ner": Ner, "ner_svm": NerSvm}

__all__ = [
    "MAIN",
    "BioConverter",
    "CapitalizationFeaturizer",
    "EmbMatAssembler",
    "FastText",
    "Glove",
    "LanguageModelEmbedder",
    "Lexicon",
    "Mask",
    "Navec",
    "Ner",
    "NerSvm",
    "OneHotter",
    "RandomEmbMat",
    "SimpleVocab",
    "TextSplitter",
]
