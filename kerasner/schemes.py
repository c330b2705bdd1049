"""Tagging schemes: which tags may start, follow and end, and what a prefix means."""

from typing import NamedTuple

import numpy as np

SCHEMES = ("bio", "iob1", "bioes")

# prefix -> prefixes that may precede it; "+" marks that the label has to be the same.
_PREDECESSORS = {
    "bio": {"O": ("O", "B", "I"), "B": ("O", "B", "I"), "I": ("B+", "I+")},
    "iob1": {"O": ("O", "B", "I"), "B": ("B+", "I+"), "I": ("O", "B", "I")},
    "bioes": {
        "O": ("O", "E", "S"), "B": ("O", "E", "S"), "S": ("O", "E", "S"),
        "I": ("B+", "I+"), "E": ("B+", "I+"),
    },
}  # fmt: skip
_OPENING = {"bio": "OB", "iob1": "OI", "bioes": "OBS"}
_CLOSING = {"bio": "OBI", "iob1": "OBI", "bioes": "OES"}


class Legality(NamedTuple):
    """What a scheme allows: bool [N], [N] and [N, N] (`transitions[i, j]`: j may follow i)."""

    starts: np.ndarray
    ends: np.ndarray
    transitions: np.ndarray


def split_tag(tag: str, scheme: str = "bio") -> tuple[str, str]:
    """("B-PER") -> ("B", "PER"), ("O") -> ("O", "").

    Raises:
        ValueError: the tag does not belong to the scheme.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"Unknown tagging scheme {scheme!r}; expected one of {SCHEMES}")
    prefix, dash, label = tag.partition("-")
    if tag == "O" or (dash and label and prefix != "O" and prefix in _PREDECESSORS[scheme]):
        return prefix, label
    prefixes = ", ".join(f"{p}-LABEL" for p in _PREDECESSORS[scheme] if p != "O")
    raise ValueError(f"Received tag {tag!r}; expected O, {prefixes} (scheme {scheme!r})")


def legality(tags: list[str], scheme: str = "bio") -> Legality:
    """Which of `tags` may start a sentence, end it and follow each other.

    Raises:
        ValueError: a tag outside the scheme, or tags that allow no sequence at all.
    """
    parts = [split_tag(tag, scheme) for tag in tags]
    starts = np.array([prefix in _OPENING[scheme] for prefix, _ in parts], bool)
    ends = np.array([prefix in _CLOSING[scheme] for prefix, _ in parts], bool)
    follows = np.array([[_may_follow(a, b, scheme) for b in parts] for a in parts])
    if not (starts & ends).any():
        raise ValueError(f"The tags {tags} leave no legal sequence of one token ({scheme!r})")
    return Legality(starts, ends, follows)


def _may_follow(before: tuple[str, str], after: tuple[str, str], scheme: str) -> bool:
    allowed = _PREDECESSORS[scheme][after[0]]
    same_label = before[1] == after[1]
    return before[0] in allowed or (same_label and f"{before[0]}+" in allowed)
