import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner import registry
from kerasner.data import NerFewShotIterator
from kerasner.errors import ConfigError, DataError

LABELS = (["B-PER", "I-PER", "O"], ["O", "B-LOC"], ["B-LOC", "B-PER"], ["O", "O"])
TRAIN = [([f"w{i}.{j}" for j, _ in enumerate(LABELS[i % 4])], LABELS[i % 4]) for i in range(40)]
DATA = {"train": TRAIN, "valid": TRAIN[:5], "test": TRAIN[5:8]}


def test_drawing_stops_at_the_last_sentence_that_is_needed():
    tokens, tags = NerFewShotIterator(DATA, "PER", n_train_samples=3, seed=1).instances("train")
    assert sum("PER" in row for row in tags) == 3
    assert "PER" in tags[-1]
    original = {row[0]: labels for row, labels in TRAIN}
    assert len({row[0] for row in tokens}) == len(tokens)  # none twice
    assert all(
        len(original[row[0]]) == len(labels) for row, labels in zip(tokens, tags, strict=True)
    )


def test_tags_by_default():
    iterator = NerFewShotIterator(DATA, "PER", 1)
    assert iterator.instances("valid") == (
        [tokens for tokens, _ in TRAIN[:5]],
        [["PER", "PER", "O"], ["O", "O"], ["O", "PER"], ["O", "O"], ["PER", "PER", "O"]],
    )
    assert iterator.instances("test")[1] == [["O", "O"], ["O", "PER"], ["O", "O"]]
    assert {tag for tags in iterator.instances("all")[1] for tag in tags} == {"O", "PER"}


@pytest.mark.parametrize(
    "settings_, expected",
    [
        ({"filter_bi": False}, [["B-PER", "I-PER", "O"], ["O", "O"], ["O", "B-PER"], ["O", "O"]]),
        (
            {"remove_not_targets": False},
            [["PER", "PER", "O"], ["O", "LOC"], ["LOC", "PER"], ["O", "O"]],
        ),
        ({"filter_bi": False, "remove_not_targets": False}, list(LABELS)),
    ],
)
def test_tags_by_choice(settings_, expected):
    iterator = NerFewShotIterator(DATA, "PER", 2, seed=0, **settings_)
    assert iterator.instances("valid")[1][:4] == expected
    possible = {tuple(tags) for tags in expected}
    assert {tuple(tags) for tags in iterator.instances("train")[1]} <= possible


def test_inputs_with_parts_of_speech_stay_as_they_are():
    data = {"train": [((["Abel"], ["NNP"]), ["B-PER"])]}
    assert NerFewShotIterator(data, "PER", 1).instances("train") == (
        [(["Abel"], ["NNP"])],
        [["PER"]],
    )


def test_the_seed_alone_decides_what_is_drawn():
    def drawn(seed):
        return NerFewShotIterator(DATA, "LOC", 4, seed=seed).instances("train")

    random.seed(1)
    first = drawn(7)
    random.seed(2)
    assert drawn(7) == first
    assert len({str(drawn(seed)) for seed in range(10)}) == 10
    assert len({str(drawn(None)) for _ in range(10)}) > 1


def test_batches():
    iterator = NerFewShotIterator(DATA, "PER", 5, seed=1, shuffle=False)
    tokens, tags = iterator.instances("train")
    batches = list(iterator.batches("train", 2))
    assert [x for batch, _ in batches for x in batch] == tokens
    assert [y for _, batch in batches for y in batch] == tags


def test_all_sentences_with_the_target_can_be_asked_for():
    tags = NerFewShotIterator(DATA, "PER", 20, seed=1).instances("train")[1]
    assert sum("PER" in row for row in tags) == 20


SENTENCES = st.lists(
    st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"]), min_size=1, max_size=4),
    max_size=12,
)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(SENTENCES, st.integers(1, 6), st.integers(0, 5))
def test_a_draw_is_complete_or_an_error_with_the_numbers(sentences, count, seed):
    train = [([i] * len(tags), tags) for i, tags in enumerate(sentences)]
    with_target = {i for i, tags in enumerate(sentences) if {"B-A", "I-A"} & set(tags)}
    data = {"train": train, "test": train}
    if len(with_target) < count:
        with pytest.raises(ConfigError) as error:
            NerFewShotIterator(data, "A", count, seed=seed)
        found = (
            f"{len(with_target)} of the {len(train)} sentences" if with_target else "no sentence"
        )
        assert found in str(error.value)
        return
    iterator = NerFewShotIterator(data, "A", count, seed=seed)
    drawn = [tokens[0] for tokens in iterator.instances("train")[0]]
    assert len(drawn) == len(set(drawn))
    assert len(with_target & set(drawn)) == count
    assert drawn[-1] in with_target
    expected = [["A" if tag.endswith("A") else "O" for tag in tags] for tags in sentences]
    assert iterator.instances("test")[1] == expected


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("PER", 21), r"n_train_samples: 20 of the 40 .* hold 'PER'; expected at most 20, .* 21$"),
        (("PRE", 1), r"target_tag: no sentence .*\(40 sentences\) holds 'PRE': did you mean 'PER'"),
        (("B-PER", 1), "target_tag: no sentence .* holds 'B-PER': did you mean 'PER'"),
        ((None,), "target_tag: expected a type of entity such as PER, received None"),
        (("PER", 0), "n_train_samples: expected 1 or more, a whole number, received 0"),
        (("PER", 1, "x"), "filter_bi: expected true or false, received 'x'"),
        (("PER", 1, True, 1), "remove_not_targets: expected true or false, received 1"),
        (("PER", 1, True, True, "x"), "seed: expected a whole number or null, received 'x'"),
    ],
)
def test_bad_settings(arguments, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        NerFewShotIterator(DATA, *arguments)


def test_train_part_without_entities():
    for train in ([], [(["a"], ["O"])]):
        with pytest.raises(
            ConfigError, match="no sentence .* holds 'PER': there is no entity in it"
        ):
            NerFewShotIterator({"train": train}, "PER", 1)


def test_tags_without_prefix_are_refused():
    with pytest.raises(DataError, match="^tag 'PER' is not BIO: expected O, B-TYPE or I-TYPE"):
        NerFewShotIterator({"train": [(["a", "b"], ["PER", "O"])]}, "PER", 1)


def test_name_for_configurations():
    assert registry.get("ner_few_shot_iterator") is NerFewShotIterator
