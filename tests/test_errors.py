import pytest

from kerasner.errors import ArchiveError, ConfigError, DataError, KerasnerError, nearest


@pytest.mark.parametrize("error", [ArchiveError, ConfigError, DataError])
def test_one_except_clause_catches_all(error):
    with pytest.raises(KerasnerError, match="reason"):
        raise error("reason")


@pytest.mark.parametrize(
    "name, expected",
    [
        ("ner_conl2003", "did you mean 'ner_conll2003'?"),
        ("NER_RUS", "did you mean 'ner_rus'?"),
        ("bert", "valid names are ner_conll2003, ner_rus"),
        (7, "valid names are ner_conll2003, ner_rus"),
    ],
)
def test_nearest(name, expected):
    assert nearest(name, ["ner_conll2003", "ner_rus"]) == expected


def test_nearest_takes_any_iterable_even_an_empty_one():
    assert nearest("x", iter(["X"])) == "did you mean 'X'?"
    assert nearest("x", []) == "there are no valid names"
