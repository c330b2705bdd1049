"""Whether raw text is cut as the sentences of a data set are."""

from collections.abc import Sequence

import tensorflow as tf

from kerasner.layers import Tokenizer

_MODES = ("treebank", "unicode")  # "whitespace" gives all sentences back, but cuts no text
_SENTENCES = 2000  # looked at, evenly spread
_CLEARLY = 0.02


def agreement(tokenizer: Tokenizer, sentences: Sequence[Sequence[str]]) -> float:
    """Share of sentences that a tokenizer gives back where their tokens are joined by spaces."""
    found = tokenizer(tf.constant([" ".join(tokens) for tokens in sentences]))["tokens"]
    given = [[token.encode() for token in tokens] for tokens in sentences]
    same = [row == tokens for row, tokens in zip(found.to_list(), given, strict=True)]
    return sum(same) / len(same)


def advice(tokenizer: Tokenizer, sentences: Sequence[Sequence[str]]) -> str | None:
    """What to tell where another mode of the tokenizer is clearly nearer to a data set."""
    if tokenizer.mode not in _MODES:
        return None
    seen = sentences[:: -(-len(sentences) // _SENTENCES)]
    shares = {mode: agreement(Tokenizer(mode), seen) for mode in _MODES}
    own, best = shares[tokenizer.mode], max(shares, key=shares.get)
    if shares[best] - own < _CLEARLY:
        return None
    return (
        f"raw text is cut otherwise than this data set: lazy_tokenizer's mode {tokenizer.mode!r} "
        f"gives back {own:.0%} of its sentences, mode {best!r} {shares[best]:.0%}"
    )
