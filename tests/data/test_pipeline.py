"""Batches for training, with sentences in several forms."""

import numpy as np
import pytest
import tensorflow as tf

from kerasner.data import pipeline
from kerasner.errors import DataError

LENGTHS = [1 + number % 30 for number in range(600)]
SENTENCES = [[str(number)] * length for number, length in enumerate(LENGTHS)]
TAGS = [["7"] * length for length in LENGTHS]


def number(strings):
    return tf.strings.to_number(strings, tf.int32)


def encoded(form):
    """Ids of form f of sentence n: 1000 f + n; rows of c that are the wider the higher the form."""

    def encode(tokens):
        ids = number(tokens) + 1000 * form
        width = tf.reduce_max(ids // 1000) + 1  # unknown before the graph runs
        return {"words": ids, "c": tf.tile(ids[:, None], [1, width])}

    return pipeline.encoded(SENTENCES, TAGS, encode, number)


@pytest.fixture(scope="module")
def forms():
    return [(0.3, encoded(1)), (0.1, encoded(2)), (0.2, encoded(3))]


def passes(batches, epoch, epochs):
    """The form of each sentence, in each of some epochs; checks that a batch is in order."""
    drawn = []
    for value in epochs:
        epoch.assign(value)
        form_of, count = {}, 0
        for inputs, tags in batches.as_numpy_iterator():
            count += 1
            words = inputs["words"]
            for row, c, tag in zip(words, inputs["c"], tags, strict=True):
                form, sentence = divmod(int(row[0]), 1000)
                length = LENGTHS[sentence]
                assert row.tolist() == [row[0]] * length + [0] * (len(row) - length)
                assert (c[:length, : form + 1] == row[0]).all()
                assert c.sum() == row.sum() * (form + 1)
                assert tag.tolist() == [7] * length + [0] * (len(row) - length)
                assert sentence not in form_of
                form_of[sentence] = form
        assert count == int(batches.cardinality())
        assert sorted(form_of) == list(range(len(SENTENCES)))
        drawn.append(list(form_of.items()))
    return drawn


def test_each_sentence_is_shown_once_in_a_form_that_seed_and_epoch_draw(forms):
    epoch = tf.Variable(0, dtype=tf.int64)
    plain = pipeline.training_batches(encoded(0), 8, 3, epoch)
    batches = pipeline.training_batches(encoded(0), 8, 3, epoch, forms)
    assert int(batches.cardinality()) == int(plain.cardinality())
    first, second, again = passes(batches, epoch, [0, 1, 0])
    assert first == again
    assert dict(first) != dict(second)
    shares = np.bincount([form for rows in (first, second) for _, form in rows]) / 1200
    assert shares == pytest.approx([0.4, 0.3, 0.1, 0.2], abs=0.06)  # four standard deviations
    # A resumed run is a new dataset that starts at a later epoch.
    resumed = pipeline.training_batches(encoded(0), 8, 3, epoch, forms)
    assert passes(resumed, epoch, [1]) == [second]
    other = pipeline.training_batches(encoded(0), 8, 4, epoch, forms)
    assert dict(passes(other, epoch, [0])[0]) != dict(first)


def test_without_a_seed_each_pass_draws_anew(forms):
    epoch = tf.Variable(0, dtype=tf.int64)
    batches = pipeline.training_batches(encoded(0), 8, None, epoch, forms)
    first, second = passes(batches, epoch, [0, 0])
    assert dict(first) != dict(second)


def test_probabilities_of_one_and_none():
    epoch = tf.Variable(0, dtype=tf.int64)
    always = [(1.0, encoded(1))]
    for given, form in ((always, 1), ((), 0)):
        batches = pipeline.training_batches(encoded(0), 8, 3, epoch, given)
        assert {shown for _, shown in passes(batches, epoch, [0])[0]} == {form}


def test_characters_are_as_wide_as_the_longest_token_of_the_sentence():
    widths = {"a": 1, "bcd": 3, "e" * 30: 30}

    def encode(tokens):
        bytes_of = tf.strings.bytes_split(tokens).to_tensor("")
        return {"chars": tf.cast(bytes_of != "", tf.int32)}

    sentences = [["a", "bcd"], ["e" * 30], [], ["a"]]
    tags = [["7"] * len(tokens) for tokens in sentences]
    rows = pipeline.encoded(sentences, tags, encode, number)
    for tokens, (inputs, _) in zip(sentences, rows.as_numpy_iterator(), strict=True):
        expected = [widths[token] for token in tokens]
        assert inputs["chars"].sum(axis=-1).tolist() == expected
        assert inputs["chars"].shape == (len(tokens), max(expected, default=1))


def test_tags_and_tokens_of_different_lengths():
    with pytest.raises(DataError, match="sentence 1: expected a tag for each of its 2 tokens"):
        pipeline.encoded([["a"], ["b", "c"]], [["O"], ["O"]], None, None)


def test_tokens_are_changed_and_further_inputs_are_not():
    def change(tokens):
        return [token.upper() for token in tokens]

    assert pipeline.changed([["a", "b"], (), ("New", "York")], change) == [
        ["A", "B"],
        [],
        ["NEW", "YORK"],
    ]
    rows = [(["a", "b"], ["nn", "np"]), ([], [])]
    assert pipeline.changed(rows, change, 2) == [(["A", "B"], ["nn", "np"]), ([], [])]
    assert rows[0][0] == ["a", "b"]
