"""Tagging schemes: which tags may start, follow and end, and what a prefix means.

"bio", "iob1" and "bioes" are the usual ones. In "io" tags are labels without prefixes: each run of
one label is an entity.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

SCHEMES = ("bio", "iob1", "bioes", "io")

# prefix -> prefixes that may precede it; "+" marks that the label has to be the same.
_PREDECESSORS = {
    "bio": {"O": ("O", "B", "I"), "B": ("O", "B", "I"), "I": ("B+", "I+")},
    "iob1": {"O": ("O", "B", "I"), "B": ("B+", "I+"), "I": ("O", "B", "I")},
    "bioes": {
        "O": ("O", "E", "S"), "B": ("O", "E", "S"), "S": ("O", "E", "S"),
        "I": ("B+", "I+"), "E": ("B+", "I+"),
    },
    "io": {"O": ("O", "I"), "I": ("O", "I")},
}  # fmt: skip
_OPENING = {"bio": "OB", "iob1": "OI", "bioes": "OBS", "io": "OI"}
_CLOSING = {"bio": "OBI", "iob1": "OBI", "bioes": "OES", "io": "OI"}


class Legality(NamedTuple):
    """What a scheme allows: bool [N], [N] and [N, N] (`transitions[i, j]`: j may follow i)."""

    starts: np.ndarray
    ends: np.ndarray
    transitions: np.ndarray


def split_tag(tag: str, scheme: str = "bio") -> tuple[str, str]:
    """("B-PER") -> ("B", "PER"), ("O") -> ("O", ""), and in "io" ("PER") -> ("I", "PER").

    Raises:
        ValueError: the tag does not belong to the scheme.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"Unknown tagging scheme {scheme!r}; expected one of {SCHEMES}")
    prefix, dash, label = tag.partition("-")
    if scheme == "io" and tag not in ("", "O") and not (dash and prefix in ("B", "I")):
        return "I", tag
    known = scheme != "io" and prefix != "O" and prefix in _PREDECESSORS[scheme]
    if tag == "O" or (dash and label and known):
        return prefix, label
    prefixes = ", ".join(f"{p}-LABEL" for p in _PREDECESSORS[scheme] if p != "O")
    prefixes = "LABEL without prefix" if scheme == "io" else prefixes
    raise ValueError(f"Received tag {tag!r}; expected O, {prefixes} (scheme {scheme!r})")


def scheme_of(tags: Iterable[str]) -> str:
    """The scheme that the tags of a data set belong to: "bio", "bioes" or "io".

    Raises:
        ValueError: tags with and without prefixes are mixed.

    Example: `scheme_of(["O", "PER"])  # "io": a run of one tag is an entity`
    """
    tags = sorted(set(tags))
    for scheme in ("bio", "bioes"):
        if all(_belongs(tag, scheme) for tag in tags):
            return scheme
    with_prefix = [tag for tag in tags if tag != "O" and _belongs(tag, "bio")]
    if with_prefix:
        others = [tag for tag in tags if not _belongs(tag, "bio")]
        raise ValueError(
            f"Received tags with prefixes, such as {with_prefix[0]!r}, and others, such as "
            f"{others[0]!r}; expected either B-LABEL and I-LABEL, or LABEL alone, beside O"
        )
    return "io"


def _belongs(tag: str, scheme: str) -> bool:
    try:
        split_tag(tag, scheme)
    except ValueError:
        return False
    return True


def legality(tags: list[str], scheme: str = "bio") -> Legality:
    """Which of `tags` may start a sentence, end it and follow each other.

    Raises:
        ValueError: a tag outside the scheme, or tags that allow no sequence of one token.
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


class EntityRules(NamedTuple):
    """How tags read as entities, legal or not, as conlleval reads them.

    An entity of a label is the longest run of tags of that label in which each continues the one
    before; the run may begin with any tag of the label ("a stray I- starts an entity").

    Attributes:
        labels: the labels, sorted.
        label: int32 [N], index of each tag's label, -1 for O.
        continues: bool [N, N], whether tag j, right after tag i, belongs to the same entity.
    """

    labels: list[str]
    label: np.ndarray
    continues: np.ndarray


def entity_rules(tags: list[str], scheme: str = "bio") -> EntityRules:
    """What entities `tags` spell.

    Raises:
        ValueError: a tag outside the scheme.

    Example:

    ```python
    rules = entity_rules(["O", "B-PER", "I-PER"])
    rules.labels  # ["PER"]
    rules.continues  # [1, 2] and [2, 2]
    ```
    """
    parts = [split_tag(tag, scheme) for tag in tags]
    labels = sorted({label for _, label in parts if label})
    numbers = [labels.index(label) if label else -1 for _, label in parts]
    continues = [
        [label != "" and label == other and prefix in "BI" and next_prefix in "IE"
         for next_prefix, other in parts]
        for prefix, label in parts
    ]  # fmt: skip
    return EntityRules(labels, np.array(numbers, np.int32), np.array(continues, bool))
