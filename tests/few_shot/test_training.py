"""A few-shot tagger from a configuration: trained, saved, loaded, scored."""

import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf

from kerasner import build_model, config, evaluate_model, train_model
from kerasner.errors import ArchiveError, ConfigError, DataError
from kerasner.tagger import Tagger

pytest.importorskip("sklearn")


@pytest.fixture
def few_shot(data_folder, vector_file, tmp_path) -> dict:
    """The installed configuration, with word vectors of the small corpus for the language model."""
    changed = config.load("ner_few_shot_ru")
    pipe = changed["chainer"]["pipe"]
    place = next(i for i, item in enumerate(pipe) if item.get("class_name") == "language_model")
    vectors = {"class_name": "glove", "load_path": str(vector_file), "lacking_min_count": 10**6}
    pipe[place : place + 1] = [
        {"class_name": "str_lower", "in": ["x_tokens"], "out": ["x_lower"]},
        {**vectors, "in": ["x_lower"], "out": ["tokens_emb"]},
        {
            "class_name": "capitalization_featurizer",
            "scheme": "extended",
            "in": ["x_tokens"],
            "out": ["cap"],
        },
    ]
    machines = next(item for item in pipe if item.get("class_name") == "ner_svm")
    machines |= {"in": ["tokens_emb", "cap"], "save_path": str(tmp_path / "model")}
    changed["dataset_reader"]["data_path"] = str(data_folder)
    return changed


def simulated(few_shot: dict, **settings) -> dict:
    iterator = {"class_name": "ner_few_shot_iterator", "seed": 1, **settings}
    return {**few_shot, "dataset_iterator": iterator}


def test_learns_all_types_in_bio(few_shot, monkeypatch):
    train_model(few_shot, verbose=0)
    monkeypatch.setitem(sys.modules, "sklearn", None)  # of no use any more
    assert evaluate_model(few_shot)["test"].metrics["ner_f1"] > 90
    tagger = build_model(few_shot)
    assert tagger([["Abel", "Arnstad", "left", "Brixby", "."]])[1] == [
        ["B-PER", "I-PER", "O", "B-LOC", "O"]
    ]
    entity = tagger.entities(["Yesterday Brisa Belkov left."])[0][0]
    assert (entity.text, entity.label) == ("Brisa Belkov", "PER") and 0.3 < entity.score < 1


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_learns_one_type_from_ten_sentences(few_shot, kernel):
    one = simulated(few_shot, target_tag="PER", n_train_samples=10)
    settings = [f"chainer.pipe.ner_svm.kernel={kernel}"]
    tagger = train_model(one, settings, verbose=0)
    assert tagger.tags == ["O", "PER"]
    report = evaluate_model(one, settings)["test"].report
    assert report.total.f1 > 75 and set(report.types) == {"PER"}
    assert tagger(["Abel Arnstad left."])[1] == [["B-PER", "I-PER", "O", "O"]]


def test_one_part_is_enough(few_shot, data_folder, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copy(data_folder / "train.txt", folder)
    few_shot["dataset_reader"]["data_path"] = str(folder)
    events = []
    train_model(few_shot, verbose=0, tell=events.append)
    assert events == [] and evaluate_model(few_shot) == {}


def test_the_part_valid_may_be_learnt_from(few_shot):
    settings = ["train.train_on_valid=true"]
    machines = [train_model(few_shot, s, verbose=0).model.svm for s in ((), settings)]
    intercepts = [layer.intercepts.numpy() for layer in machines]
    assert np.abs(intercepts[0] - intercepts[1]).max() > 1e-3


def test_there_are_no_epochs_to_draw_a_letter_case_for(few_shot, tmp_path):
    with pytest.raises(ConfigError, match="train.letter_case: expected {} with ner_svm.*'upper'"):
        train_model(few_shot, ['train.letter_case={"upper": 0.1}'], verbose=0)
    assert not (tmp_path / "model").exists()


def test_the_same_each_time(few_shot):
    sentences = [["Abel", "left", "Axonix", "Group", "."]]
    first, second = (train_model(few_shot, verbose=0).graph.tokens(sentences) for _ in range(2))
    assert first["scores"].numpy().tolist() == second["scores"].numpy().tolist()


def test_a_damaged_model(few_shot, tmp_path):
    train_model(few_shot, verbose=0)
    (path,) = (tmp_path / "model").glob("ner_svm*.json")
    path.write_text("{}")
    with pytest.raises((ArchiveError, ConfigError), match="damaged"):
        Tagger.load(tmp_path / "model")


def test_two_trained_components(few_shot):
    pipe = few_shot["chainer"]["pipe"]
    pipe.append(next(item for item in pipe if item.get("class_name") == "ner_svm"))
    with pytest.raises(ConfigError, match="expected one ner or ner_svm, found 2"):
        train_model(few_shot, verbose=0)


@pytest.mark.parametrize("scheme", ["io", "bio"])
def test_tags_that_know_of_each_other_in_a_saved_model(few_shot, scheme, tmp_path):
    setup = few_shot
    if scheme == "io":
        setup = simulated(few_shot, target_tag="PER", n_train_samples=10)
    sentences = [["Abel", "Arnstad", "left", "Brixby", "."], ["Yesterday", "Brisa", "Belkov"]]
    tagger = train_model(setup, verbose=0)
    assert tagger.model.use_crf and tagger.model.scheme == scheme
    transitions = tagger.model.crf.transitions.numpy()
    names = ("PER", "PER") if scheme == "io" else ("B-PER", "I-PER")
    first, second, outside = map(tagger.tags.index, (*names, "O"))
    assert transitions[first, second] > 0 > transitions[outside, second]
    loaded = Tagger.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.model.crf.transitions, transitions)
    place = tagger.export(tmp_path / "exported")
    tokens = tf.ragged.constant(sentences).to_tensor()
    served = tf.saved_model.load(str(place)).signatures["tokens"](tokens=tokens)
    for answer, ours in (
        (served, tagger.graph.tokens(tokens)),
        (served, loaded.graph.tokens(tokens)),
    ):
        assert answer["tags"].numpy().tolist() == ours["tags"].numpy().tolist()
        np.testing.assert_allclose(answer["scores"], ours["scores"], rtol=0, atol=1e-5)
    alone = [tagger.graph.tokens([row])["scores"].numpy()[0] for row in sentences]
    for row, scores in zip(alone, served["scores"].numpy(), strict=True):
        np.testing.assert_allclose(row, scores[: len(row)], rtol=0, atol=1e-5)


def test_without_transitions_tags_do_not_know_of_each_other(few_shot):
    tagger = train_model(few_shot, ["chainer.pipe.ner_svm.transitions=0"], verbose=0)
    assert not tagger.model.use_crf and set(tagger.model.named_layers) == {
        "token_embedding",
        "svm",
    }


ENTITY = "Abel B-PER\nArnstad I-PER\nleft O\n\nYes O\n\n"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"train": "Yes O\nit O\n\n"}, r"\(1 sentences, 2 tokens\) has one tag alone, 'O'"),
        ({"train": "Abel B-PER\nArnstad I-PER\n\n"}, "of one type alone, 'B-PER' and 'I-PER'"),
        ({"train": ""}, "train.txt holds no sentence"),
        ({"train": "\n\n"}, "train.txt holds no sentence"),
        ({"train": ENTITY, "valid": ""}, "valid.txt holds no sentence"),
        ({"test": ENTITY}, "no train part"),
        ({"train": f"{ENTITY}Abel PER\n\n"}, r"train.txt:7: tag 'PER' is not BIO: expected O, B-"),
        ({"train": ENTITY, "test": "Abel PER\n\n"}, "test.txt:1: tag 'PER' is not BIO"),
    ],
)
def test_data_that_nothing_can_be_learnt_from(few_shot, parts, expected, tmp_path):
    few_shot["dataset_reader"]["data_path"] = str(tmp_path)
    for part, text in parts.items():
        (tmp_path / f"{part}.txt").write_text(text)
    with pytest.raises(DataError, match=expected):
        train_model(few_shot, verbose=0)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("train", "count", "error", "expected"),
    [
        ("Yes O\n\n", 1, ConfigError, r"\(1 sentences\) holds 'PER': there is no entity in it"),
        ("Oslo B-LOC\n\n", 1, ConfigError, "no sentence .* holds 'PER': .*LOC"),
        (ENTITY, 2, ConfigError, "1 of the 2 sentences .* expected at most 1, received 2"),
        ("Abel B-PER\n\n", 1, DataError, "one tag alone, 'PER'; expected .* outside of any"),
    ],
)
def test_samples_that_cannot_be_drawn(few_shot, train, count, error, expected, tmp_path):
    few_shot["dataset_reader"]["data_path"] = str(tmp_path)
    (tmp_path / "train.txt").write_text(train)
    with pytest.raises(error, match=expected):
        train_model(simulated(few_shot, target_tag="PER", n_train_samples=count), verbose=0)
