"""A small corpus that is learnt in seconds, and the model trained on it."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from kerasner import cli
from kerasner.checkpoint import Progress
from kerasner.tagger import Tagger

GIVEN = "Abel Brisa Corvin Dalia Edric Fenna Gorm Hilda Ivo Jorun Kasimir Lioba".split()
FAMILY = "Arnstad Belkov Cardew Dorset Elvik Falk Grenwald Hobart Ilves Jansky Korda Lund".split()
PLACES = "Avalund Brixby Costerra Drumholm Estavia Fernholt Galvia Hexberg Istrova Jarnsk".split()
FIRMS = "Axonix Brellco Cordatek Dynavar Envirox Fluxon Gravicom Helitron Inovex Juntek".split()
TEMPLATES = (
    "{given:PER} {family:PER} lives in {place:LOC} .",
    "{firm:ORG} opened an office in {place:LOC} .",
    "Yesterday {given:PER} left {firm:ORG} .",
    "Shares of {firm:ORG} Group fell by 3.5 % .",
    "Nobody knows why .",
    "The mayor of {place:LOC} met {given:PER} {family:PER} , she said .",
)


def _sentences(first: int, number: int) -> list[list[tuple[str, str]]]:
    """Templates filled with names, each time with others."""
    rows = []
    for index in range(first, first + number):
        turn = index + index // len(TEMPLATES)
        names = {
            "given": GIVEN[turn % 12],
            "family": FAMILY[turn * 5 % 12],
            "place": PLACES[turn * 3 % 10],
            "firm": FIRMS[turn * 7 % 10],
        }
        row, previous = [], "O"
        for word in TEMPLATES[index % len(TEMPLATES)].split():
            tag = "O"
            if word.startswith("{"):
                kind, label = word.strip("{}").split(":")
                word, tag = names[kind], f"{'I' if previous[2:] == label else 'B'}-{label}"
            elif word == "Group":
                tag = "I-ORG"
            row.append((word, tag))
            previous = tag
        rows.append(row)
    return rows


PARTS = {"train": _sentences(0, 60), "valid": _sentences(60, 18), "test": _sentences(83, 24)}


def _vector(word: str) -> np.ndarray:
    """Names of one kind lie close to each other, all else anywhere."""
    kinds = (GIVEN, FAMILY, PLACES, FIRMS)
    rng = np.random.default_rng(list(word.encode()))
    vector = rng.normal(0, 0.3, 12)
    for kind, names in enumerate(kinds):
        vector[kind] += 2.0 * (word in {name.lower() for name in names})
    return vector


@pytest.fixture(scope="session")
def corpus() -> dict[str, list[tuple[list[str], list[str]]]]:
    """The sentences of each part: (tokens, tags)."""
    return {
        part: [([word for word, _ in row], [tag for _, tag in row]) for row in rows]
        for part, rows in PARTS.items()
    }


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory) -> Path:
    """The corpus in the format of CoNLL-2003."""
    folder = tmp_path_factory.mktemp("corpus")
    for part, rows in PARTS.items():
        sentences = ["".join(f"{word} NN {tag}\n" for word, tag in row) for row in rows]
        text = "-DOCSTART- -X- O\n\n" + "\n".join(sentences)
        (folder / f"{part}.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def vector_file(tmp_path_factory) -> Path:
    """Word vectors of its words, in the format of GloVe."""
    words = sorted({word.lower() for rows in PARTS.values() for row in rows for word, _ in row})
    path = tmp_path_factory.mktemp("vectors") / "vectors.txt"
    lines = [" ".join([word, *(f"{x:.4f}" for x in _vector(word))]) for word in words]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def text_file(corpus, tmp_path_factory) -> Path:
    """Its sentences, a line each, several times over."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    lines = [" ".join(tokens) for tokens, _ in corpus["train"]]
    path.write_text("\n".join(lines * 5) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def language_model_folder(text_file, vector_file, tmp_path_factory) -> Path:
    """A language model of it."""
    from small_language_model import pretrain

    folder = tmp_path_factory.mktemp("lm") / "lm"
    pretrain(text_file, vector_file, folder)
    return folder


@pytest.fixture(scope="session")
def small_settings(data_folder, vector_file) -> list[str]:
    """What makes the installed ner_conll2003 a small model of the corpus."""
    ner = {
        "n_hidden_list": [16],
        "char_emb_dim": 8,
        "char_filters": 8,
        "dropout_keep_prob": 0.9,
        "optimizer": "adam",
        "learning_rate": 0.03,
        "moving_average": 0.5,
    }
    values = {
        "dataset_reader.data_path": str(data_folder),
        "chainer.pipe.glove.load_path": str(vector_file),
        **{f"chainer.pipe.ner.{key}": value for key, value in ner.items()},
        "train.epochs": 6,
        "train.batch_size": 4,
    }
    return [f"{path}={json.dumps(value)}" for path, value in values.items()]


class Trained(NamedTuple):
    """A training run of the command line."""

    folder: Path
    settings: list[str]
    code: int
    stdout: str
    stderr: str
    scores: list[float]


@pytest.fixture(scope="session")
def trained(small_settings, tmp_path_factory) -> Trained:
    """`kerasner train`, with the validation score of each epoch."""
    folder = tmp_path_factory.mktemp("models") / "small"
    settings = [*small_settings, f"chainer.pipe.ner.save_path={json.dumps(str(folder))}"]
    options = [option for setting in settings for option in ("--set", setting)]
    scores, out, err = [], io.StringIO(), io.StringIO()

    def on_epoch_end(self, epoch, logs):
        original(self, epoch, logs)
        scores.append(logs["val_ner_f1"] / 100)

    original = Progress.on_epoch_end
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(Progress, "on_epoch_end", on_epoch_end)
        code = cli.main(["train", "ner_conll2003", *options])
    return Trained(folder, settings, code, out.getvalue(), err.getvalue(), scores)


@pytest.fixture(scope="session")
def trained_folder(trained) -> Path:
    """The folder of the trained model."""
    return trained.folder


@pytest.fixture(scope="session")
def tagger(trained_folder) -> Tagger:
    """The trained model."""
    return Tagger.load(trained_folder)
