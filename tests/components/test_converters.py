"""Components that change the form of what others put out."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner.components import BioConverter, OneHotter
from kerasner.errors import ConfigError


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(1, 6), st.lists(st.integers(0, 8), max_size=5))
def test_one_hot(depth, ids):
    vectors = OneHotter(depth, pad_zeros=True)(tf.constant(ids, tf.int32))
    assert vectors.dtype == tf.float32
    assert vectors.shape == (len(ids), depth)
    for vector, number in zip(vectors.numpy(), ids, strict=True):
        assert np.flatnonzero(vector).tolist() == ([number] if number < depth else [])
        assert vector.sum() == (number < depth)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"depth": 0}, "depth: expected 1 or more, a whole number, received 0"),
        ({"depth": 3, "single_vector": True}, "single_vector: one vector a sentence is of no use"),
        ({"depth": 3, "single_vector": True, "pad_zeros": True}, "exclude each other"),
        ({"depth": 3, "pad_zeros": 1}, "pad_zeros: expected true or false, received 1"),
    ],
)
def test_wrong_settings(settings, expected):
    with pytest.raises(ConfigError, match=f"one_hotter: .*{expected}"):
        OneHotter(**settings)


def test_tags_pass_the_converter():
    tags = tf.constant(["PER", "PER", "O"])
    np.testing.assert_array_equal(BioConverter()(tags), tags)
