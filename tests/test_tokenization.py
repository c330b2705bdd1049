"""What is told of a tokenizer that does not cut raw text as a data set is cut."""

import pytest

from kerasner import tokenization
from kerasner.layers import Tokenizer

HYPHENS = [["a", "well-known", "one", "."], ["no", "hyphen"], ["the", "so-called", "one"], ["."]]


@pytest.mark.parametrize(
    ("mode", "share"), [("treebank", 1.0), ("unicode", 0.5), ("whitespace", 1.0)]
)
def test_agreement_is_the_share_of_sentences_given_back(mode, share):
    assert tokenization.agreement(Tokenizer(mode), HYPHENS) == share


def test_a_nearer_mode_is_named():
    assert tokenization.advice(Tokenizer("unicode"), HYPHENS) == (
        "raw text is cut otherwise than this data set: lazy_tokenizer's mode 'unicode' gives back "
        "50% of its sentences, mode 'treebank' 100%"
    )


@pytest.mark.parametrize(
    ("mode", "sentences"),
    [
        ("treebank", HYPHENS),
        ("unicode", [["no", "hyphen"]] * 99 + [["well-known"]]),  # one per cent is not worth it
        ("whitespace", [["(", "well-known", ")"]]),  # asked for, whatever the data set is like
        ("unicode", [["no", "hyphen"]] * 5001),
    ],
)
def test_nothing_is_told_where_there_is_no_better_mode(mode, sentences):
    assert tokenization.advice(Tokenizer(mode), sentences) is None
