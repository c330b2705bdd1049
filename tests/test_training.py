"""From a configuration to a trained model: resuming, stopping, the best epoch, wrong settings."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from kerasner import config as configuration
from kerasner import storage, training
from kerasner.checkpoint import Progress
from kerasner.errors import ArchiveError, ConfigError, DataError
from kerasner.training import TrainSettings, evaluate_model, train_model

FILES = ["char_vocab.txt", "config.json", "glove_emb.npz", "glove_emb.txt", "tag_vocab.txt"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_training_leaves_the_best_model_and_nothing_else(trained):
    assert names(trained.folder) == [*FILES, "weights.npz"]
    assert names(trained.folder.parent) == ["small"]
    assert max(trained.scores) >= 0.9


def test_the_saved_model_is_that_of_the_best_epoch(trained, tagger, corpus):
    f1 = tagger.evaluate(corpus["valid"]).total.f1
    assert f1 == pytest.approx(100 * max(trained.scores), abs=1e-4)


def test_the_saved_configuration_knows_nothing_of_the_machine(trained, vector_file):
    text = (trained.folder / "config.json").read_text()
    assert str(vector_file.parent) not in text
    assert str(trained.folder.parent) not in text
    config = json.loads(text)["config"]
    ner = next(entry for entry in config["chainer"]["pipe"] if entry.get("main"))
    assert ner["n_hidden_list"] == [16]
    assert config["train"]["batch_size"] == 4


def test_a_killed_run_goes_on(small_settings, tmp_path, monkeypatch, caplog):
    save = f"chainer.pipe.ner.save_path={json.dumps(str(tmp_path / 'model'))}"
    state = tmp_path / "model.training" / "state.npz"
    endless = [*small_settings, save, "train.epochs=10000", "train.validation_patience=0"]
    options = [option for setting in endless for option in ("--set", setting)]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "kerasner", "train", "ner_conll2003", *options],
            stdout=log,
            stderr=log,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        )
        while not state.exists():
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "model").exists()
    stored = storage.load_weights(state)
    done, impatience, _ = map(int, stored["counters"])
    assert done >= 1

    epochs, scores = [], []

    def on_epoch_end(self, epoch, logs):
        original(self, epoch, logs)
        epochs.append(epoch)
        scores.append(logs["val_f1"])

    original = Progress.on_epoch_end
    monkeypatch.setattr(Progress, "on_epoch_end", on_epoch_end)
    patience = impatience + 3
    settings = [*endless, f"train.validation_patience={patience}"]
    with caplog.at_level("INFO", "kerasner"):
        train_model("ner_conll2003", settings, verbose=0)
    assert f"resuming after epoch {done}, best F1 {float(stored['score']):.4f}" in caplog.text
    assert "starts anew" not in caplog.text
    assert epochs == list(range(done, done + len(epochs)))
    # The best score from before the kill counts, and so do the epochs since it.
    best, since = float(stored["score"]), [impatience]
    for score in scores:
        since.append(0 if score > best else since[-1] + 1)
        best = max(best, score)
    assert since[-1] == patience
    assert max(since[:-1]) < patience
    assert f"validation F1 {100 * best:.2f}" in caplog.text
    assert names(tmp_path / "model") == [*FILES, "weights.npz"]
    assert names(tmp_path) == ["log", "model"]


def test_a_finished_state_is_not_trained_further(trained, tmp_path, monkeypatch, caplog):
    """A run that was killed while it saved its model only has to save it."""
    settings = [*trained.settings, f"chainer.pipe.ner.save_path={json.dumps(str(tmp_path / 'm'))}"]
    finish = Progress.restore_best
    seen = []

    def prepare(self, model):
        original(self, model)
        self.best, self._impatience = 0.5, self._patience
        self._best_weights = storage.load_weights(trained.folder / "weights.npz")

    def restore_best(self):
        seen.append(self.finished)
        finish(self)

    original = Progress.prepare
    monkeypatch.setattr(Progress, "prepare", prepare)
    monkeypatch.setattr(Progress, "restore_best", restore_best)
    monkeypatch.setattr("kerasner.network.NerNetwork.fit", None)  # it must not be called
    train_model("ner_conll2003", settings, verbose=0)
    assert seen == [True]
    weights = (tmp_path / "m" / "weights.npz").read_bytes()
    assert weights == (trained.folder / "weights.npz").read_bytes()


def test_without_a_trained_model_the_shipped_one_is_used(small_settings, tmp_path, monkeypatch):
    settings = [*small_settings, f"chainer.pipe.ner.save_path={json.dumps(str(tmp_path / 'm'))}"]
    monkeypatch.setattr(training.archives, "names", lambda: ["ner_conll2003"])
    monkeypatch.setattr(training.archives, "pretrained", lambda name: f"shipped {name}")
    monkeypatch.setenv("KERASNER_HOME", str(tmp_path))
    assert training.build_model("ner_conll2003", small_settings) == "shipped ner_conll2003"
    for config, place in (
        ("ner_conll2003", settings),  # asked for another folder, which holds none
        (configuration.load("ner_conll2003"), small_settings),  # a dict has no name
    ):
        with pytest.raises(ArchiveError, match="no model here yet"):
            training.build_model(config, place)


def test_a_trained_model_goes_before_the_shipped_one(trained, monkeypatch, caplog):
    monkeypatch.setattr(training.archives, "names", lambda: ["ner_conll2003"])
    monkeypatch.setattr(training.Tagger, "load", lambda folder: f"loaded {folder}")
    with caplog.at_level("INFO", "kerasner"):
        model = training.build_model("ner_conll2003", trained.settings)
    assert model == f"loaded {trained.folder}"
    assert f"using the model in {trained.folder}" in caplog.text


def test_evaluation_of_a_saved_model(trained, corpus):
    reports = evaluate_model("ner_conll2003", trained.settings)
    assert list(reports) == ["valid", "test"]
    assert reports["valid"].total.f1 == pytest.approx(100 * max(trained.scores), abs=1e-4)
    assert reports["test"].tokens == sum(len(tokens) for tokens, _ in corpus["test"])


def test_tags_of_the_validation_part_alone_are_known(data_folder, small_settings, tmp_path):
    for part in ("train", "valid"):
        text = (data_folder / f"{part}.txt").read_text()
        (tmp_path / f"{part}.txt").write_text(text)
    with open(tmp_path / "valid.txt", "a") as file:
        file.write("\nMay NN B-DATE\n")
    settings = [*small_settings, f"dataset_reader.data_path={json.dumps(str(tmp_path))}"]
    data = training.read_data("ner_conll2003", settings)
    resolved = configuration.resolve(
        configuration.override(configuration.load("ner_conll2003"), settings)
    )
    tags = training.fit_pipeline(resolved, data).tags
    assert "B-DATE" in tags
    assert tags[0] == "O"


def test_tensorboard_gets_its_files(small_settings, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    used = []

    def fit(self, *args, callbacks, **kwargs):
        used.extend(callbacks)
        for callback in callbacks:
            callback.set_model(self)
        used[0].on_epoch_end(0, logs := {"loss": 1.0})
        used[1].on_epoch_end(0, logs)
        used[1].on_train_end()

    monkeypatch.setattr("kerasner.network.NerNetwork.fit", fit)
    settings = [
        *small_settings,
        f"chainer.pipe.ner.save_path={json.dumps(str(tmp_path / 'model'))}",
        f"train.tensorboard_log_dir={json.dumps(str(tmp_path / 'logs'))}",
    ]
    train_model("ner_conll2003", settings, verbose=0)
    assert len(used) == 2
    events = list((tmp_path / "logs").rglob("events.out.tfevents.*"))
    assert events
    content = b"".join(path.read_bytes() for path in events)
    assert b"epoch_loss" in content
    assert b"epoch_f1" in content


def test_without_tensorboard_the_error_says_so(small_settings, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    settings = [
        *small_settings,
        f"chainer.pipe.ner.save_path={json.dumps(str(tmp_path / 'model'))}",
        f"train.tensorboard_log_dir={json.dumps(str(tmp_path / 'logs'))}",
    ]
    with pytest.raises(ConfigError, match=r"pip install kerasner\[tensorboard\]"):
        train_model("ner_conll2003", settings, verbose=0)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"epochs": 0}, "train.epochs: expected 1 or more, a whole number, received 0"),
        ({"epochs": True}, "train.epochs: expected 1 or more, a whole number, received True"),
        ({"epochs": 1.5}, "train.epochs: expected 1 or more, a whole number, received 1.5"),
        ({"batch_size": "8"}, "train.batch_size: expected 1 or more, a whole .* received '8'"),
        ({"train_on_valid": "no"}, "train.train_on_valid: expected true or false, received 'no'"),
        ({"seed": 2**32}, "train.seed: expected 0 to 4294967295, a whole number"),
        ({"validation_patience": -1}, "train.validation_patience: expected 0 or more"),
        ({"seed": "lucky"}, "train.seed: expected 0 to 4294967295, .* 'lucky'"),
        ({"tensorboard_log_dir": 5}, "train.tensorboard_log_dir: expected a folder, received 5"),
    ],
)
def test_wrong_training_settings(settings, expected):
    with pytest.raises(ConfigError, match=expected):
        TrainSettings(**settings)


def test_what_is_no_model_is_not_replaced(small_settings, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text.doc").write_text("all of it")
    save = f"chainer.pipe.ner.save_path={json.dumps(str(tmp_path / 'thesis'))}"
    with pytest.raises(ConfigError, match="thesis exists and is no model"):
        train_model("ner_conll2003", [*small_settings, save])
    assert (tmp_path / "thesis" / "text.doc").read_text() == "all of it"


def test_a_part_without_sentences(small_settings, data_folder, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.txt").write_text((data_folder / "train.txt").read_text())
    settings = [
        *small_settings,
        f"dataset_reader.data_path={json.dumps(str(tmp_path / 'data'))}",
        f"chainer.pipe.ner.save_path={json.dumps(str(tmp_path / 'model'))}",
    ]
    with pytest.raises(DataError, match="has no valid part"):
        train_model("ner_conll2003", settings)
    assert names(tmp_path) == ["data"]


def test_training_on_train_and_valid_together(small_settings, data_folder, tmp_path, monkeypatch):
    data = tmp_path / "data"
    shutil.copytree(data_folder, data)
    with open(data / "valid.txt", "a", encoding="utf-8") as file:
        file.write("\nZyxo NN B-PER\nleft NN O\n\nZyxo NN B-PER\nslept NN O\n")
    epochs, original = [], Progress.on_epoch_end

    def on_epoch_end(self, epoch, logs):
        original(self, epoch, logs)
        epochs.append(dict(logs))

    monkeypatch.setattr(Progress, "on_epoch_end", on_epoch_end)
    changes = {
        "dataset_reader.data_path": str(data),
        "chainer.pipe.ner.save_path": str(tmp_path / "model"),
        "train.train_on_valid": True,
        "train.validation_patience": 1,
        "train.epochs": 4,
    }
    settings = [f"{path}={json.dumps(value)}" for path, value in changes.items()]
    tagger = train_model("ner_conll2003", [*small_settings, *settings])
    assert len(epochs) == 4 and all("val_f1" not in logs for logs in epochs)
    assert "zyxo" in (tmp_path / "model" / "glove_emb.txt").read_text().split()
    assert tagger([["Zyxo", "slept"]])[1] == [["B-PER", "O"]]
