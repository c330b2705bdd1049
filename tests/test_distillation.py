"""Data sets of what trained taggers hold probable, and a student that learns from one."""

import json
import shutil

import numpy as np
import pytest

import kerasner
from kerasner import distillation
from kerasner.bio import report
from kerasner.data import Conll2003Reader, read_conll
from kerasner.distillation import Teachers
from kerasner.errors import ConfigError


@pytest.fixture(scope="module")
def bioes_folder(small_settings, tmp_path_factory):
    """A teacher with tags of its own."""
    folder = tmp_path_factory.mktemp("models") / "bioes"
    own = [f"chainer.pipe.ner.save_path={folder}", "dataset_reader.scheme=bioes", "train.seed=2"]
    kerasner.train_model("ner_conll2003", [*small_settings, *own], verbose=0)
    return folder


@pytest.fixture(scope="module")
def bioes(bioes_folder):
    return kerasner.tagger.Tagger.load(bioes_folder)


def test_a_tagger_trained_in_bioes_answers_in_bio(bioes, corpus):
    assert {"E-PER", "S-LOC"} < set(bioes.tags)
    assert bioes.evaluate(corpus["test"]).total.f1 > 90
    (tags,) = bioes([["Dalia", "Elvik", "lives", "in", "Galvia", "."]])[1]
    assert tags == ["B-PER", "I-PER", "O", "O", "B-LOC", "O"]


def test_drawn_tags_are_those_that_are_probable(tagger, bioes, corpus):
    sentences = [tokens for tokens, _ in corpus["test"]] * 10
    gold = [tags for _, tags in corpus["test"]] * 10
    for taggers in ([tagger], [bioes], [tagger, bioes]):
        drawn = Teachers(taggers).draw(sentences, np.random.default_rng(1))
        assert [len(tags) for tags in drawn] == [len(tokens) for tokens in sentences]
        assert 80 < report(gold, drawn).total.f1
    again = Teachers(taggers).draw(sentences, np.random.default_rng(1))
    assert drawn == again


def test_drawn_tags_do_not_depend_on_padding(trained_folder, bioes_folder, corpus):
    """Of teachers that are sure, drawn tags are the best ones, beside longer sentences too."""
    long = [token for tokens, _ in corpus["test"] for token in tokens]
    sentences = [["Dalia", "Elvik"], ["Axonix"], long]
    for folder in (trained_folder, bioes_folder):
        teacher = kerasner.tagger.Tagger.load(folder)
        teacher.model.temperature = 1e-3
        drawn = Teachers([teacher]).draw(sentences, np.random.default_rng(1))
        assert drawn == teacher(sentences)[1]


def test_an_unsure_teacher_gives_its_doubts(trained_folder, corpus):
    tagger = kerasner.tagger.Tagger.load(trained_folder)
    tagger.model.temperature = 50.0
    sentences = [corpus["test"][0][0]] * 300
    drawn = Teachers([tagger]).draw(sentences, np.random.default_rng(1))
    assert len(set(map(tuple, drawn))) > 200


def test_a_student_of_two_teachers(
    trained_folder, bioes_folder, data_folder, text_file, small_settings, corpus, tmp_path, capsys
):
    folder = tmp_path / "distilled"
    arguments = [str(folder), str(trained_folder), str(bioes_folder), "--data", str(data_folder)]
    assert distillation.main([*arguments, "--text", str(text_file), "--draws", "2"]) == 0
    counts = json.loads(capsys.readouterr().out)
    own = len(corpus["train"])
    assert (counts["own"], counts["drawn"]) == (own, 2 * own)
    assert counts["text"] > own
    data = Conll2003Reader().read(folder, strict=True)
    assert data["train"][:own] == corpus["train"]
    assert [tokens for tokens, _ in data["train"][own : 2 * own]] == [t for t, _ in corpus["train"]]
    assert len(data["train"]) == sum(counts.values())
    assert data["valid"] == corpus["valid"] and data["test"] == corpus["test"]
    settings = [
        *small_settings,
        f"dataset_reader.data_path={folder}",
        f"chainer.pipe.ner.save_path={tmp_path / 'student'}",
        "train.epochs=2",
    ]
    student = kerasner.train_model("ner_conll2003", settings, verbose=0)
    assert student.evaluate(corpus["test"]).total.f1 > 95


def test_sentences_of_raw_text_may_be_too_long(trained_folder, data_folder, tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("\n" * 3000 + "word " * 200 + "\nDalia left Axonix .\n", encoding="utf-8")
    arguments = [str(tmp_path / "out"), str(trained_folder), "--data", str(data_folder)]
    assert distillation.main([*arguments, "--text", str(text)]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == 1
    assert read_conll(tmp_path / "out" / "train.txt")[-1][0] == ["Dalia", "left", "Axonix", "."]


def test_wrong_arguments(trained_folder, data_folder, tmp_path, capsys):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    only_valid = tmp_path / "only_valid"
    only_valid.mkdir()
    shutil.copy(data_folder / "valid.txt", only_valid)
    new, teacher, data = str(tmp_path / "new"), str(trained_folder), ["--data", str(data_folder)]
    for arguments, message in (
        ([str(taken), teacher, *data], "taken holds something; expected a new folder"),
        ([new, "no_such", *data], "no model is called 'no_such'"),
        ([new, teacher, *data, "--draws", "0"], "draws: expected 1 or more"),
        ([new, teacher, "--data", str(tmp_path / "none")], "none"),
        (
            [new, teacher, "ner_ontonotes", *data],
            "of different labels: ['LOC', 'ORG', 'PER'] and [",
        ),
        ([new, "ner_ontonotes", *data], "the data have B-PER; the teachers know ['CARDINAL', "),
        (
            [new, teacher, "--data", str(only_valid)],
            "no sentences: expected a part train, or texts",
        ),
    ):
        assert distillation.main(arguments) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "new").exists()
    assert [path.name for path in taken.iterdir()] == ["notes.txt"]


def test_teachers_take_tokens_alone(tagger):
    further = kerasner.tagger.Tagger(tagger.chainer, tagger.config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tagger.chainer, "inputs", ["x", "pos"])
        with pytest.raises(ConfigError, match="expected tokens alone"):
            Teachers([further])
