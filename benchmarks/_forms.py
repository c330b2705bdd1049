"""Sentences in other forms than they were written in: letter case, white space, typography."""

import random
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from kerasner.data.letter_case import LETTER_CASES
from kerasner.data.typography import with_other_dashes, with_other_quotes


class Sentence(NamedTuple):
    """Tokens, tags, and what stands before each token and after the last; None: single spaces."""

    tokens: list[str]
    tags: list[str]
    gaps: list[str] | None = None


Form = Callable[[Sequence[str], Sequence[str], random.Random], Sentence]

_NOISE = ("  ", "   ", "\t", "\u00a0", " \u00a0 ")
_NOISY = 0.3  # share of the gaps
_FINAL = re.compile(r"[.!?…]+\Z")
_CLOSING = re.compile(r"[.,;:!?)\]}%…»”]+\Z|'\w*\Z|n't\Z", re.IGNORECASE)
_OPENING = re.compile(r"[(\[{$«“„]\Z")


def changed(name: str, samples: Sequence[tuple[Sequence[str], Sequence[str]]]) -> list[Sentence]:
    """All sentences in the form of a name of FORMS, the same ones every time."""
    drawn = random.Random(name)  # a string gives the same numbers in any process
    return [FORMS[name](tokens, tags, drawn) for tokens, tags in samples]


def _in_case(change: Callable[[str], str]) -> Form:
    return lambda tokens, tags, drawn: Sentence(list(map(change, tokens)), list(tags))


def _clean(tokens, tags, drawn) -> Sentence:
    return Sentence(list(tokens), list(tags))


def _without_final(tokens, tags, drawn) -> Sentence:
    """No full stop at the end, unless an entity has it or nothing would be left."""
    end = len(tokens)
    while end > 1 and tags[end - 1] == "O" and _FINAL.match(tokens[end - 1]):
        end -= 1
    return Sentence(list(tokens[:end]), list(tags[:end]))


def _noisy(tokens, tags, drawn) -> Sentence:
    gaps = [
        drawn.choice(_NOISE) if drawn.random() < _NOISY else " " * (0 < place < len(tokens))
        for place in range(len(tokens) + 1)
    ]
    return Sentence(list(tokens), list(tags), gaps)


def _usual_spacing(tokens, tags, drawn) -> Sentence:
    """No space before a comma or after a bracket, as texts are written."""
    gaps = [""]
    for before, token in zip(tokens, tokens[1:], strict=False):
        gaps.append("" if _CLOSING.match(token) or _OPENING.match(before) else " ")
    return Sentence(list(tokens), list(tags), [*gaps, ""])


def _closed_hyphens(tokens, tags, drawn) -> Sentence:
    """The same, and no space around a hyphen between words."""
    sentence = _usual_spacing(tokens, tags, drawn)
    for place in range(1, len(tokens) - 1):
        sides = tokens[place - 1][-1:], tokens[place + 1][:1]
        if tokens[place] == "-" and all(map(str.isalnum, sides)):
            sentence.gaps[place] = sentence.gaps[place + 1] = ""
    return sentence


def _with_marks(change: Callable[[Sequence[str], random.Random], list[str]]) -> Form:
    return lambda tokens, tags, drawn: Sentence(change(tokens, drawn), list(tags))


FORMS: dict[str, Form] = {
    "as it is": _clean,
    "all capital letters": _in_case(LETTER_CASES["upper"]),
    "all small letters": _in_case(LETTER_CASES["lower"]),
    "each token capitalized": _in_case(LETTER_CASES["title"]),
    "no final punctuation": _without_final,
    "other quotes": _with_marks(with_other_quotes),
    "other dashes": _with_marks(with_other_dashes),
    "usual spacing": _usual_spacing,
    "usual spacing, hyphens closed": _closed_hyphens,
    "noisy white space": _noisy,
}
