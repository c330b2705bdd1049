"""Vocabularies: strings to ids and back, and their files."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner.components import SimpleVocab
from kerasner.errors import ArchiveError, ConfigError


def fitted(strings, **settings):
    vocab = SimpleVocab(**settings)
    vocab.fit(tf.constant(strings, tf.string))
    return vocab


def decoded(strings: tf.Tensor) -> list:
    return np.vectorize(bytes.decode, otypes=[object])(strings.numpy()).tolist()


def test_ids_are_counted_from_two_by_falling_frequency():
    vocab = fitted([["b", "a"], ["c", "a"], ["é", "é"], ["a", ""]])
    assert vocab.items == ["a", "é", "b", "c"]  # of equal ones the first seen first
    assert vocab.keys() == ["", "<UNK>", "a", "é", "b", "c"]
    assert vocab.len == 6
    ids = vocab(tf.constant([["a", "é", "?", ""]]))
    assert ids.dtype == tf.int32
    assert ids.numpy().tolist() == [[2, 3, 1, 0]]


def test_several_variables_make_one_vocabulary():
    vocab = SimpleVocab()
    vocab.fit(tf.constant(["a"]), tf.constant([["b", "b"]]))
    assert vocab.items == ["b", "a"]


def test_limits():
    strings = ["a", "a", "b", "b", "b", "c"]
    assert fitted(strings, max_tokens=2).items == ["b", "a"]
    assert fitted(strings, min_freq=3).items == ["b"]
    assert fitted(strings, max_tokens=1, special_tokens=["<UNK>", "<S>"]).items == ["<S>", "b"]
    assert fitted(strings, max_tokens=2**30, min_freq=2).items == ["b", "a"]


def test_a_vocabulary_of_nothing():
    with pytest.raises(ConfigError, match="none of 2 distinct strings is left with min_freq 2"):
        fitted(["a", "b"], min_freq=2)


def test_special_tokens():
    vocab = fitted(["<S>", "a", "<UNK>", "a"], special_tokens=["<UNK>", "<S>"])
    assert vocab.keys() == ["", "<UNK>", "<S>", "a"]
    assert vocab(tf.constant(["<UNK>", "<S>", "a", "b"])).numpy().tolist() == [1, 2, 3, 1]
    vocab = fitted(["a"], special_tokens=["<S>", "[?]"], unk_token="[?]")
    assert vocab.keys() == ["", "[?]", "<S>", "a"]


def test_tags_are_counted_from_zero():
    vocab = fitted(["O", "B-PER", "O", "O", "B-PER", "I-PER"], targets=True)
    assert vocab.items == vocab.keys() == ["O", "B-PER", "I-PER"]
    assert vocab.len == 3
    assert vocab(tf.constant(["I-PER", "O"])).numpy().tolist() == [2, 0]
    assert decoded(vocab(tf.constant([[2, 0], [1, 1]]))) == [["I-PER", "O"], ["B-PER", "B-PER"]]


def test_ids_become_strings():
    vocab = fitted(["a", "é"])
    assert decoded(vocab(tf.constant([3, 2, 1, 0]))) == ["é", "a", "<UNK>", ""]


def test_a_vocabulary_never_grows():
    vocab = fitted(["a"])
    for _ in range(2):
        assert vocab(tf.constant(["new"])).numpy().tolist() == [1]
    assert vocab.keys() == ["", "<UNK>", "a"]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.lists(TEXT, max_size=8), st.lists(TEXT, max_size=4))
def test_both_ways(strings, others):
    strings = ["a", *strings]
    vocab = fitted(strings)
    known = [s for s in dict.fromkeys(strings) if s and "\n" not in s and "\r" not in s]
    assert sorted(vocab.items) == sorted(known)
    assert sorted(vocab(tf.constant(known, tf.string)).numpy()) == [*range(2, vocab.len)]
    ids = tf.range(vocab.len)
    assert decoded(vocab(ids)) == vocab.keys()
    probe = tf.constant([*strings, *others], tf.string)
    back = [s if s in known or not s else "<UNK>" for s in [*strings, *others]]
    assert decoded(vocab(vocab(probe))) == back


def test_characters_of_tokens():
    vocab = fitted(["abba", "é"], level="char")
    assert vocab.items == ["a", "b", "é"]
    ids = vocab(tf.constant(["éa", "?", "abc"]))
    assert ids.numpy().tolist() == [[4, 2, 0], [1, 0, 0], [2, 3, 1]]
    characters = tf.constant([["é", "a"], ["b", ""]])
    assert vocab(characters).numpy().tolist() == [[4, 2], [3, 0]]


@pytest.mark.parametrize("targets", [False, True])
def test_a_vocabulary_comes_back(tmp_path, targets):
    strings = ["é", "\U0001f600", "'", '"', "#", "a b", "\t", "é"]
    vocab = fitted(strings, targets=targets)
    vocab.save(tmp_path, "chars")
    assert [path.name for path in tmp_path.iterdir()] == ["chars.txt"]
    loaded = SimpleVocab(targets=targets)
    loaded.load(tmp_path, "chars")
    assert loaded.items == vocab.items
    np.testing.assert_array_equal(loaded(tf.constant(strings)), vocab(tf.constant(strings)))
    assert len(set(loaded(tf.constant(strings)).numpy().tolist())) == 7


@pytest.mark.parametrize("content", [None, b"\xff\n"])
def test_a_model_whose_vocabulary_cannot_be_read(tmp_path, content):
    if content is not None:
        (tmp_path / "chars.txt").write_bytes(content)
    with pytest.raises(ArchiveError, match="chars.txt: not a readable list of words"):
        SimpleVocab().load(tmp_path, "chars")


def test_the_file_of_counts(tmp_path):
    path = tmp_path / "new" / "word.dict"
    options = {"special_tokens": ["<UNK>", "<S>"]}
    vocab = fitted(["b", "a", "b", "\t", "a b"], save_path=str(path), **options)
    expected = "<UNK>\t0\n<S>\t0\nb\t2\na\t1\n\t\t1\na b\t1\n"
    assert path.read_bytes().decode() == expected
    assert [file.name for file in path.parent.iterdir()] == ["word.dict"]
    read = SimpleVocab(load_path=str(path), **options)
    assert read.ready
    assert read.keys() == vocab.keys()
    assert SimpleVocab(load_path=str(path), min_freq=2, **options).ready
    strings = tf.constant(["<UNK>", "a", "?", "b"])
    np.testing.assert_array_equal(read(strings), vocab(strings))


def test_a_file_of_deeppavlov(tmp_path, monkeypatch):
    (tmp_path / "tag.dict").write_text("O\t170524\nB-LOC\t7140\nB-PER\t6600\n")
    monkeypatch.chdir(tmp_path)
    tags = SimpleVocab(load_path="tag.dict", targets=True)
    assert tags.ready and tags.items == ["O", "B-LOC", "B-PER"]
    frequent = SimpleVocab(load_path="tag.dict", min_freq=7000)
    assert frequent.ready and frequent.items == ["O", "B-LOC"]
    (tmp_path / "words.txt").write_text("one\ntwo\tmany\n")
    words = SimpleVocab(load_path="words.txt", freq_drop_load=True, min_freq=5)
    assert words.ready and words.items == ["one", "two"]


def test_without_a_file_a_vocabulary_has_to_be_fitted(tmp_path):
    assert not SimpleVocab().ready
    assert fitted(["a"]).ready
    with pytest.raises(ConfigError, match="simple_vocab: load_path: no file or folder .*none.dict"):
        _ = SimpleVocab(load_path=str(tmp_path / "none.dict")).ready
    # What is fitted does not look at the file.
    assert fitted(["a"], load_path=str(tmp_path / "none.dict")).items == ["a"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a\t1\nb\n", r"v.dict:2: expected token<TAB>count, found 'b'"),
        (b"a\t1\n\nb\t1\n", r"v.dict:2: expected token<TAB>count, found ''"),
        (b"a\tmany\n", r"v.dict:1: expected token<TAB>count, found 'a\\tmany'"),
        (b"a\t-1\n", r"v.dict:1: expected token<TAB>count"),
        (b"\t1\n", r"v.dict:1: expected token<TAB>count"),
        (b"a\t1\nb\t1\na\t1\n", r"v.dict:3: the token 'a' is there already"),
        (b"", r"v.dict:1: expected token<TAB>count"),
        (b"\xff\t1\n", r"v.dict: not a readable vocabulary"),
    ],
)
def test_a_malformed_file(tmp_path, content, expected):
    (tmp_path / "v.dict").write_bytes(content)
    with pytest.raises(ConfigError, match=expected):
        _ = SimpleVocab(load_path=str(tmp_path / "v.dict")).ready


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write .*word.dict"):
        fitted(["a"], save_path=str(tmp_path / "file" / "word.dict"))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"special_tokens": "<UNK>"},
            "special_tokens: expected a list of strings, .* received '<UNK>'",
        ),
        ({"special_tokens": ["a", "b\n"]}, "special_tokens: .* none empty or with line breaks"),
        ({"unk_token": 3}, "unk_token: expected a string, received 3"),
        ({"max_tokens": 0}, "max_tokens: expected 1 or more, a whole number, received 0"),
        ({"min_freq": 1.5}, "min_freq: expected 0 or more, a whole number, received 1.5"),
        ({"pad_with_zeros": 1}, "pad_with_zeros: expected true or false, received 1"),
        ({"level": "chars"}, "level: expected 'token' or 'char', received 'chars'"),
    ],
)
def test_wrong_settings(settings, expected):
    with pytest.raises(ConfigError, match=f"simple_vocab: {expected}"):
        SimpleVocab(**settings)
