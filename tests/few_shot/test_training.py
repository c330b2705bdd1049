"""A few-shot tagger from a configuration: trained, saved, loaded, scored."""

import shutil
import sys

import pytest

from kerasner import build_model, config, evaluate_model, train_model
from kerasner.errors import ArchiveError, ConfigError
from kerasner.tagger import Tagger

pytest.importorskip("sklearn")


@pytest.fixture
def few_shot(data_folder, vector_file, tmp_path) -> dict:
    """The installed configuration over the small corpus and its word vectors."""
    changed = config.load("ner_few_shot_ru")
    pipe = {entry.get("class_name"): entry for entry in changed["chainer"]["pipe"]}
    pipe["navec"] |= {"class_name": "glove", "load_path": str(vector_file)}
    pipe["ner_svm"]["save_path"] = str(tmp_path / "model")
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
    counts = [train_model(few_shot, s, verbose=0).model.svm.n_vectors for s in ((), settings)]
    assert counts[0] != counts[1]


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
    with pytest.raises((ArchiveError, ConfigError), match="missing or damaged"):
        Tagger.load(tmp_path / "model")


def test_two_trained_components(few_shot):
    few_shot["chainer"]["pipe"].append(few_shot["chainer"]["pipe"][6])
    with pytest.raises(ConfigError, match="expected one ner or ner_svm, found 2"):
        train_model(few_shot, verbose=0)
