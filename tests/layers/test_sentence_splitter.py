import keras
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner.layers.sentence_splitter import SentenceSplitter
from kerasner.layers.tokenizer import Tokenizer

PIECES = st.sampled_from(
    list('.!?…")(»«,-1')
    + ["The", "he", "A", "Inc.", "U.S.", "2.", "Inc", "г", "St", "'", "''", "--"]
)
TOKENS = st.lists(st.one_of(PIECES, st.text(min_size=1, max_size=3)), max_size=20)


def split(texts, **options) -> list[list[bool]]:
    """Where sentences start in texts given as lists of paragraphs, these as lists of tokens."""
    tokens = [[token for paragraph in text for token in paragraph] for text in texts]
    starts = [[i == 0 for paragraph in text for i in range(len(paragraph))] for text in texts]
    result = SentenceSplitter(**options)(
        tf.ragged.constant(tokens, tf.string, ragged_rank=1),
        tf.ragged.constant(starts, tf.bool, ragged_rank=1),
    )
    return result.to_list()


def sentences(text: str, **options) -> str:
    """The text's tokens, its sentences parted by `|`."""
    tokens = text.replace("| ", "").split()
    [starts] = split([[tokens]], **options)
    parts = [f"| {token}" if start else token for token, start in zip(tokens, starts, strict=True)]
    return " ".join(parts).removeprefix("| ")


@pytest.mark.parametrize(
    "text",
    [
        "He left . | They stayed .",
        "Really ? ! | Yes … | No ... | Well !",
        "He left ( at last . ) | They stayed .",
        '" We won . " | He left .',
        'He said : " We won . | We did . " | They left .',
        'He left . | " We won , " he said .',
        "He left . | ( They stayed . )",
        'He left . "',
        "It costs 5 . and more , he said ... but he lied",
        "wait . ( maybe ) , he said",
        "He works at Dow Inc. in the U.S. Senate",
        "He works at Dow Inc. | The pay is good in the U.S. | He stays .",
        "M. Smith saw vitamin C . | He stays .",
        "Sgt . Smith , St . Johns , Sept . 24",
        "1 . Smith won . | 2 . Jones lost .",
        "1. Smith 57 | 2. Jones 58",
        "on 19 . 06 . 2012 in May",
        "... The end",
    ],
)
def test_english(text):
    assert sentences(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "Он ушел . | Они остались .",
        "А . С . Пушкин родился в г . Москва на ул . Ленина .",
        "Это было в 2011 г . | Он ушел .",
        "В 2011 г . Путин ушел .",
        "и т . д . и т . п . | Он ушел .",
        "Цена 5 млн руб . | Это много .",
        "« Да ! » | — Нет . | Он ушел .",
        "« Нет ! » — сказал он .",
    ],
)
def test_russian(text):
    assert sentences(text, language="ru") == text


def test_paragraphs_always_start_sentences():
    assert split([[["a", "b"], ["c", ",", "d"], [")", "E"]]]) == [
        [True, False, True, False, False, True, False]
    ]
    # A quote left open ends with its paragraph.
    paragraphs = [['"', "No", "."], ['"', "Yes", ".", '"', "He", "left", "."]]
    expected = [True, False, False, True, False, False, False, True, False, False]
    assert split([paragraphs]) == [expected]


def test_after_the_tokenizer():
    text = 'Mr. Smith left the U.S. in May. "Why?" he asked.\n\n1. Jones\n2. J. Doe'
    output = Tokenizer()([text, "", " "])
    starts = SentenceSplitter()(output["tokens"], output["paragraph_starts"])
    first, *blank = starts.to_list()
    assert blank == [[], []]
    marked = [t for t, start in zip(output["tokens"].to_list()[0], first, strict=True) if start]
    assert marked == [b"Mr.", b'"', b"1.", b"2."]


def test_hard_cut():
    short = ["a", "b", ".", "C"]
    long = ["x"] * 7
    expected = [True, False, False, True, False, False, True]
    # The cut starts to count at each sentence, whatever stands in the texts before.
    assert split([[long], [short], [long]], max_tokens=3) == [
        expected,
        [True, False, False, True],
        expected,
    ]
    assert split([[["x"] * 20_000]], max_tokens=200) == [[i % 200 == 0 for i in range(20_000)]]


@pytest.mark.parametrize("language", ["en", "ru"])
@settings(deadline=None, max_examples=40, derandomize=True)
@given(texts=st.lists(st.lists(TOKENS.filter(bool), max_size=3), max_size=4))
def test_any_tokens(language, texts):
    together = split(texts, language=language, max_tokens=5)
    # A text's answer is the same alone.
    assert together == [split([t], language=language, max_tokens=5)[0] for t in texts]
    for text, starts in zip(texts, together, strict=True):
        firsts = [i == 0 for paragraph in text for i in range(len(paragraph))]
        assert all(start for start, first in zip(starts, firsts, strict=True) if first)
        ends = [i for i, start in enumerate(starts) if start] + [len(starts)]
        assert all(b - a <= 5 for a, b in zip(ends, ends[1:], strict=False))


@pytest.mark.parametrize("language", ["en", "ru"])
def test_no_texts(language):
    assert split([], language=language) == []
    assert split([[], []], language=language) == [[], []]


def test_same_in_saved_models(tmp_path):
    texts = ["He left. They stayed.", "", "One\n\ntwo"]
    tokenizer, splitter = Tokenizer(), SentenceSplitter()

    module = tf.Module()
    module.layers = [tokenizer, splitter]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve(text):
        output = tokenizer(text)
        return splitter(output["tokens"], output["paragraph_starts"])

    module.serve = serve
    assert serve.get_concrete_function().structured_outputs.shape.as_list() == [None, None]
    tf.saved_model.save(module, str(tmp_path))
    expected = [[True, False, False, True, False, False], [], [True, True]]
    assert tf.saved_model.load(str(tmp_path)).serve(tf.constant(texts)).to_list() == expected
    assert next(iter(tf.data.Dataset.from_tensors(texts).map(serve))).to_list() == expected


def test_config_round_trip():
    layer = SentenceSplitter("ru", max_tokens=50)
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert (restored.language, restored.max_tokens) == ("ru", 50)


def test_bad_arguments():
    with pytest.raises(ValueError, match="'en', 'ru'.*'xx'"):
        SentenceSplitter("xx")
    for value in (0, 1.5, None):
        with pytest.raises(ValueError, match=f"positive integer, received: {value}"):
            SentenceSplitter(max_tokens=value)
