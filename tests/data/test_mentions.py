"""Names from lists put into samples."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner import bio
from kerasner.data import with_other_mentions

TRAIN = [
    (["I", "left", "New", "York"], ["O", "O", "B-LOC", "I-LOC"]),
    (["Rio", "likes", "Ann"], ["B-LOC", "O", "B-PER"]),
    (["nothing"], ["O"]),
]


def test_an_entry_takes_the_place_of_an_entity_of_its_label():
    further = with_other_mentions(TRAIN, {"LOC": [["Rio", "de", "Janeiro"]]}, least=20)
    assert len(further) == 20
    assert {(tuple(tokens), tuple(tags)) for tokens, tags in further} == {
        (("I", "left", "Rio", "de", "Janeiro"), ("O", "O", "B-LOC", "I-LOC", "I-LOC")),
        (
            ("Rio", "de", "Janeiro", "likes", "Ann"),
            ("B-LOC", "I-LOC", "I-LOC", "O", "B-PER"),
        ),
    }


@pytest.mark.parametrize(("entry", "count"), [("Rio", 2), ("New York", 2), ("York", 3), ("Ann", 3)])
def test_entities_of_the_samples_count(entry, count):
    assert len(with_other_mentions(TRAIN, {"LOC": [entry.split()]}, least=3)) == count


def test_what_is_drawn_follows_from_the_seed():
    lists = {"LOC": [["Bonn"], ["Ulm"]], "PER": [["Eve"]]}
    drawn = [with_other_mentions(TRAIN, lists, least=5, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_lists_without_a_place():
    assert with_other_mentions(TRAIN, {"ORG": [["UN"]]}, least=3) == []
    assert with_other_mentions(TRAIN, {"LOC": [], "PER": [[]]}, least=3) == []
    assert with_other_mentions(TRAIN, {"LOC": [["Bonn"]]}, least=0) == []
    assert with_other_mentions([], {"LOC": [["Bonn"]]}, least=3) == []


WORDS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3)
TAGGED = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(["O", "B-X", "I-X", "B-Y"])),
    max_size=5,
)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(
    samples=st.lists(TAGGED, max_size=4),
    entries=st.lists(WORDS, max_size=3),
    least=st.integers(0, 4),
)
def test_every_entry_of_a_known_label_is_there_often_enough(samples, entries, least):
    samples = [([w for w, _ in row], [tag for _, tag in row]) for row in samples]
    further = with_other_mentions(samples, {"X": entries}, least)
    before, after = _mentions(samples), _mentions([*samples, *further])
    lacking = {tuple(entry): max(0, least - before.count(tuple(entry))) for entry in entries}
    assert len(further) == (sum(lacking.values()) if before else 0)
    for entry in lacking:
        assert not before or after.count(entry) >= least
    assert all(len(tokens) == len(tags) for tokens, tags in further)


def _mentions(samples):
    return [
        tuple(tokens[start:end])
        for tokens, tags in samples
        for label, start, end in bio.entities(tags)
        if label == "X"
    ]
