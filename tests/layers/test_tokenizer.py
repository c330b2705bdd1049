import keras
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner.layers.tokenizer import Tokenizer

MODES = ["treebank", "ontonotes", "unicode", "whitespace"]

# Signs on which the rules turn, beside any text at all.
PIECES = st.sampled_from(
    list(
        "aZ9éЖ中'\"’`.,:;-–—/&$%@_+*#()[]…«»! \t\n\r\x00\x1c\x85\u00a0\u2028\u0301\u200d\ufe0f❤👍ش"
    )
    + [
        "n't",
        "'s",
        "U.S.",
        "Mr. ",
        "M. ",
        "1. ",
        "3.5",
        "--",
        "...",
        "http://",
        "a@b.co",
        "\r\n",
        "co-",
        "x-U.",
    ]
)
TEXTS = st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=30).map("".join))


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def as_lists(output: dict) -> list[tuple]:
    """The output as one tuple of plain lists per text."""
    rows = zip(
        output["tokens"].to_list(),
        output["starts"].to_list(),
        output["ends"].to_list(),
        output["paragraph_starts"].to_list(),
        output["text"].numpy().tolist(),
        strict=True,
    )
    return list(rows)


def tokens_of(text: str, mode: str = "treebank") -> list[str]:
    return [token.decode() for token in Tokenizer(mode)([text])["tokens"].to_list()[0]]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("They don't sell it.", "They do n't sell it ."),
        ("She can’t; John’s won't've", "She ca n’t ; John ’s wo n't 've"),
        ("We're, I've, he'll, I'd, I'm, IT'S", "We 're , I 've , he 'll , I 'd , I 'm , IT 'S"),
        ("O'Brien came at 5 o'clock", "O'Brien came at 5 o'clock"),
        ("the players' union", "the players ' union"),
        ("the U.S. and U.N.-led", "the U.S. and U.N.-led"),
        (
            "Mr. Smith met M. J. Fox of Dow Corp. today",
            "Mr. Smith met M. J. Fox of Dow Corp. today",
        ),
        ("a Ph.D. at 10 a.m. on Sept. 24", "a Ph.D. at 10 a.m. on Sept. 24"),
        ("He joined Dow Corp.", "He joined Dow Corp ."),
        ("He chose plan B.", "He chose plan B ."),
        ("$5.40, US$3 and 20%", "$ 5.40 , US$ 3 and 20 %"),
        ("on 1996-08-22 3-1 6/4 1:04.541 .333", "on 1996-08-22 3-1 6/4 1:04.541 .333"),
        ("1,000 in 1996.", "1,000 in 1996 ."),
        ("an all-rounder -- pre-tax", "an all-rounder -- pre-tax"),
        ("war--peace", "war -- peace"),
        ("Wait... what?!", "Wait ... what ? !"),
        ('He said, "No (ever)."', 'He said , " No ( ever ) . "'),
        ("«Да»—нет…", "« Да » — нет …"),
        ("see https://a.org/x?y=1, www.b.com.", "see https://a.org/x?y=1 , www.b.com ."),
        ("mail jo.do@b-c.co.uk!", "mail jo.do@b-c.co.uk !"),
        ("1. Smith\n12. Jones beat 12.", "1. Smith 12. Jones beat 12 ."),
        ("S&P and AT&T", "S&P and AT&T"),
        ("Göttingen naïve café", "Göttingen naïve café"),
        ("❤️👍ok", "❤️ 👍 ok"),
    ],
)
def test_treebank(text, expected):
    assert tokens_of(text) == expected.split()


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a five-year-old Wal-Mart", "a five - year - old Wal - Mart"),
        ("Chen Shui-bian's 30-day F-16", "Chen Shui - bian 's 30 - day F - 16"),
        ("anti-war Co-founder, re-co-opt", "anti-war Co-founder , re-co-opt"),
        ("disco-ball cool-e-mail", "disco - ball cool - e-mail"),
        ("the U.S.-led, non-U.S. force", "the U.S. - led , non-U.S. force"),
        ("Mr.-like Dow Corp. today", "Mr. - like Dow Corp. today"),
        ("w- we two-", "w- we two -"),
        ("1996-08-22 3- 4 -5", "1996 - 08 - 22 3- 4 - 5"),
        ("mid-1980s pre-", "mid-1980s pre -"),
        ("mail jo.do@b-c.uk, www.b-c.com -- no", "mail jo.do@b-c.uk , www.b-c.com -- no"),
        ("They don't know O'Brien", "They do n't know O'Brien"),
    ],
)
def test_ontonotes(text, expected):
    assert tokens_of(text, "ontonotes") == expected.split()


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Пресс-служба: 2,5 млн руб.", "Пресс - служба : 2 , 5 млн руб ."),
        ("А.Силуанов (2011г.)", "А . Силуанов ( 2011г . )"),
        ("do_it «и́мя»", "do_it « и́мя »"),
        ("don't", "don ' t"),
    ],
)
def test_unicode(text, expected):
    assert tokens_of(text, "unicode") == expected.split()


@settings(deadline=None, max_examples=100, derandomize=True)
@given(TEXTS)
def test_whitespace_is_str_split(text):
    text = encode(text).decode("utf-8", "replace")
    assert tokens_of(text, "whitespace") == text.split()


@pytest.mark.parametrize("mode", MODES)
@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.one_of(TEXTS.map(encode), st.binary(max_size=30)))
def test_offsets_and_coverage(mode, raw):
    text = raw.decode("utf-8", "replace")
    [(tokens, starts, ends, paragraphs, normalised)] = as_lists(Tokenizer(mode)([raw]))

    assert normalised.decode() == text
    gaps = [text[a:b] for a, b in zip([0, *ends], [*starts, len(text)], strict=True)]
    assert all(not gap or gap.isspace() for gap in gaps)
    for token, start, end in zip(tokens, starts, ends, strict=True):
        assert token.decode() == text[start:end] != ""
        assert not any(c.isspace() for c in text[start:end])
    # Letters on either side of a gap make a line of the text before, between and after line breaks.
    blank_lines = [len(f"a{gap}a".splitlines()) > 2 for gap in gaps[:-1]]
    assert paragraphs == [i == 0 or blank for i, blank in enumerate(blank_lines)]


@pytest.mark.parametrize("mode", MODES)
@settings(deadline=None, max_examples=40, derandomize=True)
@given(texts=st.lists(TEXTS, max_size=5))
def test_texts_do_not_depend_on_their_batch(mode, texts):
    tokenizer = Tokenizer(mode)
    together = as_lists(tokenizer(tf.constant([encode(t) for t in texts], tf.string)))
    alone = [as_lists(tokenizer([encode(t)]))[0] for t in texts]
    assert together == alone


def test_paragraphs():
    text = "One\ntwo\n \t\nthree\r\nfour\r\n\r\nfive"
    output = Tokenizer()([text, "six"])
    expected = [[True, False, True, False, True], [True]]
    assert output["paragraph_starts"].to_list() == expected


@pytest.mark.parametrize("mode", MODES)
def test_no_texts_and_no_tokens(mode):
    tokenizer = Tokenizer(mode)
    for texts in ([], [""], ["", " \n\u00a0", "\t"]):
        output = tokenizer(tf.constant(texts, tf.string))
        for name in ("tokens", "starts", "ends", "paragraph_starts"):
            assert output[name].to_list() == [[]] * len(texts)
    mixed = tokenizer(["", "a b", " ", "c"])
    assert mixed["tokens"].to_list() == [[], [b"a", b"b"], [], [b"c"]]
    assert mixed["starts"].to_list() == [[], [0, 2], [], [0]]


def test_static_shapes_and_dtypes():
    tokenizer = Tokenizer()
    function = tf.function(tokenizer.call, input_signature=[tf.TensorSpec([None], tf.string)])
    outputs = function.get_concrete_function().structured_outputs
    dtypes = {"tokens": "string", "starts": "int32", "ends": "int32", "paragraph_starts": "bool"}
    assert outputs["text"].shape.as_list() == [None]
    for name, dtype in dtypes.items():
        assert outputs[name].dtype == dtype
        assert outputs[name].ragged_rank == 1
        assert outputs[name].shape.as_list() == [None, None]


@pytest.mark.parametrize("mode", MODES)
def test_same_in_graphs_pipelines_and_saved_models(mode, tmp_path):
    texts = ["He isn't in the U.S. now.", "", "Да-да\n\nнет", "\x00 a\x01b"]
    tokenizer = Tokenizer(mode)
    expected = as_lists(tokenizer(texts))

    module = tf.Module()
    module.tokenizer = tokenizer
    module.serve = tf.function(
        lambda text: tokenizer(text), input_signature=[tf.TensorSpec([None], tf.string)]
    )
    assert as_lists(module.serve(tf.constant(texts))) == expected

    tf.saved_model.save(module, str(tmp_path))
    assert as_lists(tf.saved_model.load(str(tmp_path)).serve(tf.constant(texts))) == expected

    batches = tf.data.Dataset.from_tensor_slices(texts).batch(3).map(tokenizer)
    assert [row for batch in batches for row in as_lists(batch)] == expected


@pytest.mark.parametrize("mode", MODES)
def test_long_texts(mode):
    # All scripts at once is what a compiled pattern finds hardest.
    everything = "".join(map(chr, [*range(0x20, 0xD800), *range(0xE000, 0x20000)]))
    words = "Smith's 1996-08-22 (U.S.) won't. " * 2_500
    lists = as_lists(Tokenizer(mode)([everything, words, "x" * 1_000_000, "-" * 100_000]))
    for (tokens, starts, ends, _, text), source in zip(lists[:2], [everything, words], strict=True):
        assert text.decode() == source
        assert [token.decode() for token in tokens] == [
            source[a:b] for a, b in zip(starts, ends, strict=True)
        ]
        assert sum(map(len, tokens)) == len("".join(source.split()).encode())
    assert lists[2][1:3] == ([0], [1_000_000])
    assert lists[3][2][-1] == 100_000


def test_config_round_trip():
    layer = Tokenizer("unicode", name="words")
    copy = Tokenizer.from_config(layer.get_config())
    assert (copy.mode, copy.name) == ("unicode", "words")
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert isinstance(restored, Tokenizer) and restored.mode == "unicode"


def test_bad_arguments():
    with pytest.raises(ValueError, match="'treebank', 'unicode', 'whitespace'.*'penn'"):
        Tokenizer("penn")
    with pytest.raises(ValueError, match=r"\[batch\], received: \(1, 2\)"):
        Tokenizer().call([["a", "b"]])
