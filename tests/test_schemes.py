"""Legality against the tags of every possible way to place entities in a short sentence."""

import itertools

import numpy as np
import pytest

from kerasner import schemes

PREFIXES = {"bio": "BI", "iob1": "BI", "bioes": "BIES"}


def placements(length, labels):
    """All ways to place entities in `length` tokens, as lists of (label, start, end)."""
    if length == 0:
        return [[]]
    found = list(placements(length - 1, labels))  # the last token is outside
    for size, label in itertools.product(range(1, length + 1), labels):
        entity = (label, length - size, length)
        found += [[*before, entity] for before in placements(length - size, labels)]
    return found


def spell(entities, length, scheme):
    tags = ["O"] * length
    previous = ("", 0, 0)
    for label, start, end in entities:
        if scheme == "iob1":
            touches = previous[0] == label and previous[2] == start
            prefixes = ("B" if touches else "I") + "I" * (end - start - 1)
        elif scheme == "bio":
            prefixes = "B" + "I" * (end - start - 1)
        else:
            prefixes = "S" if end - start == 1 else "B" + "I" * (end - start - 2) + "E"
        tags[start:end] = [f"{prefix}-{label}" for prefix in prefixes]
        previous = (label, start, end)
    return tuple(tags)


@pytest.mark.parametrize("scheme", PREFIXES)
@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_exactly_the_sequences_that_spell_entities_are_legal(scheme, length):
    labels = ["PER", "LOC"] if length < 4 else ["PER"]
    tags = ["O"] + [f"{p}-{label}" for label in labels for p in PREFIXES[scheme]]
    starts, ends, transitions = schemes.legality(tags, scheme)
    legal = {
        tuple(tags[i] for i in ids)
        for ids in itertools.product(range(len(tags)), repeat=length)
        if starts[ids[0]]
        and ends[ids[-1]]
        and all(transitions[a, b] for a, b in itertools.pairwise(ids))
    }
    assert legal == {spell(entities, length, scheme) for entities in placements(length, labels)}


def test_order_of_the_tags_is_free():
    there = schemes.legality(["O", "B-X", "I-X"])
    back = schemes.legality(["I-X", "B-X", "O"])
    for a, b in zip(there, back, strict=True):
        np.testing.assert_array_equal(a, np.flip(b))


@pytest.mark.parametrize(
    "tag, scheme, parts",
    [
        ("O", "bio", ("O", "")),
        ("B-PER", "bio", ("B", "PER")),
        ("I-WORK-OF-ART", "iob1", ("I", "WORK-OF-ART")),
        ("S-X", "bioes", ("S", "X")),
    ],
)
def test_split(tag, scheme, parts):
    assert schemes.split_tag(tag, scheme) == parts


@pytest.mark.parametrize("tag", ["", "o", "B", "B-", "O-PER", "S-PER", "-PER", "PER"])
def test_a_tag_outside_the_scheme_is_an_error_that_shows_it(tag):
    with pytest.raises(ValueError) as error:
        schemes.split_tag(tag, "bio")
    assert repr(tag) in str(error.value)
    assert "B-LABEL" in str(error.value)


def test_an_unknown_scheme_is_an_error_that_lists_the_right_ones():
    with pytest.raises(ValueError, match="'biose'.*'bio', 'iob1', 'bioes'"):
        schemes.split_tag("O", "biose")


@pytest.mark.parametrize("tags, scheme", [(["I-X"], "bio"), (["B-X", "E-X"], "bioes"), ([], "bio")])
def test_tags_without_a_legal_sequence_are_an_error(tags, scheme):
    with pytest.raises(ValueError, match="no legal sequence"):
        schemes.legality(tags, scheme)


@pytest.mark.parametrize(
    "scheme, tags, continuing",
    [
        ("bio", ["O", "B-X", "I-X", "I-Y"], {("B-X", "I-X"), ("I-X", "I-X"), ("I-Y", "I-Y")}),
        ("iob1", ["I-X", "B-X", "O"], {("B-X", "I-X"), ("I-X", "I-X")}),
        (
            "bioes",
            ["B-X", "I-X", "E-X", "S-X", "O", "E-Y"],
            {("B-X", "I-X"), ("B-X", "E-X"), ("I-X", "I-X"), ("I-X", "E-X")},
        ),
    ],
)
def test_entity_rules(scheme, tags, continuing):
    rules = schemes.entity_rules(tags, scheme)
    assert [tag[2:] for tag in tags] == [[*rules.labels, ""][number] for number in rules.label]
    assert rules.labels == sorted(rules.labels)
    found = {(tags[i], tags[j]) for i, j in np.argwhere(rules.continues)}
    assert found == continuing


@pytest.mark.parametrize("scheme", PREFIXES)
def test_continuations_are_legal_and_every_break_but_between_entities_is_too(scheme):
    tags = ["O"] + [f"{p}-{label}" for label in ("PER", "LOC") for p in PREFIXES[scheme]]
    rules, legal = schemes.entity_rules(tags, scheme), schemes.legality(tags, scheme)
    assert not (rules.continues & ~legal.transitions).any()
    other = rules.label[:, None] != rules.label
    assert not (rules.continues & other).any()


def test_tags_without_prefixes():
    assert schemes.split_tag("PER", "io") == ("I", "PER")
    assert schemes.split_tag("O", "io") == ("O", "")
    legality = schemes.legality(["O", "PER", "LOC"], "io")
    assert legality.starts.all() and legality.ends.all() and legality.transitions.all()
    rules = schemes.entity_rules(["O", "PER", "LOC"], "io")
    assert rules.continues.tolist() == [[False] * 3, [False, True, False], [False, False, True]]
    for tag in ("", "B-PER"):
        with pytest.raises(ValueError, match="expected O, LABEL without prefix"):
            schemes.split_tag(tag, "io")


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        (["O"], "bio"), ([], "bio"), (["I-PER", "O", "B-PER"], "bio"),
        (["S-PER", "B-LOC"], "bioes"), (["O", "PER"], "io"), (["time-of-day", "O"], "io"),
    ],
)  # fmt: skip
def test_the_scheme_of_tags(tags, scheme):
    assert schemes.scheme_of(tags) == scheme


def test_mixed_tags_have_no_scheme():
    with pytest.raises(ValueError, match="'B-PER', and others, such as 'LOC'; expected either"):
        schemes.scheme_of(["O", "B-PER", "LOC"])
