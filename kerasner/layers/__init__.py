"""Keras layers for tagging text; each works by itself in any Keras model."""

from kerasner.layers.capitalization import Capitalization
from kerasner.layers.char_cnn import CharCNN
from kerasner.layers.char_splitter import CharSplitter
from kerasner.layers.crf import CRF, Potentials, unpack
from kerasner.layers.lowercase import Lowercase
from kerasner.layers.lstm import LSTM
from kerasner.layers.product_quantized_embedding import ProductQuantizedEmbedding
from kerasner.layers.quantized_embedding import QuantizedEmbedding
from kerasner.layers.sanitizer import Sanitizer
from kerasner.layers.sentence_splitter import SentenceSplitter
from kerasner.layers.tokenizer import Tokenizer

__all__ = [
    "CRF",
    "LSTM",
    "Capitalization",
    "CharCNN",
    "CharSplitter",
    "Lowercase",
    "Potentials",
    "ProductQuantizedEmbedding",
    "QuantizedEmbedding",
    "Sanitizer",
    "SentenceSplitter",
    "Tokenizer",
    "unpack",
]
