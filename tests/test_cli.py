"""The command line: what it prints where, and one line for each kind of wrong input."""

import io
import json
import os
import re
import subprocess
import sys

import pytest

from kerasner import cli, configs
from kerasner.pretrained import archives

LINES = ["Abel Falk lives in Avalund .", "", "Nobody knows why .", "Gorm left Axonix ."]


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs a command in this process: exit code, stdout and stderr."""

    def run(*argv, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = cli.main([str(word) for word in argv])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def loaded(monkeypatch, tagger):
    """Spares the loading of the model, which other tests do."""
    monkeypatch.setattr(cli, "_tagger", lambda name: tagger)


def python(*argv, **environment):
    """Runs a command in a process of its own, without the settings of this one for logging."""
    env = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, *map(str, argv)],
        env={**env, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_does_not_wait_for_tensorflow(option):
    result = python("-X", "importtime", "-m", "kerasner", option)
    assert result.returncode == 0
    assert "kerasner" in result.stdout
    imported = {line.split("|")[-1].strip() for line in result.stderr.splitlines()}
    assert "kerasner.cli" in imported
    assert not imported & {"tensorflow", "keras", "numpy"}


def test_a_wrong_name_does_not_wait_for_tensorflow():
    result = python("-X", "importtime", "-m", "kerasner", "predict", "ner_conl2003")
    assert result.returncode == 2
    *imports, message = result.stderr.splitlines()
    assert message.startswith("kerasner: error: ")
    assert "tensorflow" not in "".join(imports)


def test_tensorflow_keeps_quiet(tmp_path):
    """One line on stderr, though TensorFlow was imported."""
    (tmp_path / "config.json").write_text('{"format": 1, "config": {"chainer": {}}}')
    result = python("-m", "kerasner", "predict", tmp_path, CUDA_VISIBLE_DEVICES="")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "kerasner: error: chainer.pipe: expected a list of objects, received None"
    ]


def test_results_are_utf8_whatever_the_locale(trained_folder, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("Göttingen\n".encode())))
    assert cli.main(["predict", str(trained_folder)]) == 0
    assert json.loads(out.buffer.getvalue().decode("utf-8"))[0] == ["Göttingen"]


def test_a_script_with_an_argument_called_like_the_program(tmp_path):
    script = tmp_path / "run.py"
    script.write_text("import sys; sys.argv = sys.argv[:1]\nimport kerasner; kerasner.Tagger\n")
    result = python(script, "--model", "kerasner", CUDA_VISIBLE_DEVICES="")
    assert result.returncode == 0, result.stderr


def test_train(trained, corpus):
    assert trained.code == 0
    events = [json.loads(line) for line in trained.stdout.splitlines()]
    assert [list(event) for event in events] == [["valid"]] * 8 + [["test"]]
    for number, event in enumerate(events[:7]):  # before the first epoch, and after each
        assert list(event["valid"]) == [
            "eval_examples_count",
            "metrics",
            "time_spent",
            "epochs_done",
            "batches_seen",
            "train_examples_seen",
            "impatience",
            "patience_limit",
        ]
        assert event["valid"]["eval_examples_count"] == len(corpus["valid"])
        assert event["valid"]["epochs_done"] == number
        assert event["valid"]["train_examples_seen"] == number * len(corpus["train"])
        assert re.fullmatch(r"0:0\d:\d\d", event["valid"]["time_spent"])
    assert [event["valid"]["metrics"]["ner_f1"] for event in events[1:7]] == [
        pytest.approx(100 * score, abs=1e-3) for score in trained.scores
    ]
    valid, test = events[-2]["valid"], events[-1]["test"]
    assert list(valid)[:3] == ["eval_examples_count", "metrics", "time_spent"]
    assert valid["metrics"] == {"ner_f1": pytest.approx(100 * max(trained.scores), abs=1e-3)}
    assert valid["f1"] == round(100 * max(trained.scores), 2)
    assert test["eval_examples_count"] == len(corpus["test"])
    assert test["gold"] == sum(tag[0] == "B" for _, tags in corpus["test"] for tag in tags)
    assert test["tokens"] == sum(len(tokens) for tokens, _ in corpus["test"])
    assert set(test["types"]) == {"LOC", "ORG", "PER"}
    for score in (valid, test, *test["types"].values()):
        for name, count in (("precision", "predicted"), ("recall", "gold")):
            assert score[name] == round(100 * score["correct"] / score[count], 2)
        assert score["f1"] == round(
            200 * score["correct"] / (score["gold"] + score["predicted"]), 2
        )
    assert sum(score["gold"] for score in test["types"].values()) == test["gold"]
    best = f"ner_f1 {valid['metrics']['ner_f1']:.4f}"
    for line in (
        "Epoch 1/6",  # of Keras
        "New best ner_f1 of ",
        f"kerasner: Saving model of {best} to {trained.folder}",
        "kerasner: Scoring the best saved model",
        "test: processed ",
    ):
        assert line in trained.stderr


def test_evaluate_prints_what_training_did(run, trained):
    options = [option for setting in trained.settings for option in ("--set", setting)]
    code, out, err = run("evaluate", "ner_conll2003", *options)
    assert code == 0
    assert timeless(out) == timeless(trained.stdout)[-2:]
    f1 = json.loads(out.splitlines()[1])["test"]["f1"]
    assert re.search(rf"(?s)valid: processed \d+ tokens.*test: processed .*FB1:  {f1:.2f}", err)


def timeless(output):
    """Events without their times."""
    events = [json.loads(line) for line in output.splitlines()]
    for event in events:
        for content in event.values():
            del content["time_spent"]
    return events


def test_evaluate_a_model(run, trained, data_folder):
    code, out, _ = run("evaluate", trained.folder, "--data", data_folder)
    assert code == 0
    assert timeless(out) == timeless(trained.stdout)[-2:]


def test_evaluate_on_other_data(run, trained, corpus, tmp_path, data_folder):
    (tmp_path / "train.txt").write_text((data_folder / "train.txt").read_text())
    (tmp_path / "test.txt").write_text((data_folder / "valid.txt").read_text())
    options = [option for setting in trained.settings for option in ("--set", setting)]
    code, out, _ = run("evaluate", "ner_conll2003", *options, "--data", tmp_path)
    assert code == 0
    (event,) = timeless(out)
    assert event["test"] == timeless(trained.stdout)[-2]["valid"]


def test_predict(run, loaded, tagger):
    code, out, err = run("predict", "small", stdin="\n".join(LINES).encode() + b"\n")
    assert (code, err) == (0, "")
    tokens, tags = tagger(LINES)
    assert [json.loads(line) for line in out.splitlines()] == [
        [list(row) for row in sample] for sample in zip(tokens, tags, strict=True)
    ]
    assert out.splitlines()[0] == json.dumps(
        [LINES[0].split(), ["B-PER", "I-PER", "O", "O", "B-LOC", "O"]]
    )
    assert out.splitlines()[1] == "[[], []]"


@pytest.mark.parametrize("batch", ["1", "3"])
def test_predict_from_a_file_in_batches(run, loaded, tmp_path, batch):
    path = tmp_path / "texts"
    path.write_text("\n".join(LINES))  # no line feed at the end
    expected = run("predict", "small", stdin="\n".join(LINES).encode())
    assert run("predict", "small", "-f", path, "-b", batch) == expected
    assert len(expected[1].splitlines()) == 4


def test_predict_entities(run, loaded):
    line = "  Nobody knows why \U0001f600 . Abel Falk lives in Avalund ."
    code, out, err = run("predict", "small", "--entities", stdin=f"{line}\r\n\n".encode())
    assert (code, err) == (0, "")
    first, second = map(json.loads, out.splitlines())
    # What so small a model takes an unknown sign for does not matter, only that offsets count it.
    found = [(e["text"], e["label"]) for e in first if e["text"] != "\U0001f600"]
    assert found == [("Abel Falk", "PER"), ("Avalund", "LOC")]
    for entity in first:
        assert list(entity) == ["text", "label", "start", "end", "score"]
        assert line[entity["start"] : entity["end"]] == entity["text"]
        assert 0 < entity["score"] <= 1
    assert second == []


def test_only_line_feeds_end_a_sample(run, loaded):
    text = "a\u2028b\x0bc\rd\x85e\x00f\xff".encode("latin-1", "replace") + b"\n\xff\xfe\n"
    code, out, _ = run("predict", "small", stdin=text)
    assert code == 0
    assert len(out.splitlines()) == 2
    assert json.loads(out.splitlines()[1])[0] == ["\ufffd\ufffd"] or "\ufffd" in out


def test_nothing_to_predict(run, loaded):
    assert run("predict", "small") == (0, "", "")


def test_other_letters_are_written_as_they_are(run, loaded):
    _, out, _ = run("predict", "small", stdin="Göttingen Москва".encode())
    assert json.loads(out)[0] == ["Göttingen", "Москва"]
    assert "Göttingen" in out


def test_interact(run, loaded):
    texts = "Abel Falk lives in Avalund .\n\nNobody knows why .\n q \nnever read\n"
    code, out, err = run("interact", "small", stdin=texts.encode())
    assert (code, err) == (0, "")
    assert out.split("x::") == [
        "",
        ">> (['Abel', 'Falk', 'lives', 'in', 'Avalund', '.'], "
        "['B-PER', 'I-PER', 'O', 'O', 'B-LOC', 'O'])\n",
        ">> ([], [])\n",
        ">> (['Nobody', 'knows', 'why', '.'], ['O', 'O', 'O', 'O'])\n",
        "",
    ]


def test_interact_with_entities(run, loaded):
    texts = "Abel Falk lives in Avalund .\n\n"
    code, out, err = run("interact", "small", "--entities", stdin=texts.encode())
    assert (code, err) == (0, "")
    answers = out.split("x::")
    assert re.fullmatch(
        r">> Abel Falk  PER  [01]\.\d{3}\n   Avalund  LOC  [01]\.\d{3}\n", answers[1]
    )
    assert answers[2:] == [">> no entities\n", "\n"]


class TwoInputs:
    """A tagger of words and their parts of speech; a tag tells what it was given."""

    class chainer:
        inputs = ["x", "pos"]

    def __call__(self, words, pos):
        return words, [
            [f"{w}/{p}" for w, p in zip(*row, strict=True)] for row in zip(words, pos, strict=True)
        ]


@pytest.fixture
def two_inputs(monkeypatch):
    monkeypatch.setattr(cli, "_tagger", lambda options: TwoInputs())


@pytest.mark.parametrize("batch", ["1", "9"])
def test_predict_with_two_inputs(run, two_inputs, batch):
    text = b"Abel  sleeps \nNNP VBZ\n\n\nGorm\nNNP"
    assert run("predict", "small", "-b", batch, stdin=text) == (
        0,
        '[["Abel", "sleeps"], ["Abel/NNP", "sleeps/VBZ"]]\n[[], []]\n[["Gorm"], ["Gorm/NNP"]]\n',
        "",
    )


def test_interact_with_two_inputs(run, two_inputs):
    out = run("interact", "small", stdin=b"Abel sleeps\nNNP VBZ\nGorm\nq\n")[1]
    assert out == "x::pos::>> (['Abel', 'sleeps'], ['Abel/NNP', 'sleeps/VBZ'])\nx::pos::"


@pytest.mark.parametrize("word", ["exit", "stop", "quit", "q"])
def test_words_that_leave(run, loaded, word):
    assert run("interact", "small", stdin=f"{word}\nHilda\n".encode()) == (0, "x::", "")


def test_the_end_of_the_input_leaves(run, loaded):
    assert run("interact", "small") == (0, "x::\n", "")


def test_export(run, monkeypatch, tmp_path):
    class Exported:
        def export(self, folder, version):
            return f"{folder}/{version}"

    monkeypatch.setattr(cli, "_tagger", lambda name: Exported())
    folder = tmp_path / "small"
    assert run("export", "small", tmp_path, "--version", 3) == (0, f"{folder}/3\n", "")
    assert run("export", "small", tmp_path) == (0, f"{folder}/1\n", "")
    for name in ("2", "11", "latest", ".12.345.part"):
        (folder / name).mkdir(parents=True)
    assert run("export", "x/small.json", tmp_path) == (0, f"{folder}/12\n", "")


@pytest.fixture
def asked(monkeypatch):
    """The ways in which a model is loaded, by name."""
    calls = []

    class Loaded:
        class chainer:
            inputs = ["x"]

        def __init__(self, *call):
            calls.append(call)

    monkeypatch.setattr("kerasner.tagger.Tagger.load", lambda folder: Loaded("load", str(folder)))
    monkeypatch.setattr(cli, "pretrained", lambda name: Loaded("pretrained", name))
    return calls


def test_names_of_models(run, asked, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "pretrained_names", lambda: ["small", "shipped"])
    monkeypatch.setenv("KERASNER_HOME", str(tmp_path))
    monkeypatch.chdir(trained.folder.parent)
    (tmp_path / "models" / "ner_conll2003").mkdir(parents=True)
    config = json.loads(configs.ner.ner_conll2003.read_text())
    config["metadata"]["variables"]["MODELS_PATH"] = str(tmp_path / "models")
    path = tmp_path / "own.json"
    path.write_text(json.dumps(config))
    folder = tmp_path / "models" / "ner_conll2003"
    (folder / "config.json").touch()
    using = f"kerasner: using the model in {folder}\n"
    for name, told in (("small", ""), ("shipped", ""), (path, using), ("ner_conll2003", using)):
        assert run("predict", name) == (0, "", told)
    models = json.dumps(str(tmp_path / "models" / "ner_conll2003"))
    changed = ["--set", f"chainer.pipe.ner.save_path={models}"]
    assert run("predict", "ner_conll2003", *changed) == (0, "", using)
    trained_by_name = ("load", str(folder))
    assert asked == [
        ("load", "small"),  # a folder goes before a model that comes along
        ("pretrained", "shipped"),
        trained_by_name,
        trained_by_name,
        trained_by_name,
    ]


@pytest.mark.parametrize("option", [[], ["-d"]])
def test_d_is_passed_on(run, monkeypatch, option):
    asked = []

    def build_model(config, settings, download):
        asked.append(download)
        return TwoInputs()

    def evaluate_model(config, settings, download):
        asked.append(download)
        return {}

    monkeypatch.setattr("kerasner.training.build_model", build_model)
    monkeypatch.setattr("kerasner.training.evaluate_model", evaluate_model)
    for verb in ("predict", "interact", "evaluate"):
        assert run(verb, "ner_conll2003", *option)[0] == 0
    assert asked == [bool(option)] * 3


def test_train_with_d_fetches_first(run, monkeypatch, tmp_path):
    monkeypatch.setenv("KERASNER_HOME", str(tmp_path / "home"))
    (tmp_path / "a.txt").write_text("a")
    config = json.loads(configs.ner.ner_conll2003.read_text())
    config["metadata"]["download"] = [(tmp_path / "a.txt").as_uri()]
    (tmp_path / "own.json").write_text(json.dumps(config))
    code, out, err = run("train", tmp_path / "own.json", "-d")
    assert (code, out) == (2, "")
    assert "downloading" in err.splitlines()[0]
    assert "expected a folder with train.txt" in err.splitlines()[-1]
    assert (tmp_path / "home" / "downloads" / "a.txt").read_text() == "a"


def test_download(run, monkeypatch, tmp_path):
    monkeypatch.setenv("KERASNER_HOME", str(tmp_path / "home"))
    (tmp_path / "a.txt").write_text("a")
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"metadata": {"download": [(tmp_path / "a.txt").as_uri()]}}))
    there = tmp_path / "home" / "downloads" / "a.txt"
    code, out, err = run("download", path)
    assert (code, out) == (0, f"{there}\n")
    assert "downloading" in err
    code, out, err = run("download", path)
    assert (code, out) == (0, f"{there}\n")
    assert err == f"kerasner: {there} is there already\n"
    code, out, err = run("download", path, "--set", "metadata.download=[]")
    assert (code, out) == (0, "")
    assert err == f"kerasner: {path} has no files to download\n"


def test_install(run, monkeypatch, tmp_path):
    installed = []
    monkeypatch.setattr(cli.requirements, "install", installed.append)
    path = tmp_path / "own.json"
    path.write_text('{"metadata": {"requirements": ["tensorboard>=2.15"]}}')
    assert run("install", path) == (0, "", "kerasner: installing tensorboard>=2.15\n")
    path.write_text("{}")
    code, out, err = run("install", path)
    assert (code, out) == (0, "")
    assert err == f"kerasner: {path} needs nothing that is not installed with kerasner\n"
    assert installed == [["tensorboard>=2.15"]]


def test_verbs_without_a_network_do_not_wait_for_tensorflow(tmp_path):
    (tmp_path / "own.json").write_text("{}")
    for verb in ("install", "download"):
        result = python("-X", "importtime", "-m", "kerasner", verb, tmp_path / "own.json")
        assert result.returncode == 0
        assert "tensorflow" not in result.stderr


@pytest.fixture
def served(monkeypatch):
    """The settings that a server would run with."""
    settings = []

    async def run(given):
        settings.append(given)

    monkeypatch.setattr("kerasner.serving.server.app.run", run)
    return settings


def test_serve(run, served, trained_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "pretrained_names", lambda: ["shipped"])
    base = tmp_path / "ner"
    (base / "1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    names = ["shipped", trained_folder, "ner", f"other={base}", "second=shipped"]
    assert run("serve", *names, "--rest-port", 0, "--no-batching", "--grace", 1.5) == (0, "", "")
    (settings,) = served
    assert {name: str(model) for name, model in settings.models.items()} == {
        "shipped": "shipped",
        "small": str(trained_folder),
        "ner": "ner",
        "other": str(base),
        "second": "shipped",
    }
    assert isinstance(settings.models["shipped"], str)
    assert (settings.host, settings.port, settings.rest_port) == ("localhost", 8500, 0)
    assert (settings.batching, settings.grace, settings.model_config_file) == (False, 1.5, None)


def test_the_defaults_of_serve_are_those_of_its_settings(run, served, tmp_path):
    from kerasner.serving.server.app import Settings

    path = tmp_path / "models.config"
    assert run("serve", "--model-config-file", path)[0] == 0
    assert served == [Settings(model_config_file=path)]


@pytest.mark.parametrize(
    "words, expected",
    [
        ([], "names of models or a --model-config-file"),
        (["ner_conll2003", "--model-config-file", "x"], "one of both"),
        (["ner_conl2003"], "did you mean 'ner_conll2003'?"),
        (["{empty}"], "expected the folder of a trained model, or one with a SavedModel"),
        (["{parent}"], "such as 1; in it are {versions}"),
        (["{versions}/1"], "one version of a model; give its parent, {versions}"),
        (["a={empty}/nothing"], "neither a folder nor a model"),
        (["=ner_conll2003"], "a name before '='"),
        (["={versions}"], "a name before '='"),
        (["a=ner_conll2003", "a=ner_conll2003"], "another model is served as 'a'"),
        (["ner_conll2003", "--port", "x"], "--port: expected a whole number from 0 to 65535"),
        (["ner_conll2003", "--rest-port", "65536"], "from 0 to 65535, received '65536'"),
        (["ner_conll2003", "--workers", "0"], "a whole number of 1 or more, received '0'"),
        (["ner_conll2003", "--grace", "inf"], "expected seconds, 0 or more, received 'inf'"),
    ],
)
def test_serve_refuses(run, served, tmp_path, words, expected):
    empty, versions = tmp_path / "empty", tmp_path / "versions"
    empty.mkdir()
    (versions / "1").mkdir(parents=True)
    (versions / "1" / "saved_model.pb").touch()
    places = {"empty": empty, "versions": versions, "parent": tmp_path}
    code, out, err = run("serve", *(word.format(**places) for word in words))
    assert (code, out, served) == (2, "", [])
    assert err.startswith("kerasner: error: ")
    assert expected.format(**places) in err


def test_serve_without_its_packages(run, served, monkeypatch):
    monkeypatch.setattr(cli, "_SERVING_MODULES", ("json", "no_such_package"))
    code, out, err = run("serve", "ner_conll2003")
    assert (code, out, served) == (2, "", [])
    assert err == (
        "kerasner: error: serve needs no_such_package, not installed here: "
        "pip install 'kerasner[serving]'\n"
    )


def test_ctrl_c(run, monkeypatch):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_tagger", interrupted)
    assert run("predict", "small") == (130, "", "")


def test_a_reader_that_has_gone():
    """Its code, and no traceback."""
    script = (
        "import sys; from kerasner import cli\n"
        "class Tagger:\n"
        "    class chainer: inputs = ['x']\n"
        "    def __call__(self, texts): return [[text] for text in texts], [['O'] for _ in texts]\n"
        "cli._tagger = lambda name: Tagger()\n"
        "sys.exit(cli.main(['predict', 'small', '-b', '1']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdin.write(b"a\n")
    process.stdin.flush()
    assert process.stdout.readline() == b'[["a"], ["O"]]\n'
    process.stdout.close()
    process.stdin.write(b"b\nc\n")
    process.stdin.close()
    assert process.wait(timeout=300) == 141
    errors = process.stderr.read().decode()
    process.stderr.close()
    assert "Traceback" not in errors
    assert "BrokenPipe" not in errors


def test_warnings_are_lines_too(run, tmp_path, small_settings):
    (tmp_path / "train.txt").write_text("Abel NN I-PER\n")
    settings = [*small_settings, f"dataset_reader.data_path={json.dumps(str(tmp_path))}"]
    code, out, err = run("train", "ner_conll2003", *(w for s in settings for w in ("--set", s)))
    assert (code, out) == (2, "")
    warning, error = err.splitlines()
    assert warning.startswith(f"kerasner: warning: {tmp_path}/train.txt:1: tag 'I-PER'")
    assert error.startswith("kerasner: error: ")


# --- wrong input: exit code 2, one line on stderr, nothing written ---


@pytest.fixture
def fails(run, tmp_path, monkeypatch):
    """Runs a command that must fail; returns its line."""
    home = tmp_path / "home"
    monkeypatch.setenv("KERASNER_HOME", str(home))

    def snapshot():
        return {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}

    def fails(*argv, **options):
        before = snapshot()
        code, out, err = run(*argv, **options)
        assert (code, out) == (2, ""), err
        assert err.startswith("kerasner: error: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        assert snapshot() == before
        assert not home.exists()
        return err

    return fails


@pytest.fixture
def train(fails, small_settings, data_folder, tmp_path):
    """Trains with a changed corpus or other settings, which must fail; returns the line."""

    def train(*settings, **files):
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        for part in ("train", "valid", "test"):
            content = files.get(part, (data_folder / f"{part}.txt").read_text())
            if content is not None:
                (folder / f"{part}.txt").write_text(content)
        changes = [
            *small_settings,
            f"chainer.pipe.ner.save_path={json.dumps(str(tmp_path / 'out' / 'model'))}",
            f"dataset_reader.data_path={json.dumps(str(folder))}",
            *settings,
        ]
        return fails("train", "ner_conll2003", *(w for c in changes for w in ("--set", c)))

    return train


def test_a_missing_data_folder(train, tmp_path):
    line = train(f"dataset_reader.data_path={tmp_path}/none")
    assert f"no file or folder {tmp_path}/none" in line
    assert "expected a folder with train.txt, valid.txt, test.txt" in line


def test_an_empty_data_folder(train, tmp_path):
    (tmp_path / "empty").mkdir()
    line = train(f"dataset_reader.data_path={tmp_path}/empty")
    assert f"data folder {tmp_path}/empty is empty: expected a folder with train.txt" in line


def test_the_installed_configuration_without_its_data(fails, tmp_path):
    line = fails("train", "ner_conll2003")
    assert f"no file or folder {tmp_path}/home/downloads/conll2003" in line


def test_a_line_with_one_column(train, tmp_path):
    line = train(train="Abel NN B-PER\nFalk\n")
    assert f"{tmp_path}/data/train.txt:2: expected token and tag" in line


def test_a_tag_that_is_not_bio(train, tmp_path):
    line = train(valid="\nAbel NN B-PER\nFalk NN E-PER\n")
    assert f"{tmp_path}/data/valid.txt:3: tag 'E-PER' is not BIO: expected O, B-TYPE" in line


def test_a_missing_valid_part(train):
    assert "has no valid part; training needs train and valid" in train(valid=None)


def test_an_empty_file(train, tmp_path):
    assert f"{tmp_path}/data/valid.txt holds no sentence" in train(valid="\n\n")


def test_missing_word_vectors(train):
    assert "load_path: no file or folder /none.txt" in train(
        "chainer.pipe.glove.load_path=/none.txt"
    )


def test_damaged_word_vectors(train, tmp_path):
    (tmp_path / "vectors.txt").write_text("a 1 2\nb 1\n")
    line = train(f"chainer.pipe.glove.load_path={tmp_path}/vectors.txt")
    assert f"{tmp_path}/vectors.txt:2: expected a word and 2 numbers" in line


@pytest.mark.parametrize("place", ["file", "file/model", "file/a/model"])
def test_a_folder_that_cannot_be_written(train, tmp_path, place):
    (tmp_path / "file").touch()
    line = train(f"chainer.pipe.ner.save_path={tmp_path}/{place}")
    assert str(tmp_path / "file") in line
    assert "expected a folder to write to" in line or "expected a new or empty folder" in line


def test_a_log_folder_that_cannot_be_written(train, tmp_path):
    (tmp_path / "file").touch()
    line = train(f"train.tensorboard_log_dir={tmp_path}/file/logs")
    assert f"cannot write to {tmp_path}/file/logs" in line


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("chainer.pipe.ner.n_hiden_list=[3]", "did you mean 'n_hidden_list'?"),
        ("trian.epochs=3", "did you mean 'train'?"),
        ("train.epoch=3", "did you mean 'epochs'?"),
        ("train.epochs=many", "train.epochs: expected 0 or more, a whole number, received 'many'"),
        (
            'train.metrics=["nerf1"]',
            "unknown class_name 'nerf1': did you mean",
        ),
        ("train.validate=true", "unknown key 'validate': did you mean 'validate_best'?"),
        ("dataset_reader.class_name=conll2033_reader", "did you mean 'conll2003_reader'?"),
        ("chainer.pipe.ner.optimizer=sdg", "optimizer 'sdg'; expected one of 'adam', 'sgd'"),
        ("dataset_reader.data_path=2003", "data_path: expected a path, received 2003"),
        ("dataset_reader.data_path=~nouser/x", "no home folder known for '~nouser/x'"),
        ("chainer.pipe.ner.save_path=~nouser/x", "no home folder known for '~nouser/x'"),
        (f"chainer.pipe.ner.save_path=/tmp/{'n' * 300}", "File name too long"),
        ("dataset_reader.class_name=str_lower", "a class with 'read', received 'str_lower'"),
        ("dataset_iterator.seed=[1]", "seed: expected a whole number or null, received [1]"),
        ("dataset_iterator.class_name=str_lower", "expected a class with 'instances'"),
        ("train.epochs", "expected path.to.key=value, received 'train.epochs'"),
    ],
)
def test_wrong_settings(train, setting, expected):
    assert expected in train(setting)


def test_wrong_settings_are_told_before_the_data_is_read(train):
    for setting, expected in (
        ("train.epochs=-1", "train.epochs"),
        ('train.metrics=[{"name": "ner_f1", "inputs": ["y", "tag"]}]', "unknown variable 'tag'"),
        ("chainer.pipe.ner.in=x_em", "did you mean 'x_emb'"),
    ):
        assert expected in train(setting, "dataset_reader.data_path=/none")


def test_several_inputs_that_do_not_fit(fails, two_inputs):
    for text, expected in (
        (b"a\nb\nc\n", "line 3: expected a line for each of x, pos"),
        (b"a b\nc\n", "line 2: expected a line for each of x, pos, of as many words"),
    ):
        assert expected in fails("predict", "small", stdin=text)
    for verb in ("predict", "interact"):
        assert "--entities takes texts alone" in fails(verb, "small", "--entities")


def test_evaluating_a_model_needs_data(fails, trained_folder):
    line = fails("evaluate", trained_folder)
    assert "is a model: --data names the folder to score it on" in line
    assert "no file or folder /none" in fails("evaluate", trained_folder, "--data", "/none")


def test_a_configuration_that_is_not_json(fails, tmp_path):
    path = tmp_path / "own.json"
    path.write_text('{"chainer": {},}')
    for verb in ("install", "download", "train", "evaluate", "predict"):
        assert f"{path}, line 1, column 16: not JSON" in fails(verb, path)


def test_a_configuration_with_a_wrong_group(fails, tmp_path):
    path = tmp_path / "own.json"
    path.write_text('{"chaner": {}}')
    assert "unknown key 'chaner': did you mean 'chainer'?" in fails("train", path)


def test_an_unknown_configuration(fails):
    for verb in ("train", "evaluate"):
        assert "did you mean 'ner_conll2003'?" in fails(verb, "ner_conl2003")


@pytest.mark.parametrize("verb", ["predict", "interact", "export"])
def test_an_unknown_model(fails, tmp_path, verb):
    arguments = [tmp_path / "saved"] if verb == "export" else []
    line = fails(verb, "ner_conl2003", *arguments)
    assert "no model is called so: did you mean 'ner_conll2003'?" in line


def test_names_that_are_no_paths(fails):
    assert "no home folder known for '~nouser/x'" in fails("predict", "~nouser/x")
    assert "no model is called so" in fails("predict", "n" * 5000)


def test_settings_belong_to_a_configuration(fails, trained_folder):
    line = fails("predict", trained_folder, "--set", "train.epochs=1")
    assert "--set changes a configuration, which" in line
    assert "did you mean 'train'?" in fails("predict", "ner_conll2003", "--set", "trian.epochs=1")


def test_a_reader_can_be_told_to_be_strict(train):
    line = train("dataset_reader.strict=true", train="Abel NN I-PER\n")
    assert "tag 'I-PER' continues no entity" in line


def test_a_folder_without_a_model(fails, tmp_path):
    (tmp_path / "empty").mkdir()
    line = fails("predict", tmp_path / "empty")
    assert f"'{tmp_path}/empty': the folder holds no model" in line


def test_a_model_that_is_not_trained_yet(fails, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "names", lambda: [])
    for verb in ("predict", "evaluate"):
        line = fails(verb, "ner_conll2003")
        assert f"{tmp_path}/home/models/ner_conll2003: no model here yet" in line


def test_a_damaged_archive(fails, tmp_path, monkeypatch):
    folder = tmp_path / "archives"
    folder.mkdir()
    (folder / "small.zip").write_bytes(b"PK")
    entry = {"archives": [{"file": "small.zip", "sha256": "0" * 64}]}
    (folder / "registry.json").write_text(json.dumps({"small": entry}))
    monkeypatch.setattr(archives, "FOLDER", folder)
    assert f"{folder}/small.zip is damaged: SHA-256" in fails("predict", "small")
    (folder / "small.zip").unlink()
    assert f"cannot read {folder}/small.zip: No such file" in fails("predict", "small")
    assert "did you mean 'small'?" in fails("predict", "smal")


def test_a_damaged_model(fails, trained_folder, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in trained_folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes()[:-10])
    assert f"{folder}/config.json: damaged" in fails("predict", folder)
    (folder / "config.json").write_bytes((trained_folder / "config.json").read_bytes())
    assert str(folder) in fails("predict", folder)


def test_a_missing_input_file(fails, loaded):
    assert "cannot read /none: No such file" in fails("predict", "small", "-f", "/none")


def test_export_to_a_wrong_place(fails, loaded, tmp_path):
    (tmp_path / "file").touch()
    assert "file/small/1: Not a directory" in fails("export", "small", tmp_path / "file")
    thesis = tmp_path / "small" / "3" / "thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.touch()
    assert "is no SavedModel" in fails("export", "small", tmp_path, "--version", 3)
    assert "a whole number of 0 or more" in fails("export", "small", "x", "--version", "-1")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], "VERB"),
        (["trian", "ner_conll2003"], "'trian'"),
        (["train"], "CONFIG"),
        (["predict", "small", "-b", "0"], "a whole number of 1 or more, received '0'"),
        (["predict", "small", "-b", "x"], "a whole number of 1 or more, received 'x'"),
        (["export", "small"], "DIR"),
        (["train", "ner_conll2003", "-e", "-1"], "a whole number of 0 or more, received '-1'"),
        (["export", "small", "x", "--version", "new"], "'new'"),
        (["evaluate", "ner_conll2003", "--sets"], "--sets"),
    ],
)
def test_wrong_arguments(fails, argv, expected):
    line = fails(*argv)
    assert expected in line
    assert "--help" in line
