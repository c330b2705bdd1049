"""Sentences with other quotes, apostrophes and dashes."""

import random

import pytest

from kerasner.data.typography import in_other_typography, with_other_dashes, with_other_quotes

QUOTED = ['"', "Don't", '"', "said", '"', "Rio", '"', "-", "'", "3-1", "2020-11-28", "--"]


def test_quotes_open_and_close_in_turn():
    seen = set()
    for seed in range(30):
        written = with_other_quotes(QUOTED, random.Random(seed))
        first, second = written[0], written[2]
        assert (written[4], written[6]) == (first, second)
        assert written[1] == "Don’t" and written[8] in "‘’"
        assert [written[i] for i in (3, 5, 7, 9, 10, 11)] == [
            QUOTED[i] for i in (3, 5, 7, 9, 10, 11)
        ]
        seen.add(first + second)
    assert seen == {"“”", "«»", "„“"}  # never the kind that was there


def test_quotes_that_only_close_and_those_of_treebanks():
    assert with_other_quotes(["Rio", "”"], random.Random(1))[1] in ("»", '"')
    opening, closing = with_other_quotes(["``", "''"], random.Random(3))
    assert opening + closing in ("“”", "«»", "„“", '""')


def test_dashes():
    written = with_other_dashes(QUOTED, random.Random(1))
    assert written[7] in "–—" and written[11] in "–—"
    assert written[9:11] == ["3–1", "2020-11-28"]
    assert written[:7] == QUOTED[:7]
    assert with_other_dashes(["–", "—", ""], random.Random(1)) == ["—", "–", ""]


@pytest.mark.parametrize("tokens", [[], ["Rio"], ["", "\t"]])
def test_nothing_to_change(tokens):
    assert in_other_typography(1)(tokens) == tokens


def test_each_sentence_is_drawn_by_the_seed():
    change, again = in_other_typography(7), in_other_typography(7)
    forms = [change(QUOTED) for _ in range(20)]
    assert forms == [again(QUOTED) for _ in range(20)]
    assert len(set(map(tuple, forms))) > 3
