"""What a user holds: texts and token lists in, tags and entities out."""

import json

import numpy as np
import pytest

from kerasner import storage
from kerasner.errors import ArchiveError, ConfigError
from kerasner.tagger import BATCH_SIZE, Entity, Tagger

TEXT = "Abel Falk lives in Avalund . Yesterday Hilda left Axonix ."
TOKENS = [["Abel", "Falk", "lives", "in", "Avalund", "."], ["Yesterday", "Hilda", "left", "Axonix"]]
TAGS = [["B-PER", "I-PER", "O", "O", "B-LOC", "O"], ["O", "B-PER", "O", "B-ORG"]]


def test_the_corpus_is_learnt(tagger, corpus):
    assert tagger.evaluate(corpus["test"]).total.f1 >= 90


def test_texts(tagger):
    tokens, tags = tagger([TEXT, "", "Nobody knows why ."])
    assert tokens == [TEXT.split(), [], ["Nobody", "knows", "why", "."]]
    assert tags == [[*TAGS[0], *TAGS[1], "O"], [], ["O"] * 4]


def test_token_lists_are_taken_as_they_are(tagger):
    tokens, tags = tagger([TOKENS[0], [], TOKENS[1]])
    assert tokens == [TOKENS[0], [], TOKENS[1]]
    assert tags == [TAGS[0], [], TAGS[1]]
    odd = [["Abel  Falk", "x.y z"]]
    assert tagger(odd)[0] == odd
    assert [len(row) for row in tagger(odd)[1]] == [2]


def test_tuples_and_token_tuples(tagger):
    assert tagger(tuple(map(tuple, TOKENS))) == (TOKENS, TAGS)


def test_empty_batches(tagger):
    assert tagger([]) == ([], [])
    assert tagger([[], []]) == ([[], []], [[], []])
    assert tagger.entities([]) == []


def test_more_texts_than_one_call_of_the_graph_takes(tagger):
    texts = ["", "Hilda ."] * (BATCH_SIZE // 2 + 1)
    tokens, tags = tagger(texts)
    assert tokens == [[], ["Hilda", "."]] * (BATCH_SIZE // 2 + 1)
    assert len(tags) == len(texts)
    assert {tuple(row) for row in tags} == {(), tuple(tags[1])}
    assert len(tagger.entities(texts)) == len(texts)


@pytest.mark.parametrize(
    "batch",
    [
        "Abel Falk",
        ["Abel", ["Falk"]],
        [["Falk"], "Abel"],
        [["Abel", ""]],
        [["Abel", 1]],
        [None],
        [b"A"],
        b"A",
        (text for text in ["Abel"]),
        {"Abel": 1},
    ],
)
def test_what_is_no_batch_is_refused(tagger, batch):
    with pytest.raises(TypeError):
        tagger(batch)


def test_what_does_not_fit_is_named_with_its_place(tagger):
    with pytest.raises(TypeError, match="texts or only lists .* received nan at place 2"):
        tagger(["Abel", "Falk", float("nan")])
    with pytest.raises(TypeError, match="received 'Falk' at place 1"):
        tagger([["Abel"], "Falk"])
    with pytest.raises(TypeError, match="received nan at place 1"):
        tagger.entities(["Abel", float("nan")])


@pytest.mark.parametrize("texts", ["Abel Falk", [["Abel", "Falk"]], [None], iter(["Abel"])])
def test_what_are_no_texts_is_refused(tagger, texts):
    with pytest.raises(TypeError, match="list of texts"):
        tagger.entities(texts)


def test_entities(tagger):
    texts = [TEXT, "", "Nobody knows why .", "\U0001f600 é Abel  Falk \U0001f600 left\tAxonix ."]
    found = tagger.entities(texts)
    assert [[(e.text, e.label) for e in row] for row in found[:3]] == [
        [("Abel Falk", "PER"), ("Avalund", "LOC"), ("Hilda", "PER"), ("Axonix", "ORG")],
        [],
        [],
    ]
    assert "Axonix" in [entity.text for entity in found[3]]
    for text, row in zip(texts, found, strict=True):
        for entity in row:
            assert isinstance(entity, Entity)
            assert text[entity.start : entity.end] == entity.text
            assert 0 < entity.score <= 1


def test_a_lone_surrogate_counts_as_one_character(tagger):
    text = "\ud800 Hilda left Axonix ."
    for entity in tagger.entities([text])[0]:
        assert text[entity.start : entity.end] == entity.text
    assert tagger([text])[0][0][1:] == ["Hilda", "left", "Axonix", "."]


def test_saved_and_loaded_it_answers_the_same(tagger, corpus, tmp_path):
    tagger.save(tmp_path / "new" / "copy")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["copy"]
    copy = Tagger.load(str(tmp_path / "new" / "copy"))
    sentences = [tokens for tokens, _ in corpus["test"]]
    assert copy(sentences) == tagger(sentences)
    assert copy.tags == tagger.tags
    expected = storage.layer_weights(tagger.model)
    for name, weight in storage.layer_weights(copy.model).items():
        np.testing.assert_array_equal(np.asarray(weight), np.asarray(expected[name]))


def test_saving_replaces_an_older_model_but_nothing_else(tagger, tmp_path):
    tagger.save(tmp_path / "model")
    weights = (tmp_path / "model" / "weights.npz").read_bytes()
    tagger.save(tmp_path / "model")
    assert (tmp_path / "model" / "weights.npz").read_bytes() == weights
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "text.doc").write_text("all of it")
    with pytest.raises(ConfigError, match="thesis exists and is no model"):
        tagger.save(precious)
    assert (precious / "text.doc").read_text() == "all of it"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "thesis"]


def test_a_folder_that_cannot_be_written(tagger, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write"):
        tagger.save(tmp_path / "file" / "model")


def damage_config(folder):
    (folder / "config.json").write_text("{")


def other_format(folder):
    (folder / "config.json").write_text('{"format": 99}')


def no_content(folder):
    (folder / "config.json").write_text('{"format": 1, "config": []}')


def no_vocabulary(folder):
    (folder / "char_vocab.txt").unlink()


def cut_vectors(folder):
    (folder / "glove_emb.npz").write_bytes((folder / "glove_emb.npz").read_bytes()[:200])


def cut_weights(folder):
    (folder / "weights.npz").write_bytes((folder / "weights.npz").read_bytes()[:-10])


def other_weights(folder):
    storage.save_weights(folder / "weights.npz", {"a": np.zeros(2)})


def smaller_network(folder):
    content = json.loads((folder / "config.json").read_text())
    next(e for e in content["config"]["chainer"]["pipe"] if e.get("main"))["n_hidden_list"] = [8]
    (folder / "config.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (damage_config, "config.json: damaged"),
        (other_format, "expected a model of format 1"),
        (no_content, "config.json: damaged"),
        (no_vocabulary, "char_vocab.txt"),
        (cut_vectors, "glove_emb.npz"),
        (cut_weights, "weights.npz: missing or damaged"),
        (other_weights, "weights.npz: weights that the model and the file do not share"),
        (smaller_network, "the model expects"),
    ],
)
def test_a_damaged_model_is_refused(trained_folder, tmp_path, damage, expected):
    for path in trained_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    damage(tmp_path)
    with pytest.raises(ArchiveError) as caught:
        Tagger.load(tmp_path)
    assert expected in str(caught.value)


def test_no_model_in_a_folder(tmp_path):
    with pytest.raises(ArchiveError, match="no model here, expected a file config.json"):
        Tagger.load(tmp_path)
