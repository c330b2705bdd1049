"""Whether a tokenizer takes apart what is one token in a data set."""

import logging
from collections import Counter
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kerasner.layers import Tokenizer

_LOG = logging.getLogger(__name__)
_SENTENCES = 2000  # looked at, evenly spread
_FEWEST = 5  # of them that have to be concerned
_LEAST_SHARE = 0.02


def check(mode: str, sentences: Sequence[Sequence[str]]) -> None:
    """Warns where a tokenizer takes tokens apart that mode "treebank" leaves whole.

    A network learns from the tokens of a data set, but raw text is tagged as the tokenizer cuts it.
    What a tokenizer leaves whole and the data set has in pieces is not seen here: the data set does
    not tell where white space was.

    Args:
        mode: of the `Tokenizer`.
        sentences: of the data set, as tokens.
    """
    if mode == "treebank" or not sentences:
        return
    seen = sentences[:: -(-len(sentences) // _SENTENCES)]
    counts = Counter(token for tokens in seen for token in tokens)
    apart = _pieces(mode, list(counts)) > 1
    whole = _pieces("treebank", list(counts)) == 1
    lost = {token for token, is_lost in zip(counts, apart & whole, strict=True) if is_lost}
    concerned = sum(not lost.isdisjoint(tokens) for tokens in seen)
    if concerned < max(_FEWEST, _LEAST_SHARE * len(seen)):
        return
    _LOG.warning(
        "lazy_tokenizer's mode %r takes tokens of this data set apart in raw text, such as %r, in "
        "%d of %d sentences; mode 'treebank' leaves them whole",
        mode,
        max(sorted(lost), key=counts.get),
        concerned,
        len(seen),
    )


def _pieces(mode: str, tokens: list[str]) -> np.ndarray:
    return Tokenizer(mode)(tf.constant(tokens, tf.string))["tokens"].row_lengths().numpy()
