"""Sentences with other quotation marks, apostrophes and dashes than they were written with."""

import random
import re
from collections.abc import Sequence

from kerasner.data.pipeline import Change

_DOUBLE_QUOTES = '"“”„«»'
_PAIRS = ("“”", "«»", "„“", '""')
_TWO_NUMBERS = re.compile(r"(?<![\d-])(\d+)-(\d+)(?![\d-])")  # 3-1, but no date


def with_other_quotes(tokens: Sequence[str], drawn: random.Random) -> list[str]:
    """Double quotes of another kind, in turn opening and closing; typographic apostrophes.

    Args:
        tokens: of a sentence.
        drawn: what the kind is drawn from.

    Example: `with_other_quotes(['"', "Rio", '"'], Random(1))  # perhaps ["«", "Rio", "»"]`
    """
    used = set("".join(tokens))
    pair = drawn.choice([pair for pair in _PAIRS if not used & set(pair)] or _PAIRS[:1])
    singles, written, count = "‘’", [], 0
    for token in tokens:
        if token and set(token) <= {*_DOUBLE_QUOTES}:
            closes = count % 2 or token in "”»"
            token, count = pair[1 if closes else 0], count + 1
        elif token in ("``", "''"):
            token = pair[token == "''"]
        elif token in ("'", "`"):
            token = drawn.choice(singles)
        written.append(token.replace("'", "’"))
    return written


def with_other_dashes(tokens: Sequence[str], drawn: random.Random) -> list[str]:
    """Dashes of another length; between two numbers, too, as in results of matches.

    Arguments as of `with_other_quotes`.
    """
    written = []
    for token in tokens:
        if token and set(token) <= {*"-–—"}:
            token = drawn.choice([dash for dash in "–—" if dash != token])
        written.append(_TWO_NUMBERS.sub(r"\1–\2", token))
    return written


def in_other_typography(seed: int | None) -> Change:
    """What writes a sentence with other quotes, apostrophes and dashes, drawn for each one."""
    drawn = random.Random(seed)
    return lambda tokens: with_other_dashes(with_other_quotes(tokens, drawn), drawn)
