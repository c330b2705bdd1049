"""Word lists as features of tokens."""

import json

import numpy as np
import pytest
import tensorflow as tf

import kerasner
from kerasner import config as configs
from kerasner.components import Lexicon
from kerasner.errors import ArchiveError, ConfigError, KerasnerError
from kerasner.pretrained import archives
from kerasner.pretrained.pack import pack_model
from kerasner.tagger import Tagger

LISTS = {
    "place": ["rio", "new york", "york on  sea", "göttingen"],
    "slot": {"cheap": ["cheap", "low cost"], "any": ["any", "rio"]},
}
# whole place, first of a place, later word of a place, whole slot, first, later
EXPECTED = {
    "rio": [1, 0, 0, 1, 0, 0],
    "new": [0, 1, 0, 0, 0, 0],
    "york": [0, 1, 1, 0, 0, 0],
    "sea": [0, 0, 1, 0, 0, 0],
    "göttingen": [1, 0, 0, 0, 0, 0],
    "low": [0, 0, 0, 0, 1, 0],
    "any": [0, 0, 0, 1, 0, 0],
    "Rio": [0] * 6,
    "": [0] * 6,
    "\t1": [0] * 6,
}


def fitted(path, **settings) -> Lexicon:
    lexicon = Lexicon(str(path), **settings)
    lexicon.fit(tf.constant(["any"]))
    return lexicon


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "lists.json"
    path.write_text(json.dumps(LISTS), encoding="utf-8")
    return path


@pytest.mark.parametrize("value", [1.0, 0.5])
def test_lists_and_places(file, tmp_path, value):
    lexicon = fitted(file, value=value)
    tokens = tf.constant(list(EXPECTED))
    expected = value * np.array(list(EXPECTED.values()), np.float32)
    np.testing.assert_array_equal(lexicon(tokens), expected)
    assert lexicon.dim == 6
    lexicon.save(tmp_path, "lexicon-0")
    file.unlink()  # a saved pipeline needs it no more
    again = Lexicon(value=value)
    again.load(tmp_path, "lexicon-0")
    np.testing.assert_array_equal(again(tokens), expected)
    assert again(tf.constant([], tf.string)).shape == (0, 6)


def test_lists_of_single_words_have_one_feature(tmp_path):
    path = tmp_path / "lists.json"
    path.write_text('{"a": ["x"], "b": ["y", "x"]}')
    np.testing.assert_array_equal(fitted(path)(tf.constant(["x", "y"])), [[1, 1], [0, 1]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "lexicon: load_path: .*lists.json: expected a JSON file of lists; cannot be read"),
        ('{"a": ["\\ud800x"]}', "lists.json: the list 'a' holds what is no text"),
        ("[]", "lists.json: expected an object of lists"),
        ("{}", "lists.json: expected an object of lists"),
        ('{"a": []}', "lists.json: the list 'a' is empty"),
        ('{"a": [" "]}', "lists.json: the list 'a' is empty"),
        ('{"a": ["x", 3]}', "lists.json: a: expected a list of strings"),
        ('{"a": {"b": "x"}}', "lists.json: a: expected a list of strings"),
    ],
)
def test_wrong_files(tmp_path, content, message):
    (tmp_path / "lists.json").write_text(content)
    with pytest.raises(KerasnerError, match=message):
        fitted(tmp_path / "lists.json")


def test_a_misspelt_name():
    with pytest.raises(ConfigError, match="no file.*did you mean 'names_ru'"):
        fitted("name_ru")
    with pytest.raises(ConfigError, match="expected a path, received 3"):
        Lexicon(3).fit()
    with pytest.raises(ConfigError, match="lexicon: value"):
        Lexicon("names_ru", value=-1)


@pytest.mark.parametrize("damage", [{"kinds": [[9]]}, {"features": None}, {"kinds": "x"}])
def test_damaged_files(file, tmp_path, damage):
    fitted(file).save(tmp_path, "lexicon-0")
    content = json.loads((tmp_path / "lexicon-0.json").read_text())
    (tmp_path / "lexicon-0.json").write_text(json.dumps({**content, **damage}))
    with pytest.raises(ArchiveError, match="lexicon-0.json: damaged"):
        Lexicon().load(tmp_path, "lexicon-0")


def test_kinds_that_are_not_there(file, tmp_path):
    fitted(file).save(tmp_path, "lexicon-0")
    for line in ("word\t99", "word\t-1", "word"):
        (tmp_path / "lexicon-0.txt").write_text(f"{line}\n")
        with pytest.raises(ArchiveError, match="lexicon-0.json: damaged"):
            Lexicon().load(tmp_path, "lexicon-0")


def test_a_byte_order_mark(tmp_path):
    (tmp_path / "lists.json").write_text('{"a": ["x"]}', encoding="utf-8-sig")
    assert fitted(tmp_path / "lists.json").dim == 1


def test_the_lists_that_come_with_kerasner():
    lexicon = fitted("names_ru")
    features = lexicon(tf.constant(["иванов", "ивановичем", "казани", "стол", "qwerty"])).numpy()
    columns = ["name", "surname", "patronymic", "place", "organisation", "word"]
    found = [{c for c, x in zip(columns, row, strict=True) if x} for row in features]
    assert "surname" in found[0] and "patronymic" in found[1] and "place" in found[2]
    assert found[3:] == [{"word"}, set()]


def test_packed(file, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "FOLDER", tmp_path)
    (tmp_path / archives.REGISTRY).write_text("{}")
    (tmp_path / "own").mkdir()
    file.rename(tmp_path / "own" / "lexicon.json")
    pack_model(tmp_path / "own", "own_lists")
    assert archives.names("lexicon") == ["own_lists"] and not archives.names()
    assert fitted("own_lists").dim == 6


def test_a_tagger_learns_names_from_lists(corpus, data_folder, tmp_path):
    """Half of the names of firms and places are not among the sentences it learns from."""
    words = {"firm": set(), "place": set()}
    for part in corpus.values():
        for tokens, tags in part:
            for token, tag in zip(tokens, tags, strict=True):
                if tag in ("B-ORG", "B-LOC"):
                    words["firm" if tag == "B-ORG" else "place"].add(token.lower())
    path = tmp_path / "lists.json"
    path.write_text(json.dumps({name: sorted(found) for name, found in words.items()}))
    config = configs.load("ner_dstc2")
    config["dataset_reader"] = {"class_name": "conll2003_reader", "data_path": str(data_folder)}
    config["dataset_iterator"] = {"class_name": "data_learning_iterator"}
    settings = {
        "chainer.pipe.slot_values.load_path": path,
        "chainer.pipe.word_vocab.min_freq": 1000,  # all words are unknown
        "chainer.pipe.word_vocab.special_tokens": '["<UNK>", "."]',
        "chainer.pipe.ner.save_path": tmp_path / "model",
        "train.epochs": 12,
        "train.batch_size": 4,
        "train.validation_patience": 12,
    }
    ner = kerasner.train_model(config, [f"{key}={value}" for key, value in settings.items()])
    types = ner.evaluate(corpus["test"]).types
    assert types["LOC"].f1 > 90
    loaded = Tagger.load(tmp_path / "model")
    texts = ["xyz in avalund ."]
    served = tf.saved_model.load(str(ner.export(tmp_path / "served", version=1)))
    tags = served.signatures["serving_default"](tf.constant(texts))["tags"].numpy()[0]
    assert [tag.decode() for tag in tags] == list(loaded(texts)[1][0]) == ["O", "O", "B-LOC", "O"]


def test_a_list_that_matches_nothing_is_told(file, caplog):
    lexicon = Lexicon(str(file))
    lexicon.fit(tf.constant([b"york", b"\xff"]))
    (record,) = caplog.records
    assert "no token of the training part is in the lists 'slot'; " in record.getMessage()
    lexicon.fit(tf.constant(["york", "low"]))
    assert len(caplog.records) == 1
