"""Components of single tokens."""

import numpy as np
import pytest
import tensorflow as tf

from kerasner import registry
from kerasner.components import CapitalizationFeaturizer, Mask, TextSplitter
from kerasner.errors import ConfigError


def test_the_text_splitter_passes_its_settings_on():
    splitter = TextSplitter("whitespace", "ru", 7)
    tokens = splitter.tokenizer(tf.constant(["it's here"]))["tokens"]
    assert tokens.to_list() == [[b"it's", b"here"]]
    assert splitter.sentence_splitter.max_tokens == 7
    with pytest.raises(ValueError, match="trebank"):
        TextSplitter("trebank")


def test_a_mask_is_one_for_each_token():
    for n in (0, 3):
        mask = Mask()(tf.fill([n], "a"))
        assert mask.dtype == tf.float32
        assert mask.numpy().tolist() == [1.0] * n


@pytest.mark.parametrize("pad_zeros", [True, False])
def test_capitalization(pad_zeros):
    featurizer = CapitalizationFeaturizer(pad_zeros=pad_zeros)
    assert featurizer.dim == 4
    np.testing.assert_array_equal(featurizer(tf.constant(["NATO", "1"])), [[0, 0, 0, 1], [0] * 4])
    assert CapitalizationFeaturizer("extended").dim == 6
    with pytest.raises(ConfigError, match="pad_zeros: expected true or false, received 'yes'"):
        CapitalizationFeaturizer(pad_zeros="yes")


def test_the_class_names_of_the_layers():
    lower, sanitizer = registry.get("str_lower")(), registry.get("sanitizer")(nums=True)
    splitter = registry.get("char_splitter")()
    words = sanitizer(lower(tf.constant(["ЙОД-131", "Été"])))
    assert [word.decode() for word in words.numpy()] == ["йод-111", "ete"]
    assert splitter(words).shape == (2, 7)
