import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner import registry
from kerasner.bio import entities
from kerasner.data import Dstc2NerIterator, Dstc2Reader
from kerasner.errors import ConfigError, DataError

VALUES = {
    "food": {"thai": ["tailand", "thai"], "old thai": ["old thai", "thai old"]},
    "price": {"cheap": ["cheap", "low priced"], "dontcare": ["any", "any price"]},
    "area": {"north": ["north"], "old north": ["old north"]},
}


def turn(text, *slots, act="inform"):
    acts = [{"act": act, "slots": [list(slot)]} for slot in slots]
    return {"turn-index": 0, "transcription": text, "semantics": {"json": acts, "cam": "null()"}}


CALLS = {
    "Mar1/a": [turn("cheap food", ("price", "cheap")), turn("bye")],
    "Mar1/b": [turn("any north", ("price", "dontcare"), ("area", "north"))],
    "Mar2/c": [turn("phone", ("slot", "phone"), act="request")],
}
TRAIN = [
    ("cheap food", [("price", "cheap")]),
    ("bye", []),
    ("any north", [("price", "dontcare"), ("area", "north")]),
]


@pytest.fixture
def release(tmp_path):
    """A folder with three dialogues, two of them for training."""
    for name, turns in CALLS.items():
        (tmp_path / name).mkdir(parents=True)
        content = json.dumps({"caller-id": "0", "turns": turns})
        (tmp_path / name / "label.json").write_text(content)
    (tmp_path / "dstc2_train.flist").write_text("Mar1/a\nMar1/b\n")
    (tmp_path / "dstc2_dev.flist").write_text("Mar2/c")
    (tmp_path / "dstc_slot_vals.json").write_text(json.dumps(VALUES))
    return tmp_path


def test_reader_reads_what_users_say(release):
    assert Dstc2Reader().read(release) == {
        "train": TRAIN,
        "valid": [("phone", [("slot", "phone")])],
        "test": [],
    }


def test_reader_reads_the_release_as_it_is_unpacked(release):
    (release / "data").mkdir()
    (release / "scripts/config").mkdir(parents=True)
    for name in ("Mar1", "Mar2"):
        (release / name).rename(release / "data" / name)
    for file in release.glob("*.flist"):
        file.rename(release / "scripts/config" / file.name)
    assert Dstc2Reader().read(str(release))["train"] == TRAIN


def test_reader_takes_other_lists(release):
    (release / "mine.txt").write_bytes(b"\xef\xbb\xbfMar1/b\r\n\r\n  Mar1/a \r\n")
    data = Dstc2Reader().read(release, lists={"train": "dstc2_dev.flist", "test": "mine.txt"})
    assert [text for text, _ in data["test"]] == ["any north", "cheap food", "bye"]
    assert data["train"] == [("phone", [("slot", "phone")])]
    assert data["valid"] == []


def test_reader_looks_among_the_downloads(release, tmp_path, monkeypatch):
    monkeypatch.setenv("KERASNER_HOME", str(tmp_path / "home"))
    (tmp_path / "home/downloads").mkdir(parents=True)
    (tmp_path / "home/downloads/calls").symlink_to(release, target_is_directory=True)
    assert Dstc2Reader().read("calls")["train"] == TRAIN
    assert Dstc2NerIterator({"train": TRAIN}, "calls").instances("train")[1][0] == ["B-price", "O"]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TURNS = st.lists(
    st.tuples(TEXT, st.lists(st.tuples(TEXT, TEXT), max_size=2)), min_size=1, max_size=4
)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.lists(TURNS, min_size=1, max_size=3))
def test_what_is_written_is_read(tmp_path_factory, dialogues):
    folder = tmp_path_factory.mktemp("dstc2")
    for index, turns in enumerate(dialogues):
        (folder / f"{index}").mkdir()
        content = {"turns": [turn(text, *slots) for text, slots in turns]}
        file = folder / f"{index}" / "label.json"
        file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    (folder / "dstc2_train.flist").write_text("\n".join(map(str, range(len(dialogues)))))
    assert Dstc2Reader().read(folder)["train"] == [turn for turns in dialogues for turn in turns]


def test_missing_files(release):
    with pytest.raises(
        ConfigError, match="^data_path: no file .*none; expected .*dstc2_train.flist"
    ):
        Dstc2Reader().read(release / "none")
    with pytest.raises(DataError, match="has no valid.txt: expected"):
        Dstc2Reader().read(release, lists={"train": "dstc2_train.flist", "valid": "valid.txt"})
    (release / "dstc2_dev.flist").write_text("Mar2/c\nMar2/d\n")
    with pytest.raises(DataError, match=r"dstc2_dev\.flist:2: expected .* received 'Mar2/d'"):
        Dstc2Reader().read(release)
    (release / "dstc2_train.flist").write_text("\n")
    with pytest.raises(DataError, match="dstc2_train.flist names no dialogue: expected"):
        Dstc2Reader().read(release)
    (release / "dstc2_train.flist").unlink()
    with pytest.raises(DataError, match="has no dstc2_train.flist: expected"):
        Dstc2Reader().read(release)


@pytest.mark.parametrize(
    "lists, message",
    [
        ("train.txt", "lists: expected a file name for each of train, valid, test, received 'tr"),
        ({"train": 1}, "lists: expected a file name for each"),
        ({"train": "a", "dev": "b"}, "lists: unknown part 'dev': valid names are train, valid"),
        ({"valid": "a"}, "lists: expected a file name for train too"),
    ],
)
def test_bad_lists(release, lists, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        Dstc2Reader().read(release, lists=lists)


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"turns": [\n}', ": expected JSON: .*line 2 column 1"),
        ("[" * 100_000, ": expected JSON"),
        ("[]", r": expected an object with a list turns, received \[\]"),
        ('{"turns": {}}', ": expected an object with a list turns"),
        (
            json.dumps({"turns": [turn("a"), {}]}),
            ", turn 1: expected a transcription .*received {}",
        ),
        (json.dumps({"turns": [turn(None)]}), ", turn 0: expected a transcription"),
        (json.dumps({"turns": [turn("a", ("food", 3))]}), ", turn 0: expected .* their slots"),
        (json.dumps({"turns": [turn("a", ("food",))]}), ", turn 0: expected .* their slots"),
    ],
)
def test_damaged_dialogues(release, content, message):
    path = release / "Mar1/b/label.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as error:
        Dstc2Reader().read(release)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def tagged(release, *samples, **settings_):
    iterator = Dstc2NerIterator({"train": samples}, release, **settings_)
    return [" ".join(tags) for tags in iterator.instances("train")[1]]


def test_iterator_gives_tokens_and_tags(release):
    iterator = Dstc2NerIterator(Dstc2Reader().read(release), release)
    assert iterator.instances("train") == (
        [["cheap", "food"], ["bye"], ["any", "north"]],
        [["B-price", "O"], ["O"], ["B-price", "B-area"]],
    )
    assert iterator.instances("valid") == ([["phone"]], [["O"]])
    # As it comes, unless shuffling is asked for.
    assert list(iterator.batches("train", 3)) == [iterator.instances("train")]


def test_slot_values_may_lie_in_any_file(release):
    (release / "values.json").write_text(json.dumps({"food": {"x": ["food"]}}))
    iterator = Dstc2NerIterator(
        {"train": [("cheap food", [("food", "x")])]}, release / "values.json"
    )
    assert iterator.instances("train")[1] == [["O", "B-food"]]


def test_every_way_to_say_a_value_is_found_everywhere(release):
    sample = ("low priced or cheap thai not low", [("price", "cheap")])
    assert tagged(release, sample) == ["B-price I-price O B-price O O O"]


def test_values_that_the_file_lacks_are_said_as_they_are_written(release):
    assert tagged(release, ("fast food please", [("food", "fast food")])) == ["B-food I-food O"]


def test_equal_turns_of_a_part_count_once(release):
    north, thai = [("area", "north")], [("food", "thai")]
    data = {
        "train": [
            ("thai north", north),
            ("thai  north", north),  # other text
            ("thai north", thai),  # other slots
            ("thai north", [*north, ("slot", "addr")]),  # the same, but for a slot not in the file
            ("thai north", north),
            (" ", []),
            ("", north),
        ],
        "valid": [("thai north", north)],
    }
    iterator = Dstc2NerIterator(data, release)
    assert iterator.instances("train") == (
        [["thai", "north"]] * 3,
        [["O", "B-area"], ["O", "B-area"], ["B-food", "O"]],
    )
    assert len(iterator.instances("valid")[0]) == 1


@pytest.mark.parametrize(
    "text, slots, longest, legacy",
    [
        # Two values that overlap: the first stays whole, or the later one is written over it.
        (
            "thai old north",
            [("food", "old thai"), ("area", "old north")],
            "B-food I-food O",
            "B-food B-area I-area",
        ),
        # A part of an entity that is itself a way to say something.
        (
            "old thai",
            [("food", "old thai"), ("food", "thai")],
            "B-food I-food",
            "B-food B-food",
        ),
        # Of the ways to say one value the longest, or the one that is listed first.
        ("any price", [("price", "dontcare")], "B-price I-price", "B-price O"),
        # Equally long: the slot that is named first, or the last one.
        ("north", [("area", "north"), ("food", "north")], "B-area", "B-food"),
        # The rest of an entity loses its start.
        (
            "a b c",
            [("food", "a b c"), ("area", "b")],
            "B-food I-food I-food",
            "B-food B-area I-food",
        ),
    ],
)
def test_alignments(release, text, slots, longest, legacy):
    assert tagged(release, (text, slots)) == [longest]
    assert tagged(release, (text, slots), alignment="legacy") == [legacy]


WORDS = st.sampled_from("old thai north cheap low priced any price".split())
SLOTS = st.lists(st.sampled_from([(s, v) for s in VALUES for v in VALUES[s]]), max_size=3)


def test_ways_to_say_a_value_that_training_lacks(release):
    data = {"train": TRAIN, "valid": TRAIN}
    plain = Dstc2NerIterator(data, release)
    iterator = Dstc2NerIterator(data, release, least_mentions=2)
    assert iterator.instances("valid") == plain.instances("valid")
    (tokens, tags), (before, _) = iterator.instances("train"), plain.instances("train")
    assert tokens[: len(before)] == before
    said = Counter(
        (label, " ".join(words[start:end]))
        for words, row in zip(tokens, tags, strict=True)
        for label, start, end in entities(row)
    )
    ways = ("cheap", "low priced", "any", "any price")
    for way in [("price", way) for way in ways] + [("area", "north"), ("area", "old north")]:
        assert said[way] >= 2
    assert not any(slot == "food" for slot, _ in said)  # which no sample speaks of


@settings(deadline=None, max_examples=150, derandomize=True)
@given(words=st.lists(WORDS, min_size=1, max_size=7), slots=SLOTS)
def test_longest_alignment_tags_what_is_said_and_misses_nothing(tmp_path_factory, words, slots):
    path = tmp_path_factory.mktemp("values") / "values.json"
    path.write_text(json.dumps(VALUES))
    tags = Dstc2NerIterator({"train": [(" ".join(words), slots)]}, path).instances("train")[1][0]
    ways = {(slot, way) for slot, value in slots for way in VALUES[slot][value]}
    found = entities(tags)
    assert all((slot, " ".join(words[start:end])) in ways for slot, start, end in found)
    assert sum(end - start for _, start, end in found) == sum(tag != "O" for tag in tags)
    covered = {i for _, start, end in found for i in range(start, end)}
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            if any(" ".join(words[start:end]) == way for _, way in ways):
                assert covered & set(range(start, end))


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "expected JSON"),
        ("[]", "expected an object slot -> value -> list of ways"),
        ('{"food": ["thai"]}', "expected an object slot"),
        ('{"food": {"thai": "thai"}}', "expected an object slot"),
        ('{"food": {"thai": [1]}}', "expected an object slot"),
        ('{"food": {"thai": [" "]}}', "expected an object slot"),
    ],
)
def test_damaged_slot_values(release, content, message):
    path = release / "dstc_slot_vals.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as error:
        Dstc2NerIterator({"train": TRAIN}, release)
    assert str(error.value).startswith(f"{path}: ")


def test_bad_settings(release, tmp_path):
    with pytest.raises(
        ConfigError, match="^alignment: expected 'longest' or 'legacy', received 'x'"
    ):
        Dstc2NerIterator({}, release, alignment="x")
    with pytest.raises(ConfigError, match="^least_mentions: expected .*received -1"):
        Dstc2NerIterator({}, release, least_mentions=-1)
    with pytest.raises(ConfigError, match="^dataset_path: no file or folder .*none"):
        Dstc2NerIterator({}, tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"^cannot read .*empty/dstc_slot_vals\.json: No such file"):
        Dstc2NerIterator({}, tmp_path / "empty")
    with pytest.raises(ConfigError, match="^unknown part 'dev' of a data set"):
        Dstc2NerIterator({"dev": []}, release)
    for sample in ((["thai"], ["O"]), ("thai",), ("thai", 3)):
        with pytest.raises(DataError, match=r"expected \(text, slots\) pairs, as dstc2_reader"):
            Dstc2NerIterator({"train": [sample]}, release)


def test_names_for_configurations():
    assert registry.get("dstc2_reader") is Dstc2Reader
    assert registry.get("dstc2_ner_iterator") is Dstc2NerIterator
