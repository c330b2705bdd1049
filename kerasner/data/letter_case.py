"""Sentences in capital letters, in small ones, or titled, as headlines and chats have them."""

from collections.abc import Callable

from kerasner.data.pipeline import Change

LETTER_CASES: dict[str, Callable[[str], str]] = {
    "upper": str.upper,
    "lower": str.lower,
    # Not str.title, which makes "Don'T" of "don't".
    "title": str.capitalize,
}


def in_letter_case(case: str) -> Change:
    """What writes the tokens of a sentence in a letter case, a key of LETTER_CASES."""
    change = LETTER_CASES[case]
    return lambda tokens: list(map(change, tokens))
