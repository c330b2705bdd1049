import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner.layers.char_splitter import CharSplitter


def split(strings, **options) -> list:
    return CharSplitter(**options)(strings).numpy().tolist()


def test_values():
    assert split(["to", "", "é"]) == [[b"t", b"o"], [b"", b""], ["é".encode(), b""]]
    assert split([["a", "bc"]]) == [[[b"a", b""], [b"b", b"c"]]]
    assert split("ab") == [b"a", b"b"]
    assert split(np.array(["ab"], object)) == [[b"a", b"b"]]


def test_max_chars():
    assert split(["abc", "d"], max_chars=2) == [[b"a", b"b"], [b"d", b""]]
    assert split(["abc", "d"], max_chars=9) == [[b"a", b"b", b"c"], [b"d", b"", b""]]
    for value in (0, 2.5, "3"):
        with pytest.raises(ValueError, match=f"positive integer, received: {value!r}"):
            CharSplitter(value)


@pytest.mark.parametrize("max_chars", [None, 1, 3])
def test_last_axis_is_never_empty(max_chars):
    splitter = CharSplitter(max_chars)
    assert splitter(tf.zeros([0], tf.string)).shape == (0, 1)
    assert splitter(tf.zeros([2, 0], tf.string)).shape == (2, 0, 1)
    assert splitter([["", ""]]).numpy().tolist() == [[[b""], [b""]]]


@settings(deadline=None, max_examples=80, derandomize=True)
@given(st.lists(st.binary(max_size=12), max_size=5), st.one_of(st.none(), st.integers(1, 4)))
def test_any_bytes(raws, max_chars):
    texts = [raw.decode("utf-8", "replace")[:max_chars] for raw in raws]
    width = max([1, *map(len, texts)])
    expected = [[c.encode() for c in text] + [b""] * (width - len(text)) for text in texts]
    assert split(tf.constant(raws, tf.string), max_chars=max_chars) == expected


def test_in_models_and_pipelines(tmp_path):
    inputs = keras.Input((None,), dtype="string")
    model = keras.Model(inputs, CharSplitter(3)(inputs))
    words = tf.constant([["ab", "c"]])
    expected = [[[b"a", b"b"], [b"c", b""]]]
    assert model(words).numpy().tolist() == expected
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded(words).numpy().tolist() == expected
    assert loaded.layers[-1].max_chars == 3
    data = tf.data.Dataset.from_tensors(words).map(CharSplitter())
    assert data.element_spec.shape.as_list() == [1, 2, None]
    assert next(iter(data)).numpy().tolist() == expected
