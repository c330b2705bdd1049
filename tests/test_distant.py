"""A language model that guesses kinds of names: its examples, what it learns, a tagger on top."""

import json
import logging

import numpy as np
import pytest
import tensorflow as tf
from small_language_model import interrupt

import kerasner
from kerasner import distant, storage
from kerasner.components import TextSplitter, language_model
from kerasner.data.text import Corpus
from kerasner.distant import Examples, Settings
from kerasner.errors import ConfigError, DataError

LISTS = {
    "family": ["Belkov", "cardew", "dorset", "elvik", "falk", "hobart", "ilves", "march"],
    "place": ["brixby", "costerra", "drumholm", "estavia", "fernholt", "galvia", "march"],
    "word": ["yesterday", "shares", "the", "nobody", "group", "falk", "a"],
}
SETTINGS = Settings(epochs=15, batch_tokens=200, learning_rate=0.01, held_out=60)


def teach(folder, text_file, save_path, settings=SETTINGS, lists=LISTS):
    text, model = language_model.load(folder)
    return distant.teach([text_file], save_path, model, text, lists, TextSplitter(), settings)


@pytest.fixture(scope="module")
def taught(language_model_folder, text_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("taught") / "lm"
    teach(language_model_folder, text_file, folder)
    return folder


@pytest.mark.parametrize(
    ("sentence", "kinds"),
    [
        ("Yesterday Cardew left Galvia .", [0, 1, 0, 2, 0]),
        ("Falk March Unknown NATO GALVIA", [-1, -1, -1, -1, -1]),  # two lists, none, capitals
        ("so J . Cardew left", [0, 3, 3, 1, 0]),
        ("so J . R . Cardew", [0, 3, 3, 3, 3, 1]),
        ("J . Cardew left", [-1, 0, 1, 0]),  # a numbered list
        ("and A list or X list", [0, 0, 0, 0, -1, 0]),
        ("plan B .", [0, -1, 0]),
    ],
)
def test_examples(sentence, kinds):
    corpus = Corpus.of([sentence.encode().split()], 80)
    examples = Examples(corpus.words, LISTS)
    assert examples.kinds == ["O", "family", "place", "initial"]
    padded = np.concatenate([corpus.tokens, [-1, -1]]).astype(np.int32)[None]
    assert examples.of(padded)[0].tolist() == [*kinds, -1, -1]


def test_names_in_no_list_are_guessed(taught, language_model_folder, text_file):
    measured = json.loads((taught / "measured.json").read_text())
    assert measured["examples"] > 20 and measured["right"] > 95
    text, model = language_model.load(taught)
    sentence = "Yesterday Dalia Grenwald lives in Hexberg ."  # neither name is in a list
    ids = text(tf.constant(sentence.split()))[None]
    mask = tf.ones(ids.shape[:2], tf.bool)
    shared, own = model.features(model.token_features(ids), mask)
    assert (shared.shape[-1], own.shape[-1]) == model.feature_widths
    guesses = shared[0, :, -4:].numpy()
    np.testing.assert_allclose(guesses.sum(-1), 1.0, rtol=1e-5)
    assert guesses.argmax(-1).tolist()[2:] == [1, 0, 0, 2, 0]
    # What it knew stays as it was.
    before = language_model.load(language_model_folder)[1]
    weights = storage.layer_weights(model)
    for key, weight in storage.layer_weights(before).items():
        np.testing.assert_allclose(weight, weights[key], atol=1e-6)
    np.testing.assert_allclose(before.features(model.token_features(ids), mask)[1], own, atol=1e-5)


def test_a_stopped_run_goes_on(language_model_folder, text_file, tmp_path, monkeypatch, caplog):
    interrupt(monkeypatch, 91)
    run = (language_model_folder, text_file, tmp_path / "lm")
    with caplog.at_level(logging.INFO):
        with pytest.raises(KeyboardInterrupt):
            teach(*run)
        assert "Stopped; the same command goes on after part 90 of 300" in caplog.text
        assert not (tmp_path / "lm").exists()
        measured = teach(*run)
    assert "going on after part 90 of 300" in caplog.text
    assert "part 90 of 300: loss" in caplog.text and "part 91 of 300: loss" in caplog.text
    assert caplog.text.count("part 50 of 300: loss") == 1
    assert measured["right"] > 95
    assert not list(tmp_path.glob("*.training"))


def test_other_lists_start_anew(language_model_folder, text_file, tmp_path, monkeypatch, caplog):
    interrupt(monkeypatch, 3, 4)
    others = {**LISTS, "word": ["yesterday"]}
    with caplog.at_level(logging.INFO):
        for lists in (LISTS, others):
            with pytest.raises(KeyboardInterrupt):
                teach(language_model_folder, text_file, tmp_path / "lm", lists=lists)
    assert "of a run with other settings or text" in caplog.text
    assert "going on" not in caplog.text


def test_guesses_do_not_depend_on_padding(taught):
    text, model = language_model.load(taught)
    tokens = "Yesterday Dalia left Axonix . Nobody knows".split()

    def features(width):
        ids = tf.pad(text(tf.constant(tokens)), [[0, width - len(tokens)], [0, 0]])[None]
        mask = tf.sequence_mask([len(tokens)], width)
        return model.features(model.token_features(ids), mask)[0][0, : len(tokens)]

    np.testing.assert_allclose(features(7), features(12), atol=1e-5)


@pytest.mark.parametrize(
    ("kinds", "length", "expected"),
    [
        ("OIIIINO", 7, [0, 5, 5, 5, 5, 5, 6]),
        ("ONIIO", 5, [0, 1, 1, 1, 4]),  # the surname comes first
        ("NIIN", 4, [0, 3, 3, 3]),
        ("OIIO", 4, [0, 1, 2, 3]),  # no name beside them
        ("OIIN", 3, [0, 1, 2, 3]),  # nothing follows but padding
        ("I", 1, [0]),
    ],
)
def test_initials_stand_for_their_name(taught, kinds, length, expected):
    model = language_model.load(taught)[1]
    column = {"O": 0, "N": 1, "I": 3}  # of "O", "family", "place", "initial"
    shared = np.zeros([1, len(kinds), model.feature_widths[0]], np.float32)
    for place, kind in enumerate(kinds):
        shared[0, place, column[kind] - 4] = 0.9
    found = model.stand_ins(shared, tf.sequence_mask([length], len(kinds)))
    assert found[0].numpy().tolist() == expected


def test_a_tagger_on_top(taught, data_folder, corpus, tmp_path):
    values = {
        "dataset_reader.data_path": data_folder,
        "dataset_iterator.target_tag": "LOC",
        "chainer.pipe.language_model.load_path": taught,
        "chainer.pipe.ner_svm.save_path": tmp_path / "tagger",
    }
    settings = [f"{key}={value}" for key, value in values.items()]
    ner = kerasner.train_model("ner_few_shot_en_simulate", settings)
    gold = [
        (tokens, [t if t[2:] == "LOC" else "O" for t in tags]) for tokens, tags in corpus["test"]
    ]
    assert ner.evaluate(gold).total.f1 > 90
    loaded = kerasner.tagger.Tagger.load(tmp_path / "tagger")
    texts = ["Dalia lives in Avalund ."]
    served = tf.saved_model.load(str(ner.export(tmp_path / "served", version=1)))
    found = served.signatures["entities"](tf.constant(texts))
    assert found["texts"].numpy()[0].tolist() == [b"Avalund"]
    assert loaded.entities(texts)[0][0].score == pytest.approx(
        found["scores"].numpy()[0, 0], abs=1e-5
    )


@pytest.mark.parametrize(
    ("changes", "lists", "error", "message"),
    [
        ({"epochs": 0}, LISTS, ConfigError, "epochs: expected 1 or more"),
        ({"held_out": 200}, LISTS, DataError, "expected 400 sentences at least, of which 200"),
        ({}, {**LISTS, "river": ["nile"]}, DataError, "no capitalized token of the list 'river'"),
        ({}, {**LISTS, "initial": ["j"]}, DataError, "a list is called 'initial'"),
        ({}, {"word": ["the"]}, DataError, "expected a list of names at least"),
    ],
)
def test_wrong_settings(language_model_folder, text_file, tmp_path, changes, lists, error, message):
    with pytest.raises(error, match=message):
        teach(
            language_model_folder, text_file, tmp_path / "lm", SETTINGS._replace(**changes), lists
        )
    assert not (tmp_path / "lm").exists()


def test_command(language_model_folder, text_file, tmp_path, capsys):
    lists = tmp_path / "lists.json"
    lists.write_text(json.dumps(LISTS))
    few = ["--language", "en", "--tokenizer", "treebank", "--epochs", "1", "--held-out", "60"]
    arguments = [str(tmp_path / "lm"), str(lists), str(text_file), *few]
    assert distant.main([str(language_model_folder), *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["examples"] > 20
    assert distant.main(["no_such", *arguments]) == 2
    assert "no_such" in capsys.readouterr().err
