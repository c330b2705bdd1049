"""Components of text: from raw text to tokens, and what is known of a token by itself."""

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
register("capitalization_featurizer")(Capitalization)


@register("lazy_tokenizer")
class TextSplitter:
    """Raw text to sentences of tokens. Token lists pass as they are.

    Args:
        mode: of the `Tokenizer`: "treebank", "unicode" or "whitespace".
        language: of the `SentenceSplitter`.
        max_sentence_tokens: longer sentences are cut.
    """

    def __init__(
        self, mode: str = "treebank", language: str = "en", max_sentence_tokens: int = 200
    ):
        self.tokenizer = Tokenizer(mode)
        self.sentence_splitter = SentenceSplitter(language, max_sentence_tokens)
