"""The installed configurations, and those that users make of them: trained, saved, exported."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from contract import assert_contract
from test_navec import packed, pq, vocabulary

import kerasner
from kerasner import build_model, cli, config, configs, evaluate_model, train_model
from kerasner.errors import ConfigError, DataError
from kerasner.layers import Sanitizer
from kerasner.tagger import Tagger

HERE = Path(__file__).parent
INSTALLED = [name for name in config.names() if "few_shot" not in name]
GLOVE = "embeddings/glove.6B.100d.txt"
NAVEC = "embeddings/navec_news_v1_1B_250K_300d_100q.tar"
ENGLISH = {"PER", "LOC", "ORG"}
TEXTS = [
    "Abel Arnstad lives in Brixby. He left Axonix Group (a firm).",
    "Кто такая Дайна Кройц? Йорис Ёлкин из Заречья знает.",
    "in the north part of town",
    "don't 👩\u200d👧 e\u0301 \u202eabc 3.5 %",
]
SENTENCES = [["Abel", "Belkov", "left", "."], ["Galvia"], ["Йорис", "приехал", "в", "Майск", "."]]
REPORTED = {"train.epochs": 1, "train.batch_size": 8, "train.log_every_n_epochs": 1}
SMALL = {
    "ner.n_hidden_list": [8],
    "ner.char_filters": 4,
    "ner.optimizer": "adam",
    "ner.learning_rate": 0.02,
    "ner.moving_average": 0.0,
    **REPORTED,
}


@pytest.fixture(scope="module", autouse=True)
def downloads(tmp_path_factory, data_folder, vector_file):
    """KERASNER_HOME/downloads with what the configurations name, in small."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "downloads"
    shutil.copytree(HERE / "corpora", folder)
    shutil.copytree(data_folder, folder / "conll2003")
    for name in ("ner_few_shot_data", "total_rus"):
        shutil.copytree(HERE / "corpora" / "collection3", folder / name)
    words, codes = ["заречье", "майск", "открыл", ",", "<unk>", "<pad>"], np.uint8([[0, 1]] * 6)
    (folder / "embeddings").mkdir()
    tar = packed(vocab_bin=vocabulary(words, [9, 8, 7, 6, 1, 0]), pq_bin=pq(codes))
    (folder / NAVEC).write_bytes(tar)
    shutil.copy(vector_file, folder / GLOVE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERASNER_HOME", str(home))
        yield folder


def settings(values: dict) -> list[str]:
    """Values by path, where "ner." stands for its entry in the pipe, as --set takes them."""
    return [
        f"{re.sub('^ner[.]', 'chainer.pipe.ner.', path)}={json.dumps(value)}"
        for path, value in values.items()
    ]


def trained(source, changes, folder, labels, sentences=(SENTENCES,)) -> Tagger:
    """Trains, and checks the reports, the saved model and the SavedModel."""
    events = []
    tagger = train_model(source, changes, verbose=0, tell=events.append)
    kinds = [next(iter(event)) for event in events]
    assert kinds == ["valid", "train", "valid"]  # before the epoch, and after it
    report = events[1]["train"]
    assert report["epochs_done"] == 1 and np.isfinite(report["loss"])
    assert report["train_examples_seen"] == report["eval_examples_count"] > 4
    inputs = list(map(list, sentences))
    loaded = build_model(source, changes)
    assert loaded(*inputs) == tagger(*inputs)
    assert {tag[2:] for tag in loaded.tags if tag != "O"} == labels
    place = loaded.export(folder / "exported", version=1)
    assert_contract(place, TEXTS, inputs, labels)
    return loaded


LABELS = {
    "ner_conll2003": ENGLISH,
    "ner_conll2003_pos": ENGLISH,
    "ner_ontonotes": {
        "PERSON", "CARDINAL", "DATE", "ORG", "MONEY", "WORK_OF_ART", "ORDINAL", "GPE", "NORP",
        "PERCENT",
    },
    "ner_rus": {"PER", "LOC", "ORG"},
    "ner_dstc2": {"food", "pricerange", "area"},
}  # fmt: skip
SMALL_OF = {
    "ner_dstc2": {"ner.n_hidden_list": [8, 8], "ner.learning_rate": 0.01, **REPORTED},
}


@pytest.mark.parametrize("name", INSTALLED)
def test_installed(name, tmp_path):
    inputs = [SENTENCES]
    if name.endswith("_pos"):
        inputs.append([["NNP"] * len(row) for row in SENTENCES])
    changes = settings(SMALL_OF.get(name, SMALL))
    tagger = trained(name, changes, tmp_path, LABELS[name], inputs)
    assert getattr(configs.ner, name).stem == name
    assert tagger.model.use_crf


@pytest.mark.parametrize("name", ["ner_few_shot_ru", "ner_few_shot_en_simulate"])
def test_few_shot(name, tmp_path):
    """Trained in one pass, by scikit-learn; else models like the others."""
    pytest.importorskip("sklearn")
    simulated = name.endswith("simulate")
    changes = settings({"dataset_iterator.n_train_samples": 4} if simulated else {})
    events = []
    tagger = train_model(name, changes, verbose=0, tell=events.append)
    assert [next(iter(event)) for event in events] == ["valid"]
    # The others have Russian data of two sentences.
    measured = 18 if name == "ner_few_shot_en_simulate" else 2
    assert events[0]["valid"]["eval_examples_count"] == measured
    loaded = build_model(name, changes)
    assert loaded(SENTENCES) == tagger(SENTENCES)
    labels = {"PER"} if simulated else {"PER", "LOC", "ORG"}
    assert tagger.model.scheme == ("io" if simulated else "bio")
    place = loaded.export(tmp_path / "exported", version=1)
    assert_contract(place, TEXTS, [SENTENCES], labels)
    entities = loaded.entities(["Вчера Йорис Ёлкин приехал в Майск."])[0]
    assert all(0 < entity.score <= 1 for entity in entities)
    assert evaluate_model(name, changes)["test"].examples > 0


@pytest.mark.parametrize("language", ["ru", "en"])
def test_few_shot_configurations_are_alike(language):
    """What is tested of one holds for the others: they differ in their data alone."""
    name = f"ner_few_shot_{language}"
    use, train, simulate = (config.load(name + end) for end in ("", "_train", "_simulate"))
    assert train == use
    for loaded, folder in ((use, name), (simulate, f"{name}_simulate")):
        machines = next(e for e in loaded["chainer"]["pipe"] if e.get("class_name") == "ner_svm")
        assert machines.pop("save_path").endswith(f"/{folder}")
    for entry in ("chainer", "train"):
        assert simulate[entry] == use[entry]


@pytest.mark.parametrize(
    ("changes", "error", "expected"),
    [
        ({"dataset_iterator.target_tag": "GPE"}, ConfigError, "no sentence .* holds 'GPE'"),
        ({"dataset_iterator.n_train_samples": 99}, ConfigError, "expected at most"),
        ({"chainer.pipe.ner_svm.kernel": "cubic"}, ConfigError, "'rbf', 'linear'.*'cubic'"),
        ({"train.train_on_valid": True, "dataset_reader.data_path": "{}"}, DataError, "no valid"),
    ],
)
def test_few_shot_refused(changes, error, expected, downloads, tmp_path):
    shutil.copy(downloads / "total_rus" / "train.txt", tmp_path)
    values = {"dataset_iterator.n_train_samples": 4} | {
        path: str(tmp_path) if value == "{}" else value for path, value in changes.items()
    }
    model = tmp_path / "model"
    values["chainer.pipe.ner_svm.save_path"] = str(model)
    with pytest.raises(error, match=expected):
        train_model("ner_few_shot_ru_simulate", settings(values), verbose=0)
    assert not model.exists()


def test_few_shot_without_an_entity(tmp_path):
    pytest.importorskip("sklearn")
    (tmp_path / "train.txt").write_text("Мост O\nоткрыт O\n\nДа O\n", encoding="utf-8")
    changes = {
        "dataset_reader.data_path": str(tmp_path),
        "chainer.pipe.ner_svm.save_path": str(tmp_path / "model"),
    }
    with pytest.raises(DataError, match=r"\(2 sentences, 3 tokens\) has one tag alone, 'O'"):
        train_model("ner_few_shot_ru", settings(changes), verbose=0)


def test_russian_keeps_its_short_i():
    pipe = config.load("ner_rus")["chainer"]["pipe"]
    entry = next(entry for entry in pipe if entry["class_name"] == "sanitizer")
    sanitizer = Sanitizer(keep=entry["keep"])
    assert sanitizer(["Йод ёж й"]).numpy()[0].decode() == "Йод еж й"


@kerasner.register("test_configs_squeeze")
def squeeze(tokens: tf.Tensor, letters: str) -> tf.Tensor:
    """Letters in a row become one."""
    for letter in letters:
        tokens = tf.strings.regex_replace(tokens, f"{letter}+", letter)
    return tokens


@kerasner.register("test_configs_length")
class Length:
    """A feature [N, 1]: the length over that of the longest token of the training part."""

    def fit(self, tokens: tf.Tensor) -> None:
        self.longest = int(tf.reduce_max(tf.strings.length(tokens)))

    def save(self, folder: Path, name: str) -> None:
        (folder / f"{name}.txt").write_text(str(self.longest))

    def load(self, folder: Path, name: str) -> None:
        self.longest = int((folder / f"{name}.txt").read_text())

    def __call__(self, tokens: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.strings.length(tokens), tf.float32)[:, None] / self.longest


def test_edited_by_a_user(downloads, tmp_path):
    """Two layers, no CRF, other word vectors, a component and a feature of one's own."""
    lines = (downloads / GLOVE).read_text().splitlines()
    header = f"{len(lines)} {len(lines[0].split()) - 1}"
    (downloads / "own.vec").write_text("\n".join([header, *lines]) + "\n")
    own = config.load(configs.ner.ner_conll2003)
    pipe = {entry.get("id", entry.get("class_name")): entry for entry in own["chainer"]["pipe"]}
    pipe["glove_emb"] |= {"class_name": "fasttext", "load_path": "own.vec"}
    pipe["ner"] |= {"n_hidden_list": [8, 6], "use_crf": False, "two_dense_on_top": True}
    pipe["ner"]["in"].append("length")
    pipe["glove_emb"] |= {"in": ["x_squeezed"], "fit_on": ["x_squeezed"]}
    position = own["chainer"]["pipe"].index(pipe["glove_emb"])
    own["chainer"]["pipe"][position:position] = [
        {
            "class_name": "test_configs_squeeze", "letters": "aeiou",
            "in": ["x_san"], "out": ["x_squeezed"],
        },
        {
            "class_name": "test_configs_length", "id": "longest",
            "in": ["x_tokens"], "fit_on": ["x_tokens"], "out": ["length"],
        },
    ]  # fmt: skip
    changes = {key: value for key, value in SMALL.items() if key != "ner.n_hidden_list"}
    tagger = trained(own, settings(changes), tmp_path, ENGLISH)
    assert len(tagger.model.encoder_layers) == 2 and not tagger.model.use_crf
    inputs = tagger.chainer.encode(tf.constant(["Brixby", "Briixby"]))
    assert inputs["words"][0] == inputs["words"][1] > 1
    np.testing.assert_allclose(inputs["length"], [[6 / 9], [7 / 9]])  # "Yesterday"


@pytest.mark.parametrize("level", [None, "char"])
def test_the_documentation_of_deeppavlov(level, downloads, data_folder, tmp_path, monkeypatch):
    """Its configuration as it stands; characters split by the vocabulary, as its text has it."""
    monkeypatch.chdir(tmp_path)
    documented = config.load(HERE / "deeppavlov_documentation.json")
    assert [e["class_name"] for e in documented["chainer"]["pipe"][:2]] == [
        "lazy_tokenizer", "str_lower",
    ]  # fmt: skip
    changes = {"dataset_reader.data_path": str(data_folder), "train.epochs": 1, **REPORTED}
    rng = np.random.default_rng(0)
    lines = [line.split()[0] for line in (downloads / GLOVE).read_text().splitlines()]
    wide = [" ".join([word, *(f"{x:.3f}" for x in rng.normal(size=40))]) for word in lines]
    Path("embeddings").mkdir()
    Path(GLOVE).write_text("\n".join(wide) + "\n")
    if level:
        entry = next(e for e in documented["chainer"]["pipe"] if e.get("id") == "char_vocab")
        entry |= {"in": ["x"], "fit_on": ["x"], "level": level}
    tagger = trained(documented, settings(changes), tmp_path, ENGLISH)
    for path in ("slotfill_dstc2/word.dict", "slotfill_dstc2/tag.dict", "ner_conll2003/char.dict"):
        assert all(count.isdecimal() for _, count in rows(path))
    assert rows("slotfill_dstc2/tag.dict")[0][0] == "O"
    features = tagger.model.char_features
    assert features.embeddings.shape == (len(rows("ner_conll2003/char.dict")) + 1, 32)


def rows(path: str) -> list[list[str]]:
    return [line.split("\t") for line in Path(path).read_text(encoding="utf-8").splitlines()]


def test_nested(tmp_path):
    inner = config.override(config.load("ner_conll2003"), settings(SMALL))
    (tmp_path / "inner.json").write_text(json.dumps(inner))
    outer = {
        **{group: inner[group] for group in ("dataset_reader", "train", "metadata")},
        "chainer": {
            "in": ["x"],
            "in_y": ["y"],
            "pipe": [
                {"class_name": "lazy_tokenizer", "in": ["x"], "out": ["x_tokens"]},
                {
                    "config_path": str(tmp_path / "inner.json"),
                    "in": ["x_tokens"], "in_y": ["y"], "out": ["tokens", "tags"],
                },
            ],
            "out": ["tokens", "tags"],
        },
    }  # fmt: skip
    trained(outer, (), tmp_path, ENGLISH)


def entry_of(changed: dict, name: str) -> dict:
    return next(e for e in changed["chainer"]["pipe"] if name in (e.get("id"), e.get("class_name")))


WRONG = {
    "a key": (
        {"glove_emb": {"lod_path": "x"}},
        r"chainer.pipe\[6\] \(glove\): unknown key 'lod_path': did you mean 'load_path'",
    ),
    "an id": ({"ner": {"n_tags": "#tag_vocb.len"}}, "'tag_vocb': did you mean 'tag_vocab'"),
    "an order": ({"sanitizer": {"in": ["x_char"]}}, r"pipe\[2\].in: 'x_char' is produced only by"),
    "a file": (
        {"glove_emb": {"load_path": "nowhere.txt"}},
        r"chainer.pipe\[6\]: glove: load_path: no file or folder .*/nowhere.txt or "
        r".*/downloads/nowhere.txt",
    ),
    "a number": ({"ner": {"n_tags": 3}}, r"chainer.pipe\[8\].*n_tags 3; the pipeline has 6 tags"),
    "a width": ({"ner": {"capitalization_dim": 4}}, r"capitalization_dim 4; .*\{'cap': 6\}"),
    "a metric": ({"train": {"metrics": ["ner_f2"]}}, "'ner_f2': did you mean 'ner_f1'"),
    "a setting": ({"train": {"epoch": 3}}, "train .*unknown key 'epoch': did you mean 'epochs'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_ones_are_refused_before_training(case, tmp_path, monkeypatch):
    changes, expected = WRONG[case]
    wrong = config.load("ner_conll2003")
    wrong["chainer"]["pipe"][8]["save_path"] = str(tmp_path / "model")
    for name, values in changes.items():
        (wrong["train"] if name == "train" else entry_of(wrong, name)).update(values)
    refuse_training(monkeypatch)
    with pytest.raises(ConfigError, match=expected):
        train_model(wrong, verbose=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("lines", "strict", "expected"),
    [
        ("Abel B-PER\nleft\n", False, r"train.txt:2: expected token and tag, .* received 'left'"),
        ("Abel I-PER\nleft O\n", True, r"train.txt:1: tag 'I-PER' continues no entity"),
        ("", False, "train.txt holds no sentence"),
    ],
)
def test_wrong_data_is_refused_before_training(lines, strict, expected, tmp_path, monkeypatch):
    refuse_training(monkeypatch)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.txt").write_text(lines)
    (tmp_path / "data" / "valid.txt").write_text("Abel B-PER\n")
    changes = {
        "dataset_reader.data_path": str(tmp_path / "data"),
        "dataset_reader.strict": strict,
        "ner.save_path": str(tmp_path / "model"),
    }
    with pytest.raises(DataError, match=expected):
        train_model("ner_conll2003", settings(changes), verbose=0)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def refuse_training(monkeypatch) -> None:
    def fit(*args, **kwargs):
        raise AssertionError("training started")

    monkeypatch.setattr(kerasner.NerNetwork, "fit", fit)


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Language, name of the file if it is one, and text of every block of code."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"```(\w+) ?([\w.]*)\n(.*?)```", text, re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["configuration", "deeppavlov"])
def test_every_block_of_the_documentation(page, downloads, tmp_path, monkeypatch, capsys):
    """JSON becomes a file of the name beside it, Python and commands run, all in their order."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(downloads / "conll2003", "conll2003")
    shutil.copy(downloads / GLOVE, ".")
    Path("texts.txt").write_text("Anna lives in Rio .\nNobody knows why .\n" * 80)
    found, namespace = blocks(HERE.parent / "docs" / f"{page}.md"), {}
    assert {language for language, _, _ in found} == {"json", "python", "bash"}
    for language, name, text in found:
        if language == "json":
            small = text.replace('"epochs": 30', '"epochs": 1').replace("[128]", "[8]")
            json.loads(text)
            Path(name).write_text(small)
        elif language == "python":
            exec(compile(text, page, "exec"), namespace)
        else:
            for line in text.splitlines():
                command = shlex.split(line.partition("#")[0])
                assert command[:3] == ["python", "-m", "kerasner"]
                assert cli.main(command[3:]) == 0, capsys.readouterr().err
    if page == "configuration":
        assert "did you mean 'n_hidden_list'" in capsys.readouterr().out
        assert namespace["ner"].model.encoder_layers[0].units == 8
        assert (tmp_path / "served_too" / "1" / "saved_model.pb").is_file()
