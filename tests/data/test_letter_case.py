"""Sentences in another letter case."""

import pytest

from kerasner.data.letter_case import LETTER_CASES, in_letter_case


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("upper", ["DON'T", "MCDONALD", "STRASSE", "3.5", "МОСКВА"]),
        ("lower", ["don't", "mcdonald", "straße", "3.5", "москва"]),
        ("title", ["Don't", "Mcdonald", "Straße", "3.5", "Москва"]),
    ],
)
def test_tokens_change_and_nothing_else(case, expected):
    tokens = ["don't", "McDonald", "Straße", "3.5", "москва"]
    kept = list(tokens)
    assert in_letter_case(case)(tokens) == expected
    assert in_letter_case(case)([]) == []
    assert tokens == kept


def test_names_of_the_cases():
    assert list(LETTER_CASES) == ["upper", "lower", "title"]
