"""From a configuration to a trained model: resuming, stopping, the best epoch, wrong settings."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from kerasner import config as configuration
from kerasner import configs, recipe, storage, training
from kerasner._compat import KERAS_3
from kerasner.checkpoint import Progress
from kerasner.errors import ArchiveError, ConfigError, DataError
from kerasner.tagger import Tagger
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
    done, impatience = int(stored["count:epochs_done"]), int(stored["count:impatience"])
    assert done >= 1

    epochs, scores = [], []

    def on_epoch_end(self, epoch, logs):
        original(self, epoch, logs)
        epochs.append(epoch)
        scores.append(logs["val_ner_f1"])

    original = Progress.on_epoch_end
    monkeypatch.setattr(Progress, "on_epoch_end", on_epoch_end)
    patience = impatience + 3
    settings = [*endless, f"train.validation_patience={patience}"]
    with caplog.at_level("INFO", "kerasner"):
        train_model("ner_conll2003", settings, verbose=0)
    resumed = f"resuming after epoch {done}, best ner_f1 {float(stored['score']):.4f}"
    assert resumed in caplog.text
    assert "starts anew" not in caplog.text
    assert epochs == list(range(done, done + len(epochs)))
    # The best score from before the kill counts, and so do the epochs since it.
    best, since = float(stored["score"]), [impatience]
    for score in scores:
        since.append(0 if score > best else since[-1] + 1)
        best = max(best, score)
    assert since[-1] == patience
    assert max(since[:-1]) < patience
    assert f"Saving model of ner_f1 {best:.4f} to {tmp_path / 'model'}" in caplog.text
    assert names(tmp_path / "model") == [*FILES, "weights.npz"]
    assert names(tmp_path) == ["log", "model"]


def test_a_finished_state_is_not_trained_further(trained, tmp_path, monkeypatch, caplog):
    """A run that was killed while it saved its model only has to save it."""
    settings = [*trained.settings, f"chainer.pipe.ner.save_path={json.dumps(str(tmp_path / 'm'))}"]
    finish = Progress.restore_best
    seen = []

    def prepare(self, *arguments):
        original(self, *arguments)
        self.best, self._counts["impatience"] = 0.5, self._settings.validation_patience
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


def test_a_path_of_an_installed_configuration_is_as_good_as_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(training.archives, "names", lambda: ["ner_conll2003"])
    monkeypatch.setattr(training.archives, "pretrained", lambda name: f"shipped {name}")
    monkeypatch.setattr(recipe.downloads, "download", None)  # it must not be called
    monkeypatch.setenv("KERASNER_HOME", str(tmp_path))
    for config in (configs.ner.ner_conll2003, str(configs.ner.ner_conll2003)):
        assert training.build_model(config, download=True) == "shipped ner_conll2003"
    own = json.loads(configs.ner.ner_conll2003.read_text())
    own["train"]["epochs"] = 1
    (tmp_path / "ner_conll2003.json").write_text(json.dumps(own))
    with pytest.raises(ArchiveError, match="no model here yet"):
        training.build_model(tmp_path / "ner_conll2003.json")


def test_files_are_fetched_where_there_is_no_model(small_settings, tmp_path, monkeypatch):
    settings = [*small_settings, f"chainer.pipe.ner.save_path={json.dumps(str(tmp_path / 'm'))}"]
    asked = []
    monkeypatch.setattr(recipe.downloads, "download", asked.append)
    with pytest.raises(ArchiveError, match="no model here yet"):
        training.build_model("ner_conll2003", settings, download=True)
    assert [config["train"]["epochs"] for config in asked] == [6]


def test_settings_are_not_taken_for_deeppavlovs_second_argument():
    for function in (training.build_model, train_model, evaluate_model):
        with pytest.raises(ConfigError, match="download=True"):
            function("ner_conll2003", True)


def test_a_model_in_load_path_is_used_where_save_path_holds_none(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(training.Tagger, "load", lambda folder: f"loaded {folder}")
    paths = {"save_path": str(tmp_path / "none"), "load_path": str(trained.folder)}
    settings = [f"chainer.pipe.ner.{key}={json.dumps(path)}" for key, path in paths.items()]
    model = training.build_model("ner_conll2003", [*trained.settings, *settings])
    assert model == f"loaded {trained.folder}"


def test_a_trained_model_goes_before_the_shipped_one(trained, monkeypatch, caplog):
    monkeypatch.setattr(training.archives, "names", lambda: ["ner_conll2003"])
    monkeypatch.setattr(training.Tagger, "load", lambda folder: f"loaded {folder}")
    with caplog.at_level("INFO", "kerasner"):
        model = training.build_model("ner_conll2003", trained.settings)
    assert model == f"loaded {trained.folder}"
    assert f"using the model in {trained.folder}" in caplog.text


def test_evaluation_of_a_saved_model(trained, corpus):
    scores = evaluate_model("ner_conll2003", trained.settings)
    assert list(scores) == ["valid", "test"]
    best = pytest.approx(100 * max(trained.scores), abs=1e-4)
    assert scores["valid"].metrics == {"ner_f1": best}
    assert scores["valid"].report.total.f1 == best
    assert scores["test"].examples == len(corpus["test"])
    assert scores["test"].report.tokens == sum(len(tokens) for tokens, _ in corpus["test"])
    settings = [*trained.settings, "train.validate_best=false", "train.metrics=per_token_accuracy"]
    scores = evaluate_model("ner_conll2003", settings)
    assert list(scores) == ["test"]
    assert 0.9 < scores["test"].metrics["per_token_accuracy"] <= 1


def test_tags_of_the_validation_part_alone_are_known(data_folder, small_settings, tmp_path):
    for part in ("train", "valid"):
        text = (data_folder / f"{part}.txt").read_text()
        (tmp_path / f"{part}.txt").write_text(text)
    with open(tmp_path / "valid.txt", "a") as file:
        file.write("\nMay NN B-DATE\n")
    settings = [*small_settings, f"dataset_reader.data_path={json.dumps(str(tmp_path))}"]
    data = recipe.read_data("ner_conll2003", settings)
    resolved = configuration.resolve(
        configuration.override(configuration.load("ner_conll2003"), settings)
    )
    tags = training.fit_pipeline(resolved, data).tags
    assert "B-DATE" in tags
    assert tags[0] == "O"


def test_tensorboard_gets_its_files(small_settings, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    used, logs = [], {"loss": 1.0}

    def fit(self, *args, callbacks, **kwargs):
        used.extend(callbacks)
        for callback in callbacks:
            callback.set_model(self)
        for callback in callbacks:
            callback.on_epoch_begin(0)
        for callback in callbacks:
            callback.on_epoch_end(0, logs)
        used[-1].on_train_end()

    monkeypatch.setattr("kerasner.network.NerNetwork.fit", fit)
    settings = [
        *small_settings,
        f"chainer.pipe.ner.save_path={json.dumps(str(tmp_path / 'model'))}",
        f"train.tensorboard_log_dir={json.dumps(str(tmp_path / 'logs'))}",
    ]
    train_model("ner_conll2003", settings, verbose=0)
    events = list((tmp_path / "logs").rglob("events.out.tfevents.*"))
    assert events
    content = b"".join(path.read_bytes() for path in events)
    assert b"epoch_loss" in content
    assert b"epoch_ner_f1" in content


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
        ({"epochs": -1}, "train.epochs: expected 0 or more, a whole number, received -1"),
        ({"epochs": True}, "train.epochs: expected 0 or more, a whole number, received True"),
        ({"epochs": 1.5}, "train.epochs: expected 0 or more, a whole number, received 1.5"),
        ({"batch_size": "8"}, "train.batch_size: expected 1 or more, a whole .* received '8'"),
        ({"train_on_valid": "no"}, "train.train_on_valid: expected true or false, received 'no'"),
        ({"train_on_valid": True, "epochs": 0}, "train.epochs: without validation nothing"),
        ({"val_every_n_epochs": 0, "epochs": 0}, "train.epochs: without validation nothing"),
        ({"seed": 2**32}, "train.seed: expected 0 to 4294967295, a whole number"),
        ({"validation_patience": -2}, "train.validation_patience: expected -1 or more"),
        ({"val_every_n_epochs": "all"}, "train.val_every_n_epochs: expected -1 or more"),
        ({"val_every_n_batches": "all"}, "train.val_every_n_batches: expected -1 or more"),
        ({"seed": "lucky"}, "train.seed: expected 0 to 4294967295, .* 'lucky'"),
        ({"tensorboard_log_dir": 5}, "train.tensorboard_log_dir: expected a folder, received 5"),
        ({"metrics": []}, r"train.metrics: expected a list of metrics, received \[\]"),
        ({"metrics": [3]}, r"train.metrics\[0\]: expected a name or .* received 3"),
        (
            {"metrics": [{"nam": "x"}]},
            r"train.metrics\[0\]: unknown key 'nam': did you mean 'name'",
        ),
        ({"metrics": [{}]}, r"train.metrics\[0\].name: expected the name of a metric"),
        ({"metric_optimization": "max"}, "train.metric_optimization: unknown 'max': valid names"),
        ({"class_name": "nn_train"}, "train.class_name: unknown 'nn_train': did you mean"),
        ({"evaluation_targets": ["tset"]}, "train.evaluation_targets: unknown 'tset': did you"),
        ({"evaluation_targets": "test"}, "expected a list of train, valid, test, received 'test'"),
        ({"show_examples": 1}, "train.show_examples: expected true or false, received 1"),
        ({"letter_case": 0.1}, "train.letter_case: expected probabilities of upper.* received 0.1"),
        ({"letter_case": {"uper": 0.1}}, "train.letter_case: unknown key 'uper': did you mean 'up"),
        ({"letter_case": {"upper": -0.1}}, "train.letter_case.upper: expected 0 to 1, .* -0.1"),
        ({"typography": 1.1}, "train.typography: expected 0 to 1, .* 1.1"),
        (
            {"letter_case": {"upper": 0.6}, "typography": 0.5},
            "train.letter_case: .* 1 at most with typography 0.5, received {'upper': 0.6}",
        ),
        ({"letter_case": {"title": "1"}}, "train.letter_case.title: expected 0 to 1, .* '1'"),
        (
            {"letter_case": {"upper": 0.6, "lower": 0.5}},
            "train.letter_case: .* 1 at most with typography 0.0, .* {'upper': 0.6, 'lower': 0.5}",
        ),
    ],
)
def test_wrong_training_settings(settings, expected):
    with pytest.raises(ConfigError, match=expected):
        TrainSettings(**settings)


@pytest.mark.parametrize(
    ("settings", "validates", "every"),
    [
        ({}, True, 1),
        ({"val_every_n_epochs": 5}, True, 5),
        ({"val_every_n_epochs": 0}, False, 0),
        ({"val_every_n_epochs": -1}, False, -1),
        ({"val_every_n_batches": 100}, True, 0),
        ({"val_every_n_batches": -1}, True, 1),
        ({"train_on_valid": True}, False, 1),
    ],
)
def test_when_validations_happen(settings, validates, every):
    train = TrainSettings(**settings)
    assert (train.validates, train.val_every_n_epochs) == (validates, every)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({}, ["valid", "test"]),
        ({"validate_best": False}, ["test"]),
        ({"test_best": False}, ["valid"]),
        ({"evaluation_targets": ["train", "test"], "test_best": False}, ["train", "test"]),
        ({"evaluation_targets": []}, []),
    ],
)
def test_parts_that_the_best_model_is_scored_on(settings, parts):
    assert TrainSettings(**settings).evaluated_parts == parts


def test_what_is_no_model_is_not_replaced(small_settings, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text.doc").write_text("all of it")
    save = f"chainer.pipe.ner.save_path={json.dumps(str(tmp_path / 'thesis'))}"
    with pytest.raises(ConfigError, match="thesis exists and is no model"):
        train_model("ner_conll2003", [*small_settings, save])
    assert (tmp_path / "thesis" / "text.doc").read_text() == "all of it"


def test_a_part_without_sentences(small_settings, data_folder, tmp_path, monkeypatch):
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
    monkeypatch.setattr(training, "fit_pipeline", lambda *arguments: reached.append(arguments))
    reached = []
    with pytest.raises(AttributeError):  # as far as the pipeline
        train_model("ner_conll2003", [*settings, "train.val_every_n_epochs=0"])
    assert len(reached) == 1


def test_reports_examples_and_other_metrics(small_settings, corpus, tmp_path):
    changes = {
        "chainer.pipe.ner.save_path": str(tmp_path / "model"),
        "train.metrics": ["per_token_accuracy", {"name": "ner_f1", "inputs": ["y", "tags"]}],
        "train.log_every_n_batches": 10,
        "train.log_every_n_epochs": 1,
        "train.show_examples": True,
        "train.epochs": 1,
        "train.batch_size": 5,
    }
    settings = [f"{path}={json.dumps(value)}" for path, value in changes.items()]
    told = []
    tagger = train_model("ner_conll2003", [*small_settings, *settings], verbose=0, tell=told.append)
    assert [list(event) for event in told] == [["valid"], ["train"], ["train"], ["valid"]]
    before, batches, epoch, after = (next(iter(event.values())) for event in told)
    assert (before["epochs_done"], before["train_examples_seen"]) == (0, 0)
    assert batches["train_examples_seen"] == batches["eval_examples_count"]
    assert batches["eval_examples_count"] == 50
    assert (epoch["epochs_done"], epoch["train_examples_seen"]) == (1, 60)
    assert epoch["eval_examples_count"] == 60
    assert epoch["batches_seen"] == 12
    assert epoch["loss"] < batches["loss"]
    assert epoch["learning_rate"] == pytest.approx(0.03, rel=1e-5)
    assert list(after["metrics"]) == ["per_token_accuracy", "ner_f1"]
    assert after["metrics"]["per_token_accuracy"] > before["metrics"]["per_token_accuracy"]
    assert (after["impatience"], after["patience_limit"]) == (0, 10)
    tokens, tags = corpus["valid"][0]
    assert len(after["examples"]) == 10
    assert after["examples"][0] == {
        "x": tokens,
        "y_predicted": [tokens, tagger([tokens])[1][0]],
        "y_true": tags,
    }


def test_ctrl_c_keeps_the_best_weights_and_the_run(small_settings, tmp_path, monkeypatch, caplog):
    save = f"chainer.pipe.ner.save_path={json.dumps(str(tmp_path / 'model'))}"
    settings = [*small_settings, save, "train.epochs=3"]
    after = [0]

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == after[0]:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "on_epoch_begin", on_epoch_begin)
    with pytest.raises(KeyboardInterrupt):  # nothing is learnt yet
        train_model("ner_conll2003", settings, verbose=0)
    assert names(tmp_path) == []
    after[0] = 2
    with caplog.at_level("INFO", "kerasner"):
        train_model("ner_conll2003", settings, verbose=0)
    assert "Stopped; the same command goes on after epoch 2" in caplog.text
    assert names(tmp_path) == ["model", "model.training"]
    assert names(tmp_path / "model") == [*FILES, "weights.npz"]
    after[0] = 99
    with caplog.at_level("INFO", "kerasner"):
        train_model("ner_conll2003", settings, verbose=0)
    assert "resuming after epoch 2" in caplog.text
    assert names(tmp_path) == ["model"]


def test_a_run_that_goes_on_is_as_good_as_one_in_one_go(small_settings, tmp_path, monkeypatch):
    """The same weights to the last bit, but for Keras 2's dropout, which starts anew."""
    settings = [*small_settings, "train.epochs=4", "train.seed=3", "train.val_every_n_epochs=0"]
    if not KERAS_3:
        settings.append("chainer.pipe.ner.dropout_keep_prob=1.0")

    def train(name):
        save = f"chainer.pipe.ner.save_path={json.dumps(str(tmp_path / name))}"
        train_model("ner_conll2003", [*settings, save], verbose=0)
        return storage.load_weights(tmp_path / name / "weights.npz")

    expected = train("at_once")
    stop_before = 2

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == stop_before:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "on_epoch_begin", on_epoch_begin)
    halfway = train("in_two")
    stop_before = 99
    found = train("in_two")
    assert any((halfway[name] != weight).any() for name, weight in expected.items())
    for name, weight in expected.items():
        np.testing.assert_array_equal(found[name], weight)


def test_training_in_drawn_letter_case(small_settings, corpus, tmp_path, monkeypatch):
    """Tokens of both parts change; tags, vocabularies and what is scored do not."""
    changes = {
        "chainer.pipe.ner.save_path": str(tmp_path / "model"),
        "train.letter_case": {"upper": 0.7, "lower": 0.2, "title": 0.1},
        "train.typography": 0,
        "train.train_on_valid": True,
        "train.log_every_n_epochs": 1,
        "train.epochs": 2,
        "train.seed": 1,
    }
    settings = [f"{path}={json.dumps(value)}" for path, value in changes.items()]
    drawn, original = [], training.pipeline.training_batches

    def training_batches(learnt, batch_size, seed, epoch, forms):
        batches = original(learnt, batch_size, seed, epoch, forms)
        drawn.append((learnt, dict(forms), list(batches.as_numpy_iterator())))
        return batches

    monkeypatch.setattr(training.pipeline, "training_batches", training_batches)
    told = []
    tagger = train_model("ner_conll2003", [*small_settings, *settings], verbose=0, tell=told.append)
    assert [event["train"]["eval_examples_count"] for event in told] == [78, 78]
    ((learnt, forms, batches),) = drawn
    sentences = [tokens for part in ("train", "valid") for tokens, _ in corpus[part]]
    tags = [row for part in ("train", "valid") for _, row in corpus[part]]
    for form, change in ((None, str), (0.7, str.upper), (0.2, str.lower), (0.1, str.capitalize)):
        rows = [[change(token) for token in tokens] for tokens in sentences]
        expected = training.pipeline.encoded(
            rows, tags, tagger.chainer.encode, tagger.chainer.tag_vocab
        )
        found = learnt if form is None else forms[form]
        for (a, b), (c, d) in zip(
            found.as_numpy_iterator(), expected.as_numpy_iterator(), strict=True
        ):
            assert sorted(a) == sorted(c)
            assert all(np.array_equal(a[name], c[name]) for name in a) and np.array_equal(b, d)
    assert sum(len(tags) for _, tags in batches) == 78
    # Vocabularies are fitted to the words as they are, of which none has a "W" or a "Q".
    chars = (tmp_path / "model" / "char_vocab.txt").read_text(encoding="utf-8")
    assert not {"W", "Q"} & {char for tokens in sentences for token in tokens for char in token}
    assert "w" in chars and "W" not in chars


def test_training_in_other_typography(small_settings, tmp_path, monkeypatch):
    """A mark of which the training part has one form is known in its other forms."""
    folder = tmp_path / "data"
    folder.mkdir()
    for part in ("train", "valid"):
        rows = [f"{name} B-ORG\n" for name in ("Axonix", "Envirox") for _ in range(20)]
        text = "\n".join(f'said O\n" O\n{row}" O\n- O\n' for row in rows)
        (folder / f"{part}.txt").write_text(text, encoding="utf-8")
    changes = {
        "dataset_reader.data_path": str(folder),
        "chainer.pipe.ner.save_path": str(tmp_path / "model"),
        "train.typography": 1.0,
        "train.letter_case": {},
        "train.epochs": 1,
        "train.seed": 1,
    }
    settings = [f"{path}={json.dumps(value)}" for path, value in changes.items()]
    drawn, original = [], training.pipeline.training_batches
    monkeypatch.setattr(
        training.pipeline,
        "training_batches",
        lambda *a: drawn.append(original(*a)) or drawn[-1],
    )
    tagger = train_model("ner_conll2003", [*small_settings, *settings], verbose=0)
    as_written = tagger.chainer.encode(tf.constant(['"', "-"]))["words"].numpy()
    assert (as_written > 1).all()  # they have vectors of their own
    for inputs, _ in drawn[0].as_numpy_iterator():
        assert not np.isin(as_written, inputs["words"]).any()


def test_bioes_inside_and_bio_outside(small_settings, corpus, tmp_path):
    changes = [f"chainer.pipe.ner.save_path={tmp_path / 'model'}", "dataset_reader.scheme=bioes"]
    tagger = train_model("ner_conll2003", [*small_settings, *changes], verbose=0)
    assert {"E-PER", "S-LOC"} < set(tagger.tags)
    assert tagger.evaluate(corpus["test"]).total.f1 > 90
    tags = ["B-PER", "I-PER", "O", "O", "B-LOC", "O"]
    assert tagger([["Dalia", "Elvik", "lives", "in", "Galvia", "."]])[1] == [tags]
    assert tagger(["Dalia Elvik lives in Galvia ."])[1] == [tags]


def test_epochs_that_count_as_done(small_settings, tmp_path, monkeypatch):
    save = f"chainer.pipe.ner.save_path={json.dumps(str(tmp_path / 'model'))}"
    begun = []
    monkeypatch.setattr(
        Progress, "on_epoch_begin", lambda self, epoch, logs=None: begun.append(epoch)
    )
    train_model("ner_conll2003", [*small_settings, save], verbose=0, start_epoch_num=5)
    assert begun == [5]
    with pytest.raises(ConfigError, match="expected less than train.epochs 6, received 6"):
        train_model("ner_conll2003", [*small_settings, save], start_epoch_num=6)


def test_weights_to_start_from(trained, small_settings, tmp_path, monkeypatch):
    class Reached(Exception):
        pass

    def transfer(source, target):
        known = Tagger.load(trained.folder).model
        for name, weight in storage.layer_weights(source.network).items():
            np.testing.assert_array_equal(weight, storage.layer_weights(known)[name])
        assert target.network is not source.network
        raise Reached

    monkeypatch.setattr(training, "transfer", transfer)
    save = f"chainer.pipe.ner.save_path={json.dumps(str(tmp_path / 'model'))}"
    load = f"chainer.pipe.ner.load_path={json.dumps(str(trained.folder))}"
    with pytest.raises(Reached):
        train_model("ner_conll2003", [*small_settings, save, load])
    monkeypatch.chdir(trained.folder.parent)
    with pytest.raises(Reached):
        train_model("ner_conll2003", [*small_settings, save, "chainer.pipe.ner.load_path=small"])
    shipped = []
    monkeypatch.setattr(
        training.archives,
        "pretrained",
        lambda name: shipped.append(name) or Tagger.load(trained.folder),
    )
    with pytest.raises(Reached):
        train_model("ner_conll2003", [*small_settings, save, "chainer.pipe.ner.load_path=ner_rus"])
    assert shipped == ["ner_rus"]


def test_a_model_to_start_from_that_is_none(small_settings, tmp_path):
    save = f"chainer.pipe.ner.save_path={json.dumps(str(tmp_path / 'model'))}"
    for path, expected in (
        (tmp_path / "none", f"no file or folder {tmp_path / 'none'}; .*with kerasner: ner_conll"),
        (tmp_path, f"{tmp_path} holds none"),
    ):
        load = f"chainer.pipe.ner.load_path={json.dumps(str(path))}"
        with pytest.raises(ConfigError, match=rf"chainer.pipe \(ner\).load_path: .*{expected}"):
            train_model("ner_conll2003", [*small_settings, save, load])
    assert names(tmp_path) == []


def test_scoring_a_saved_model_on_other_data(trained, data_folder, corpus):
    config = recipe.saved_config(trained.folder, str(data_folder))
    data = recipe.read(config)
    scores = training.evaluate(Tagger.load(trained.folder), data, config)
    assert scores["test"].examples == len(corpus["test"])
    assert scores["valid"].metrics["ner_f1"] == pytest.approx(100 * max(trained.scores), abs=1e-4)


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
    assert len(epochs) == 4 and all("val_ner_f1" not in logs for logs in epochs)
    assert "zyxo" in (tmp_path / "model" / "glove_emb.txt").read_text().split()
    assert tagger([["Zyxo", "slept"]])[1] == [["B-PER", "O"]]


def test_a_tokenizer_unlike_the_data_set_is_told(small_settings, tmp_path, caplog):
    settings = [*small_settings, "chainer.pipe.lazy_tokenizer.mode=unicode", "train.epochs=1"]
    settings.append(f"chainer.pipe.ner.save_path={tmp_path / 'model'}")
    train_model("ner_conll2003", settings)
    assert "lazy_tokenizer's mode 'unicode' takes" in caplog.text
