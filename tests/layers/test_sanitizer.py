import unicodedata

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner.layers.sanitizer import Sanitizer


def bare(text: str, keep: str = "йЙ") -> str:
    """DeepPavlov's sanitizer, but for Hangul syllables and what is kept."""
    for kept in keep:
        text = text.replace(unicodedata.normalize("NFD", kept), kept)

    def change(character):
        if "가" <= character <= "힣" or character in keep:
            return character
        decomposed = unicodedata.normalize("NFD", character)
        return "".join(c for c in decomposed if not unicodedata.combining(c))

    return "".join(map(change, text))


def sanitized(text: str | bytes, **options) -> str:
    return Sanitizer(**options)([text])[0].numpy().decode()


@pytest.mark.parametrize(
    "text, expected",
    [
        ("é", "e"),
        ("Göttingen", "Gottingen"),
        ("ёлка чай Й", "елка чай Й"),
        ("e\u0301", "e"),
        ("и\u0306 и\u0301", "й и"),
        ("\u0301", ""),
        ("ệ", "e"),
        ("øł각", "øł각"),
        ("\u09cb", "\u09c7\u09be"),  # one character that becomes two
        ("1996-08", "1996-08"),
        ("", ""),
    ],
)
def test_diacritics(text, expected):
    assert sanitized(text) == expected


def test_every_character():
    # Each in a string of its own, with plain letters beside it.
    characters = [f"a{chr(c)}b" for c in range(0x110000) if unicodedata.category(chr(c)) != "Cs"]
    changing = [c for c in characters if bare(c) != c]
    # Noncharacters, which are unassigned, are read differently by the versions of TensorFlow.
    unchanging = [c for c in characters if bare(c) == c and unicodedata.category(c[1]) != "Cn"][
        ::50
    ]
    output = Sanitizer()(tf.constant(changing + unchanging))
    assert len(changing) > 2_000
    assert [s.decode() for s in output.numpy()] == [bare(c) for c in changing] + unchanging


@settings(deadline=None, max_examples=100, derandomize=True)
@given(
    st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=20),
    st.sampled_from(["", "йЙ", "йЙé"]),
)
def test_as_unicodedata_does(text, keep):
    assert sanitized(text, keep=keep) == bare(text, keep)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.binary(max_size=20))
def test_any_bytes(raw):
    assert sanitized(raw) == bare(raw.decode("utf-8", "replace"))


def test_digits():
    assert sanitized("É1996-08٣", nums=True) == "E1111-11٣"
    assert sanitized("É1996", nums=True, diacritical=False) == "É1111"
    assert sanitized("É1996", diacritical=False) == "É1996"


def test_keep():
    assert sanitized("йЙёé", keep="Йé") == "иЙеé"
    assert sanitized("и\u0306e\u0301", keep="é") == "иé"
    assert sanitized("≠=\u0338;\u037e", keep="≠\u037e") == "≠≠;\u037e"
    with pytest.raises(ValueError, match=r"keep .*received: \['й'\]"):
        Sanitizer(keep=["й"])


def test_as_deeppavlov_had_it():
    assert sanitized("йЙёé", keep="") == "иИеe"


@pytest.mark.parametrize("name", ["diacritical", "nums"])
def test_flags_are_checked(name):
    with pytest.raises(ValueError, match=f"{name} must be a bool, received: 'yes'"):
        Sanitizer(**{name: "yes"})


def test_shapes():
    words = [["é", "b"], ["", "й1"]]
    assert Sanitizer()(words).numpy().tolist() == [[b"e", b"b"], [b"", "й1".encode()]]
    assert Sanitizer()("é").numpy() == b"e"
    assert Sanitizer()(tf.zeros([0, 3], tf.string)).shape == (0, 3)
    assert Sanitizer()(np.array(["é"], object)).numpy().tolist() == [b"e"]
    function = tf.function(Sanitizer().call, input_signature=[tf.TensorSpec([None, 4], tf.string)])
    assert function.get_concrete_function().structured_outputs.shape.as_list() == [None, 4]


def test_in_models_and_pipelines(tmp_path):
    inputs = keras.Input((None,), dtype="string")
    model = keras.Model(inputs, Sanitizer(nums=True, keep="й")(inputs))
    words = tf.constant([["éй", "2"]])
    expected = [["eй".encode(), b"1"]]
    assert model(words).numpy().tolist() == expected
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded(words).numpy().tolist() == expected
    data = tf.data.Dataset.from_tensors(words).map(Sanitizer(nums=True, keep="й"))
    assert next(iter(data)).numpy().tolist() == expected


def test_config_round_trip():
    layer = Sanitizer(diacritical=False, nums=True, keep="й")
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert (restored.diacritical, restored.nums, restored.keep) == (False, True, "й")
