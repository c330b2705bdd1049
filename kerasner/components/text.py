"""Components of text: from raw text to tokens, and what is known of a token by itself."""

import tensorflow as tf

from kerasner.components._checks import check_flags
from kerasner.layers import (
    Capitalization,
    CharSplitter,
    Lowercase,
    Sanitizer,
    SentenceSplitter,
    Tokenizer,
)
from kerasner.registry import register

register("str_lower")(Lowercase)
register("sanitizer")(Sanitizer)
register("char_splitter")(CharSplitter)


@register("lazy_tokenizer")
class TextSplitter:
    """Raw text to sentences of tokens. Token lists pass as they are.

    Args:
        mode: of the `Tokenizer`: "treebank", "ontonotes", "unicode" or "whitespace".
        language: of the `SentenceSplitter`.
        max_sentence_tokens: longer sentences are cut.
    """

    def __init__(
        self, mode: str = "treebank", language: str = "en", max_sentence_tokens: int = 200
    ):
        self.tokenizer = Tokenizer(mode)
        self.sentence_splitter = SentenceSplitter(language, max_sentence_tokens)

    def __call__(self, tokens: tf.Tensor) -> tf.Tensor:
        return tokens  # tokens already; texts are split in the serving graph


@register("mask")
class Mask:
    """Ones, float32 [N], a token each. Padding is zeros, as of all inputs of the network."""

    def __call__(self, tokens: tf.Tensor) -> tf.Tensor:
        return tf.ones(tf.shape(tokens)[:1])


@register("capitalization_featurizer")
class CapitalizationFeaturizer:
    """How a token is capitalized, one-hot: strings [N] -> float32 [N, dim].

    Args:
        scheme: of the layer `Capitalization`: "basic", as in DeepPavlov, or "extended".
        pad_zeros: no effect: sentences are always padded with zeros.

    Attributes:
        dim: width of the output.
    """

    def __init__(self, scheme: str = "basic", pad_zeros: bool = True):
        check_flags("capitalization_featurizer", pad_zeros=pad_zeros)
        self._layer = Capitalization(scheme)
        self.dim = self._layer.dim

    def __call__(self, tokens: tf.Tensor) -> tf.Tensor:
        return self._layer(tokens)
