import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner import registry
from kerasner.bio import iob1_to_bio
from kerasner.data import Conll2003Reader, read_conll
from kerasner.data.conll import unescape_token
from kerasner.errors import ConfigError, DataError

FILE = """\
-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O

Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER

"""
SENTENCES = [(["EU", "rejects"], ["B-ORG", "O"]), (["Peter", "Blackburn"], ["B-PER", "I-PER"])]


@pytest.fixture
def write(tmp_path):
    def write(content, name="train.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_tokens_and_tags(write):
    assert read_conll(write(FILE)) == SENTENCES


def test_parts_of_speech(write):
    assert read_conll(write(FILE), provide_pos=True) == [
        ((["EU", "rejects"], ["NNP", "VBZ"]), ["B-ORG", "O"]),
        ((["Peter", "Blackburn"], ["NNP", "NNP"]), ["B-PER", "I-PER"]),
    ]


@pytest.mark.parametrize(
    "content",
    [
        FILE.rstrip("\n"),
        FILE.replace("\n", "\r\n"),
        FILE.replace("\n", "\r"),
        FILE.replace(" ", "\t"),
        FILE.replace("\n\n", "\n \t \n\n\n"),
        "\ufeff" + FILE,
        FILE.replace("-DOCSTART- -X- -X- O", "-DOCSTART-"),
        FILE.replace("\n\nPeter", "\n-DOCSTART- -X- O O\nPeter"),
    ],
    ids=["no end", "CRLF", "CR", "tabs", "blanks", "BOM", "bare DOCSTART", "DOCSTART ends"],
)
def test_harmless_variants_read_the_same(write, content):
    assert read_conll(write(content)) == SENTENCES


WORDS = st.text(
    st.characters(exclude_categories=["Cs", "Zs", "Zl", "Zp"], exclude_characters="\ufeff"),
    min_size=1,
    max_size=5,
).filter(lambda word: len(word.split()) == 1 and word == word.strip())
TAGS = st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])
CORPUS = st.lists(st.lists(st.tuples(WORDS, TAGS), min_size=1, max_size=5), min_size=1, max_size=4)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(CORPUS, st.sampled_from([" ", "\t", "  X "]), st.sampled_from(["\n", "\r\n"]))
def test_what_is_written_is_read(tmp_path_factory, corpus, gap, newline):
    path = tmp_path_factory.mktemp("conll") / "any.txt"
    corpus = [
        list(zip([word for word, _ in rows], iob1_to_bio([tag for _, tag in rows]), strict=True))
        for rows in corpus
    ]
    sentences = [newline.join(word + gap + tag for word, tag in rows) for rows in corpus]
    path.write_bytes((newline * 2).join(sentences).encode())
    assert read_conll(path, strict=True) == [tuple(map(list, zip(*r, strict=True))) for r in corpus]


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.binary(max_size=40) | st.text("aO \n\rBI-\ufeff", max_size=40).map(str.encode))
def test_any_bytes_give_samples_or_a_data_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("conll") / "any.txt"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            samples = read_conll(path)
        except DataError as error:
            assert str(path) in str(error) and "expected" in str(error)
        else:
            assert samples and all(len(x) == len(y) > 0 for x, y in samples)


@pytest.mark.parametrize(
    "content, provide_pos, place, message",
    [
        ("EU B-ORG\nrejects\n", False, ":2", "expected token and tag, .*received 'rejects'"),
        ("EU B-ORG\n", True, ":1", "expected token, part of speech and tag, .*'EU B-ORG'"),
        ("a O\n\nEU NNP S-ORG\n", False, ":3", "tag 'S-ORG' is not BIO: expected O, B-TYPE or"),
        (b"a O\r\nb O\r\n\r\n\xcf O\r\n", False, ":4", "expected UTF-8, received byte 0xcf"),
        (b"\xef\xbb\xbfa O\n\xff O\n", False, ":2", "expected UTF-8, received byte 0xff"),
        ("", False, "", " holds no sentence"),
        ("-DOCSTART- -X- O O\n\n", False, "", " holds no sentence"),
    ],
)
def test_bad_files(write, content, provide_pos, place, message):
    path = write(content)
    with pytest.raises(DataError, match=message) as error:
        read_conll(path, provide_pos=provide_pos)
    assert str(error.value).startswith(f"{path}{place}")
    assert "\n" not in str(error.value)


IOB1 = "a O\n\nEU I-ORG\nand O\nUN I-ORG\nNATO B-ORG\n"


def test_iob1_becomes_bio_with_one_warning(write):
    path = write(IOB1)
    with pytest.warns(UserWarning) as caught:
        samples = read_conll(path)
    assert samples[1][1] == ["B-ORG", "O", "B-ORG", "B-ORG"]
    assert [str(warning.message) for warning in caught] == [
        f"{path}:3: tag 'I-ORG' continues no entity: expected 'B-ORG' at its start; "
        "tags read as B- in this file: 2 (IOB1, or damaged)"
    ]


def test_iob1_is_an_error_when_strict(write):
    path = write(IOB1)
    with pytest.raises(DataError, match=r":3: tag 'I-ORG' continues no entity: expected 'B-ORG'"):
        read_conll(path, strict=True)


@pytest.mark.parametrize(
    "token, raw",
    [
        *[("-LRB-", "("), ("-RRB-", ")"), ("-LSB-", "["), ("-RSB-", "]"), ("-LCB-", "{")],
        *[("-RCB-", "}"), ("-LRB-02-RRB-", "(02)"), ("``", '"'), ("''", '"'), ("`", "'")],
        *[("/.", "."), ("/?", "?"), ("/-", "-"), ("%uh", "uh"), ("%um", "um")],
        *[("\\*", "*"), ("\\*\\*", "**"), ("1\\/2", "1/2")],
    ],
)
def test_treebank_tokens_become_those_of_raw_text(token, raw):
    assert unescape_token(token) == raw


@pytest.mark.parametrize(
    "token",
    ["/", "%", "5%", "%5", "/quote", "and/or", "./", "-", "--", "'", "'s", "(", "LRB", "\\"],
)
def test_other_tokens_stay(token):
    assert unescape_token(token) == token


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.text(min_size=1, max_size=8))
def test_unescaping_never_empties_or_lengthens_a_token(token):
    assert 0 < len(unescape_token(token)) <= len(token)


def test_unescape_is_off_unless_asked_for(write, tmp_path):
    write("-LRB- NNP O\n%uh NNP B-X\n/. /. I-X\n")
    reader = Conll2003Reader()
    assert reader.read(tmp_path)["train"] == [(["-LRB-", "%uh", "/."], ["O", "B-X", "I-X"])]
    assert reader.read(tmp_path, unescape=True)["train"] == [
        (["(", "uh", "."], ["O", "B-X", "I-X"])
    ]
    # Parts of speech are no tokens.
    tokens, pos = reader.read(tmp_path, provide_pos=True, unescape=True)["train"][0][0]
    assert (tokens, pos) == (["(", "uh", "."], ["NNP", "NNP", "/."])


def test_legal_bio_gives_no_warning(write):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_conll(write(FILE)) == SENTENCES


def test_reader_reads_the_three_parts(write, tmp_path):
    write(FILE)
    write("valid O\n", "valid.txt")
    write("test O\n", "test.txt")
    write("not a tagged file", "readme.txt")
    assert Conll2003Reader().read(tmp_path, dataset_name="conll2003") == {
        "train": SENTENCES,
        "valid": [(["valid"], ["O"])],
        "test": [(["test"], ["O"])],
    }


def test_reader_hands_its_options_on(write, tmp_path):
    write(FILE)
    assert Conll2003Reader().read(tmp_path, provide_pos=True)["train"][0][0] == (
        ["EU", "rejects"],
        ["NNP", "VBZ"],
    )
    write(IOB1, "valid.txt")
    with pytest.raises(DataError, match=r"valid\.txt:3: tag 'I-ORG'"):
        Conll2003Reader().read(tmp_path, strict=True)


def test_parts_without_a_file_are_empty(write, tmp_path):
    write(FILE)
    assert Conll2003Reader().read(str(tmp_path)) == {"train": SENTENCES, "valid": [], "test": []}


def test_home_folder(write, tmp_path, monkeypatch):
    write(FILE)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert Conll2003Reader().read("~")["train"] == SENTENCES


EXPECTED = "expected a folder with train.txt, valid.txt, test.txt"


def test_relative_folders_are_looked_for_in_two_places(write, tmp_path, monkeypatch):
    monkeypatch.setenv("KERASNER_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    with pytest.raises(ConfigError) as error:
        Conll2003Reader().read("corpus")
    for place in ("work/corpus", "home/downloads/corpus"):
        assert str(tmp_path / place) in str(error.value)
    (tmp_path / "home/downloads/corpus").mkdir(parents=True)
    write(FILE, "home/downloads/corpus/train.txt")
    assert Conll2003Reader().read("corpus")["train"] == SENTENCES
    (tmp_path / "work/corpus").mkdir()
    write("nearer O\n", "work/corpus/train.txt")
    assert Conll2003Reader().read("corpus")["train"] == [(["nearer"], ["O"])]


def test_missing_folder(tmp_path):
    with pytest.raises(ConfigError, match=f"^data_path: no file .*nowhere; {EXPECTED}$"):
        Conll2003Reader().read(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=rf"{EXPECTED} \(ontonotes is not downloaded"):
        Conll2003Reader().read(tmp_path / "nowhere", dataset_name="ontonotes")


@pytest.mark.parametrize("name", ["provide_pos", "strict", "unescape"])
def test_flags_are_true_or_false(write, tmp_path, name):
    write(FILE)
    with pytest.raises(ConfigError, match=f"^{name}: expected true or false, received 'no'"):
        Conll2003Reader().read(tmp_path, **{name: "no"})


def test_name_for_configurations():
    assert registry.get("conll2003_reader") is Conll2003Reader


def test_folders_without_training_data(write, tmp_path):
    with pytest.raises(DataError, match=f"is empty: {EXPECTED}"):
        Conll2003Reader().read(tmp_path)
    path = write(FILE, "dev.txt")
    with pytest.raises(DataError, match=f"holds none of its files: {EXPECTED}"):
        Conll2003Reader().read(tmp_path)
    with pytest.raises(DataError, match=f"is not a folder: {EXPECTED}"):
        Conll2003Reader().read(path)


def test_a_single_part(write, tmp_path):
    write(FILE, "test.txt")
    data = Conll2003Reader().read(tmp_path)
    assert data["test"] and not data["train"] and not data["valid"]


def test_unreadable_file(tmp_path):
    (tmp_path / "train.txt").mkdir()
    with pytest.raises(DataError, match=r"^cannot read .*train\.txt: "):
        Conll2003Reader().read(tmp_path)


def test_tags_in_bioes(write, tmp_path):
    write(FILE)
    assert Conll2003Reader().read(tmp_path, scheme="bioes")["train"] == [
        (["EU", "rejects"], ["S-ORG", "O"]),
        (["Peter", "Blackburn"], ["B-PER", "E-PER"]),
    ]
    with pytest.raises(ConfigError, match="scheme: expected 'bio' or 'bioes', received 'io'"):
        Conll2003Reader().read(tmp_path, scheme="io")
    with pytest.raises(ConfigError, match=r"received \['bioes'\]"):
        Conll2003Reader().read(tmp_path, scheme=["bioes"])
