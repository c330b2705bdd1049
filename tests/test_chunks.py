"""Entities found in the graph against those of `bio` and of the tags' construction."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner import bio
from kerasner.chunks import ChunkFinder

BIO = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
BIOES = ["O"] + [f"{prefix}-{label}" for label in ("PER", "LOC") for prefix in "BIES"]

SENTENCES = st.lists(st.lists(st.integers(0, 4), max_size=7), max_size=4)


def compiled(tags, scheme="bio"):
    signature = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None, None], tf.bool)]
    return tf.function(ChunkFinder(tags, scheme).__call__, input_signature=signature)


FIND_BIO = compiled(BIO)


def pad(sentences, seed=0):
    """Rows of ids with garbage at their masked steps, which stand anywhere; and the mask."""
    rng = np.random.default_rng(seed)
    width = max(map(len, sentences), default=0) + int(rng.integers(0, 3))
    ids = rng.integers(-3, 99, size=(len(sentences), width)).astype("int32")
    mask = np.zeros(ids.shape, bool)
    for row, sentence in enumerate(sentences):
        places = np.sort(rng.permutation(width)[: len(sentence)])
        ids[row, places], mask[row, places] = sentence, True
    return ids, mask


def spans(codes, labels, sentences):
    """Codes of all tokens -> for each sentence [(label, start, end)]."""
    found, position = [], 0
    for sentence in sentences:
        own = codes[position : position + len(sentence)]
        position += len(sentence)
        divided = [(start, *divmod(int(code), len(labels) + 1)) for start, code in enumerate(own)]
        found.append([(labels[k - 1], start, start + n) for start, n, k in divided if n or k])
    assert position == len(codes)
    return found


@settings(deadline=None, max_examples=100, derandomize=True)
@given(SENTENCES, st.integers(0, 99))
def test_finds_the_entities_of_any_bio_tags(sentences, seed):
    codes = FIND_BIO(*pad(sentences, seed)).numpy()
    expected = [bio.entities([BIO[i] for i in sentence]) for sentence in sentences]
    assert spans(codes, ["LOC", "PER"], sentences) == expected


@settings(deadline=None, max_examples=50, derandomize=True)
@given(SENTENCES, SENTENCES)
def test_codes_are_equal_where_entities_are(gold, found):
    count = min(len(gold), len(found))
    gold, found = gold[:count], found[:count]
    for a, b in zip(gold, found, strict=True):
        del a[len(b) :], b[len(a) :]
    codes = FIND_BIO(*pad(gold)).numpy(), FIND_BIO(*pad(found)).numpy()
    tags = [[[BIO[i] for i in s] for s in side] for side in (gold, found)]
    assert np.sum((codes[0] == codes[1]) & (codes[0] > 0)) == bio.report(*tags).total.correct


@pytest.mark.parametrize(
    "tags, expected",
    [
        (["B-PER", "I-PER", "E-PER", "S-PER", "O"], [("PER", 0, 3), ("PER", 3, 4)]),
        (["S-PER", "S-LOC", "B-LOC", "E-LOC"], [("PER", 0, 1), ("LOC", 1, 2), ("LOC", 2, 4)]),
        # Stray tags, as conlleval reads them: E- and S- close, a change of label closes.
        (["E-PER", "I-PER", "E-PER", "E-PER"], [("PER", 0, 1), ("PER", 1, 3), ("PER", 3, 4)]),
        (["B-PER", "I-LOC", "O", "I-PER"], [("PER", 0, 1), ("LOC", 1, 2), ("PER", 3, 4)]),
    ],
)
def test_bioes(tags, expected):
    sentence = [BIOES.index(tag) for tag in tags]
    codes = ChunkFinder(BIOES, "bioes")(*pad([sentence])).numpy()
    assert spans(codes, ["LOC", "PER"], [sentence]) == [expected]


def test_iob1():
    tags = ["O", "B-PER", "I-PER"]
    sentence = [2, 2, 1, 2, 0, 2]
    codes = ChunkFinder(tags, "iob1")(*pad([sentence])).numpy()
    assert spans(codes, ["PER"], [sentence]) == [[("PER", 0, 2), ("PER", 2, 4), ("PER", 5, 6)]]


def test_an_entity_ends_with_its_sentence():
    sentences = [[1, 2], [2, 2]]
    codes = FIND_BIO(*pad(sentences)).numpy()
    assert spans(codes, ["LOC", "PER"], sentences) == [[("PER", 0, 2)], [("PER", 0, 2)]]


def test_tags_without_entities():
    codes = ChunkFinder(["O"])(tf.zeros([2, 3], tf.int32), tf.ones([2, 3], tf.bool))
    assert codes.numpy().tolist() == [0] * 6


def test_a_tag_outside_the_scheme_is_an_error():
    with pytest.raises(ValueError, match="'S-PER'"):
        ChunkFinder(["O", "S-PER"], "bio")
