"""The example of active learning, as a person at a terminal and as a simulation use it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kerasner import Tagger, cli
from kerasner.data import read_conll

pytest.importorskip("sklearn")

EXAMPLE = Path(__file__).parents[1] / "examples" / "active_learning.py"


@pytest.fixture(scope="module")
def config(vector_file, tmp_path_factory) -> Path:
    """A few-shot tagger over the word vectors of the small corpus."""
    pipe = [
        {"class_name": "lazy_tokenizer", "mode": "unicode", "in": ["x"], "out": ["tokens"]},
        {
            "class_name": "simple_vocab",
            "id": "tag_vocab",
            "in": ["tags"],
            "fit_on": ["tags"],
            "out": ["ids"],
        },
        {"class_name": "str_lower", "in": ["tokens"], "out": ["lower"]},
        {"class_name": "glove", "load_path": str(vector_file), "in": ["lower"], "out": ["vectors"]},
        {
            "class_name": "ner_svm",
            "in": ["vectors"],
            "in_y": ["ids"],
            "out": ["ids_hat"],
            "C": 10.0,
            "main": True,
        },
        {"ref": "tag_vocab", "in": ["ids_hat"], "out": ["tags_hat"]},
    ]
    content = {
        "dataset_reader": {"class_name": "conll2003_reader", "data_path": "nowhere"},
        "chainer": {"in": ["x"], "in_y": ["tags"], "pipe": pipe, "out": ["tokens", "tags_hat"]},
        "train": {"metrics": [{"name": "ner_f1", "inputs": ["tags", "tags_hat"]}]},
    }
    path = tmp_path_factory.mktemp("config") / "few_shot.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def run(config: Path, *arguments: object, answers: str = "") -> subprocess.CompletedProcess:
    command = [sys.executable, EXAMPLE, *arguments, "--config", config, "--set", "train.seed=1"]
    return subprocess.run(
        [str(part) for part in command], input=answers, capture_output=True, text=True, timeout=300
    )


def printed(result: subprocess.CompletedProcess) -> str:
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


TEXTS = (
    "Abel Arnstad lives in Brixby.",
    "Brisa Belkov lives in Galvia.",
    "Corvin Cardew lives in Avalund.",
    "Dalia Dorset lives in Estavia.",
    "",
    "Nobody knows why.",
    "Nobody knows why.",
    "Edric Elvik lives in Hexberg.",
)
NAMES = ["B-PER", "I-PER", "O", "O", "B-LOC", "O"]


def test_a_person_annotates_leaves_and_goes_on(config, tmp_path):
    texts, folder = tmp_path / "texts.txt", tmp_path / "mine"
    texts.write_text("\n".join(TEXTS), encoding="utf-8")
    # "Nobody knows why ." has more than three tokens too, so that the order does not matter here.
    wrong = {
        "PER": "'PER': expected token numbers and a type: 3-4 PER",
        "3": "'3': expected token numbers and a type",
        "2-1 PER": "'2-1 PER': expected numbers of 1 to ",
        "0 PER": "'0 PER': expected numbers of 1 to ",
        "1 PER, 9 LOC": "'9 LOC': expected numbers of 1 to ",
        "1 PRE": "'1 PRE': expected one type of PER, LOC, ORG",
        "1-2 PER, 2 LOC": "'2 LOC': expected tokens that are in no other entity",
    }
    answers = [*wrong, "1-2 PER", "s", "-", "1-2 p,3 l", "q"]
    command = (folder, texts, "--first", 4, "--batch", 2)
    shown = printed(run(config, *command, answers="\n".join(answers) + "\n"))
    for message in wrong.values():
        assert len(re.findall(rf"^> {re.escape(message)}.*$", shown, re.MULTILINE)) == 1
    # The first question is asked again after each wrong answer; one sentence stands there twice.
    assert "Round 1: 4 of 6 sentences, drawn at random" in shown
    assert re.findall(r"^\[(\d) of 4\]$", shown, re.MULTILINE) == list("1234")
    assert "Round 2: 1 of 2 sentences, drawn at random" in shown  # for the one that was skipped
    assert shown.count("predicted: -\n") == 5
    tags = [tags for _, tags in read_conll(folder / "train.txt")]
    assert [[tag for tag in row if tag != "O"] for row in tags] == [
        ["B-PER", "I-PER"],
        [],
        ["B-PER", "I-PER", "B-LOC"],
    ]
    assert "Annotated in 0 s, 1 as predicted" in shown
    assert re.search(r"^Trained on 3 sentences, \d+ words in \d+\.\d s$", shown, re.MULTILINE)


def test_it_goes_on_from_the_annotations(config, tmp_path, capsys):
    texts, folder = tmp_path / "texts.txt", tmp_path / "mine"
    texts.write_text("\n".join(TEXTS), encoding="utf-8")
    folder.mkdir()
    tokens = [text.replace(".", " .").split() for text in (*TEXTS[:4], TEXTS[5])]
    before = [(row, NAMES if len(row) == 6 else ["O"] * 4) for row in tokens]
    blocks = ("\n".join(f"{t} {tag}" for t, tag in zip(*row, strict=True)) for row in before)
    (folder / "train.txt").write_text("\n\n".join(blocks))  # no line end, as an editor may leave it

    command = (folder, texts, "--first", 5, "--types", "PER")
    shown = printed(run(config, *command, answers="\n"))  # as predicted
    assert "going on from 5 sentences" in shown
    assert re.search(r"^Trained on 5 sentences, 28 words in \d+\.\d s$", shown, re.MULTILINE)
    assert "Round 1: 1 of 1 sentences, the least certain" in shown
    assert re.search(r"^\[1 of 1, certainty [01]\.\d\d\]$", shown, re.MULTILINE)
    assert "1:Edric  2:Elvik  3:lives  4:in  5:Hexberg  6:.\npredicted: 1-2 PER, 5 LOC\n" in shown
    assert "1 as predicted\nTrained on 6 sentences, 34 words" in shown
    *_, last = samples = read_conll(folder / "train.txt")
    assert samples[:5] == before and last == ("Edric Elvik lives in Hexberg .".split(), NAMES)

    model, again = folder / "model", tmp_path / "again"
    assert Tagger.load(model)(["Fenna Falk lives in Jarnsk."])[1] == [NAMES]
    assert f"kerasner export {model} models" in shown
    assert cli.main(["export", str(model), str(tmp_path / "models")]) == 0
    assert (tmp_path / "models" / "model" / "1" / "saved_model.pb").exists()
    # The annotations are a data set for `kerasner train`.
    settings = [f"dataset_reader.data_path={folder}", f"chainer.pipe.ner_svm.save_path={again}"]
    options = [option for setting in settings for option in ("--set", setting)]
    assert cli.main(["train", str(config), *options]) == 0
    assert Tagger.load(again)(["Fenna Falk lives in Jarnsk."])[1] == [NAMES]
    capsys.readouterr()


def test_nothing_is_made_of_no_answer(config, tmp_path):
    texts, folder = tmp_path / "texts.txt", tmp_path / "mine"
    texts.write_text("Nobody knows why .")
    shown = printed(run(config, folder, texts))  # the input is at its end
    assert "Trained" not in shown and "export" not in shown and not any(folder.iterdir())


def test_fewer_sentences_than_are_asked_for_first(config, tmp_path):
    texts, folder = tmp_path / "texts.txt", tmp_path / "mine"
    texts.write_text("\n".join(TEXTS[:2]), encoding="utf-8")
    shown = printed(run(config, folder, texts, answers="1-2 PER, 5 LOC\n" * 2))
    assert "Round 1: 2 of 2 sentences" in shown and "Trained on 2 sentences" in shown
    assert (folder / "model").exists()


def test_sentences_without_entities_are_not_enough(config, tmp_path):
    texts, folder = tmp_path / "texts.txt", tmp_path / "mine"
    texts.write_text("\n".join(TEXTS), encoding="utf-8")
    command = (folder, texts, "--first", 1, "--batch", 1)
    answers = "-\n1 ORG\nq\n"
    shown = printed(run(config, *command, answers=answers))
    assert "Not trained yet: the train part (1 sentences" in shown and "one tag alone, 'O'" in shown
    assert "Round 2: 1 of 5 sentences, drawn at random" in shown
    assert "Trained on 2 sentences" in shown
    assert "Round 3: 1 of 4 sentences, the least certain" in shown


@pytest.mark.parametrize("how", ["the least certain", "drawn at random"])
def test_simulation(config, data_folder, corpus, tmp_path, how):
    folder = tmp_path / "mine"
    command = (folder, "--simulate", data_folder, "--first", 6, "--batch", 4, "--rounds", 3)
    shown = printed(run(config, *command, *["--random"] * (how == "drawn at random")))
    distinct = {tuple(tokens): tags for tokens, tags in corpus["train"]}
    assert re.findall(r"^Round .*sentences, [a-z ]+", shown, re.MULTILINE) == [
        f"Round 1: 6 of {len(distinct)} sentences, drawn at random ",
        f"Round 2: 4 of {len(distinct) - 6} sentences, {how} ",
        f"Round 3: 4 of {len(distinct) - 10} sentences, {how} ",
    ]
    found = re.findall(r"^Trained on (\d+) .* s; F1 on test ([\d.]+)$", shown, re.MULTILINE)
    assert [int(count) for count, _ in found] == [6, 10, 14]
    assert float(found[-1][1]) > 60
    samples = read_conll(folder / "train.txt")
    assert len(samples) == 14 and all(distinct[tuple(row)] == tags for row, tags in samples)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("texts.txt", "--simulate", "corpus"), "expected either SENTENCES.txt or --simulate"),
        (("texts.txt", "--batch", 0), "--first, --batch: expected 1 or more: 10, 0"),
        (("texts.txt",), "error: .*No such file or directory: 'texts.txt'"),
        (("texts.txt", "--set", "chainer.pipe.glove.load_path=none"), "error: .*none"),
    ],
)
def test_wrong_options(config, tmp_path, arguments, message):
    result = run(config, tmp_path / "mine", *arguments)
    assert result.returncode in (1, 2) and "Traceback" not in result.stderr
    assert re.search(message, result.stderr)
