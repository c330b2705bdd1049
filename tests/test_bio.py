import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner import bio, registry
from kerasner.bio import (
    Score,
    entities,
    iob1_to_bio,
    ner_f1,
    per_token_accuracy,
    report,
    validate_tag,
)
from kerasner.errors import DataError
from kerasner.schemes import legality

# Stray I- tags included: whatever a network without constraints may predict.
TAGS = st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B", "I-A-B"])
SENTENCE = st.lists(TAGS, max_size=8)
PAIRS = st.lists(st.lists(st.tuples(TAGS, TAGS), max_size=8), max_size=5)
quick = settings(deadline=None, max_examples=200, derandomize=True)


def entities_by_definition(tags):
    """Every span of tokens, tested one by one against conlleval's rules."""

    def starts(i, label):
        continues = i > 0 and tags[i - 1][2:] == label
        return tags[i] == f"B-{label}" or (tags[i] == f"I-{label}" and not continues)

    return [
        (label, start, end)
        for start in range(len(tags))
        for end in range(start + 1, len(tags) + 1)
        for label in sorted({tag[2:] for tag in tags if tag != "O"})
        if starts(start, label)
        and all(tag == f"I-{label}" for tag in tags[start + 1 : end])
        and (end == len(tags) or tags[end] != f"I-{label}")
    ]


@pytest.mark.parametrize(
    "tags, expected",
    [
        ([], []),
        (["O", "O"], []),
        (["B-PER", "I-PER", "O", "B-LOC"], [("PER", 0, 2), ("LOC", 3, 4)]),
        (["B-PER", "B-PER"], [("PER", 0, 1), ("PER", 1, 2)]),
        (["I-PER", "I-PER"], [("PER", 0, 2)]),
        (["B-PER", "I-LOC", "I-LOC"], [("PER", 0, 1), ("LOC", 1, 3)]),
        (["B-PER", "O", "I-PER"], [("PER", 0, 1), ("PER", 2, 3)]),
        (["B-WORK-OF-ART", "I-WORK-OF-ART"], [("WORK-OF-ART", 0, 2)]),
    ],
)
def test_entities(tags, expected):
    assert entities(tags) == expected


@quick
@given(SENTENCE)
def test_entities_follow_the_definition(tags):
    assert entities(tags) == entities_by_definition(tags)


def test_iob1_to_bio():
    iob1 = ["I-PER", "I-PER", "B-PER", "O", "I-LOC", "I-ORG"]
    assert iob1_to_bio(iob1) == ["B-PER", "I-PER", "B-PER", "O", "B-LOC", "B-ORG"]


@quick
@given(SENTENCE)
def test_iob1_to_bio_gives_legal_tags_and_keeps_the_entities(tags):
    bio = iob1_to_bio(tags)
    assert entities(bio) == entities(tags)
    assert iob1_to_bio(bio) == bio
    for previous, tag in zip(["O", *bio], bio, strict=False):
        assert not tag.startswith("I-") or previous[2:] == tag[2:]


@pytest.mark.parametrize("tag", ["O", "B-PER", "I-PER", "B-a-b", "I-'"])
def test_validate_tag_accepts_bio(tag):
    assert validate_tag(tag) is None


@pytest.mark.parametrize(
    "tag", ["", "o", "0", "B", "B-", "PER", "S-PER", "E-PER", "b-PER", "B_PER"]
)
def test_tags_that_are_not_bio_are_refused_everywhere(tag):
    for function in (validate_tag, lambda t: entities([t]), lambda t: iob1_to_bio(["O", t])):
        with pytest.raises(DataError, match=f"^tag '{tag}' is not BIO: expected O, B-TYPE or"):
            function(tag)


GOLD = [["B-PER", "I-PER", "O", "B-LOC"], ["B-LOC", "O"]]
PREDICTED = [["B-PER", "I-PER", "O", "O"], ["B-ORG", "B-LOC"]]


def test_report_counts_by_type():
    result = report(GOLD, PREDICTED)
    assert result.tokens == 6
    assert result.total == Score(gold=3, predicted=3, correct=1)
    assert result.types == {
        "LOC": Score(gold=2, predicted=1, correct=0),
        "ORG": Score(gold=0, predicted=1, correct=0),
        "PER": Score(gold=1, predicted=1, correct=1),
    }
    assert list(result.types) == ["LOC", "ORG", "PER"]


def test_report_layout():
    assert str(report(GOLD, PREDICTED)) == (
        "processed 6 tokens with 3 phrases; found: 3 phrases; correct: 1.\n\n"
        "precision:  33.33%; recall:  33.33%; FB1:  33.33\n\n"
        "\tLOC: precision:  0.00%; recall:  0.00%; F1:  0.00 1\n\n"
        "\tORG: precision:  0.00%; recall:  0.00%; F1:  0.00 1\n\n"
        "\tPER: precision:  100.00%; recall:  100.00%; F1:  100.00 1"
    )


def test_figures_are_those_of_conlleval():
    # What the Perl script prints for these tags, in the report's layout: entities that start with
    # I-, that change their type inside, that touch each other and the ends of sentences.
    gold = ["B-PER I-PER O B-LOC", "I-LOC I-LOC O", "B-ORG I-ORG I-ORG I-MISC", "O B-PER B-PER O"]
    found = ["B-PER I-PER O O", "I-LOC I-ORG B-LOC", "B-ORG I-ORG B-ORG I-MISC", "O I-PER I-PER O"]
    gold, found = ([tags.split() for tags in part] for part in (gold, found))
    assert str(report(gold, found)) == (
        "processed 15 tokens with 7 phrases; found: 8 phrases; correct: 2.\n\n"
        "precision:  25.00%; recall:  28.57%; FB1:  26.67\n\n"
        "\tLOC: precision:  0.00%; recall:  0.00%; F1:  0.00 2\n\n"
        "\tMISC: precision:  100.00%; recall:  100.00%; F1:  100.00 1\n\n"
        "\tORG: precision:  0.00%; recall:  0.00%; F1:  0.00 3\n\n"
        "\tPER: precision:  50.00%; recall:  33.33%; F1:  40.00 2"
    )
    assert ner_f1(gold, found) == pytest.approx(100 * 2 * 2 / (7 + 8))
    assert per_token_accuracy(gold, found) == pytest.approx(9 / 15)


def test_percentages():
    score = Score(gold=10, predicted=5, correct=4)
    assert (score.precision, score.recall) == (80.0, 40.0)
    assert score.f1 == pytest.approx(2 * 80 * 40 / (80 + 40))
    empty = Score(gold=0, predicted=0, correct=0)
    assert (empty.precision, empty.recall, empty.f1) == (0.0, 0.0, 0.0)


def test_entities_end_with_their_sentence():
    split = report([["B-PER"], ["I-PER"]], [["B-PER"], ["I-PER"]])
    joined = report([["B-PER", "I-PER"]], [["B-PER", "I-PER"]])
    assert (split.total.correct, joined.total.correct) == (2, 1)


@pytest.mark.parametrize("function", [report, ner_f1, per_token_accuracy])
def test_other_sentences_than_the_gold_ones_are_refused(function):
    with pytest.raises(ValueError, match="received 1 for 2"):
        function(GOLD, PREDICTED[:1])
    with pytest.raises(ValueError, match="received 1 for 2 in sentence 1"):
        function(GOLD, [PREDICTED[0], ["O"]])


@quick
@given(PAIRS)
def test_report_follows_the_definition(sentences):
    gold = [[right for right, _ in pairs] for pairs in sentences]
    predicted = [[guess for _, guess in pairs] for pairs in sentences]

    def spans(corpus):
        return {
            (i, *span) for i, tags in enumerate(corpus) for span in entities_by_definition(tags)
        }

    result = report(gold, predicted)
    right, guess = spans(gold), spans(predicted)
    assert result.tokens == sum(len(pairs) for pairs in sentences)
    assert result.total == Score(len(right), len(guess), len(right & guess))
    assert set(result.types) == {span[1] for span in right | guess}
    for label, score in result.types.items():
        sizes = [sum(span[1] == label for span in s) for s in (right, guess, right & guess)]
        assert score == Score(*sizes)


def test_metrics_have_names_for_configurations():
    assert registry.get("ner_f1") is ner_f1
    assert registry.get("per_token_accuracy") is per_token_accuracy


def test_metrics_of_nothing_and_of_no_entity():
    assert ner_f1([], []) == per_token_accuracy([], []) == 0
    assert (ner_f1([["O"], []], [["O"], []]), per_token_accuracy([["O"], []], [["O"], []])) == (
        0,
        1,
    )


@quick
@given(PAIRS)
def test_metrics_follow_their_definitions(sentences):
    gold = [[right for right, _ in pairs] for pairs in sentences]
    predicted = [[guess for _, guess in pairs] for pairs in sentences]
    flat = [pair for pairs in sentences for pair in pairs]
    if flat:
        accuracy = sum(right == guess for right, guess in flat) / len(flat)
        assert per_token_accuracy(gold, predicted) == pytest.approx(accuracy)
    # Harmonic mean of precision and recall.
    total = report(gold, predicted).total
    f1 = 2 * total.precision * total.recall / ((total.precision + total.recall) or 1)
    assert ner_f1(gold, predicted) == pytest.approx(f1)
    assert ner_f1(gold, gold) == (100 if total.gold else 0)


@given(st.lists(st.sampled_from(["O", "PER", "LOC"]), max_size=9))
def test_tags_without_prefixes_become_bio(tags):
    (converted,) = bio.in_bio([tags], "io")
    if set(tags) - {"O"}:
        assert bio.in_bio([tags]) == [converted]
    assert bio.iob1_to_bio(converted) == converted
    assert [tag.split("-")[-1] for tag in converted] == tags
    for before, after in zip(bio.entities(converted), bio.entities(converted)[1:], strict=False):
        assert before[2] < after[1] or before[0] != after[0]  # a run is one entity


@pytest.mark.parametrize(
    ("tags", "converted"),
    [
        ("S-A O B-B I-B E-B", "B-A O B-B I-B I-B"),
        ("S-A S-A E-A I-A", "B-A B-A B-A B-A"),  # nothing goes on after S- and E-
        ("B-A E-B E-B I-B", "B-A B-B B-B B-B"),
        ("I-A B-B I-C O", "I-A B-B I-C O"),  # BIO, as it is
        ("", ""),
    ],
)
def test_any_scheme_becomes_bio(tags, converted):
    assert bio.in_bio([tags.split()]) == [converted.split()]


@pytest.mark.parametrize(
    ("tags", "converted"),
    [
        ("B-A O B-B I-B I-B B-B", "S-A O B-B I-B E-B S-B"),
        ("B-A I-A B-A I-A", "B-A E-A B-A E-A"),
        ("O I-A I-A I-B", "O B-A E-A S-B"),  # an I- that continues nothing starts an entity
        ("", ""),
    ],
)
def test_bio_becomes_bioes(tags, converted):
    assert bio.in_bioes(tags.split()) == converted.split()


@given(st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"]), max_size=9))
def test_bioes_is_legal_and_keeps_the_entities(tags):
    tags = bio.iob1_to_bio(tags)
    bioes = bio.in_bioes(tags)
    assert bio.in_bio([bioes], "bioes") == [tags]
    known = sorted({*bioes, "O"})
    allowed = legality(known, "bioes")
    numbers = [known.index(tag) for tag in bioes]
    assert all(allowed.starts[numbers[:1]]) and all(allowed.ends[numbers[-1:]])
    assert all(allowed.transitions[i, j] for i, j in itertools.pairwise(numbers))


def test_mixed_tags_have_no_scheme():
    with pytest.raises(DataError, match="prefixes, such as 'B-A', and others, such as 'B'"):
        bio.in_bio([["B-A"], ["B"]])
