"""What is told of a tokenizer that takes tokens of a data set apart."""

import pytest

from kerasner import tokenization

PLAIN = ["no", "hyphen", "."]
HYPHEN = ["a", "well-known", "one"]


@pytest.fixture
def told(caplog):
    def told(mode, sentences):
        with caplog.at_level("WARNING", "kerasner"):
            tokenization.check(mode, sentences)
        return caplog.text

    return told


def test_the_mode_the_commonest_token_and_the_sentences_are_named(told):
    assert "mode 'ontonotes' takes" in told("ontonotes", [HYPHEN] * 10)
    text = told("unicode", [HYPHEN] * 5 + [["3.5", "a", "3.5"]] * 4 + [PLAIN])
    assert (
        "'unicode' takes tokens of this data set apart in raw text, such as '3.5', in 9 of" in text
    )
    assert "mode 'treebank' leaves them whole" in text


@pytest.mark.parametrize("mode", ["treebank", "whitespace"])
def test_other_modes_leave_words_whole(told, mode):
    assert told(mode, [HYPHEN] * 100) == ""


@pytest.mark.parametrize(
    "sentences",
    [
        [],
        [PLAIN] * 100,
        [["well", "-", "known"]] * 100,
        [HYPHEN] * 4,  # too few to tell
        [HYPHEN] * 6 + [PLAIN] * 394,  # 1.5 %
        [["(a", "b)"]] * 100,  # taken apart by both
    ],
)
def test_nothing_is_told_without_need(told, sentences):
    assert told("unicode", sentences) == ""


def test_a_sample_of_a_large_data_set_is_looked_at(told, monkeypatch):
    monkeypatch.setattr(tokenization, "_SENTENCES", 10)
    assert told("unicode", [PLAIN, HYPHEN] * 10) == ""  # every second one
    assert "in 10 of 10 sentences" in told("unicode", [HYPHEN, PLAIN] * 10)
