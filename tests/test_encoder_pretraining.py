"""A start from raw text: what is learnt, what a tagger takes from it, resuming, the command."""

import json
import logging

import numpy as np
import pytest
import tensorflow as tf
from small_language_model import SETTINGS, interrupt

import kerasner
from kerasner import encoder_pretraining, storage
from kerasner.encoder_pretraining import EncoderPredictor, pretrain_encoder
from kerasner.errors import ArchiveError, ConfigError, KerasnerError
from kerasner.tagger import Tagger


@pytest.fixture(scope="module")
def start(text_file, small_settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("start") / "start"
    measured = pretrain_encoder("ner_conll2003", [text_file], folder, small_settings, SETTINGS)
    return folder, measured


def test_context_makes_words_less_perplexing(start, corpus):
    words = [word for tokens, _ in corpus["train"] for word in tokens]
    share = np.unique(words, return_counts=True)[1] / len(words)
    by_frequency_alone = np.exp(-(share * np.log(share)).sum())
    assert start[1]["perplexity"] < 0.5 * by_frequency_alone
    assert start[1]["words"] == len(set(words))
    assert start[1]["tokens"] == 5 * len(words)
    assert start[1]["unigram_perplexity"] == pytest.approx(by_frequency_alone, rel=0.2)


def test_training_starts_from_it(start, small_settings, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        tagger = kerasner.train_model(
            "ner_conll2003",
            [
                *small_settings,
                f"chainer.pipe.ner.load_path={start[0]}",
                f"chainer.pipe.ner.save_path={tmp_path / 'ner'}",
                "train.epochs=1",
                "chainer.pipe.ner.learning_rate=1e-9",
                "chainer.pipe.ner.moving_average=0",
            ],
            verbose=0,
        )
    assert "not taken: nothing" in caplog.text
    ours, theirs = (storage.layer_weights(t.model) for t in (tagger, Tagger.load_start(start[0])))
    for name in (
        "recurrent_0/forward_kernel",
        "char_features/kernel_0",
        "token_embedding/embeddings",
    ):
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-5)


def test_a_start_is_no_tagger(start, small_settings, tmp_path):
    with pytest.raises(ArchiveError, match="knows no tags yet"):
        Tagger.load(start[0])
    again = [f"chainer.pipe.ner.load_path={start[0]}", f"chainer.pipe.ner.save_path={start[0]}"]
    with pytest.raises(ConfigError, match="is no model"):
        kerasner.train_model("ner_conll2003", [*small_settings, *again])


def test_a_tagger_is_not_replaced(text_file, small_settings, tmp_path):
    (tmp_path / storage.CONFIG_FILE).write_text("{}")
    with pytest.raises(ConfigError, match="expected a new or empty folder"):
        pretrain_encoder("ner_conll2003", [text_file], tmp_path, small_settings, SETTINGS)


def test_a_network_of_another_form(start, small_settings, tmp_path):
    changes = [f"chainer.pipe.ner.load_path={start[0]}", "chainer.pipe.ner.n_hidden_list=[9]"]
    changes.append(f"chainer.pipe.ner.save_path={tmp_path / 'ner'}")
    with pytest.raises(ConfigError, match="has another form"):
        kerasner.train_model("ner_conll2003", [*small_settings, *changes])


def test_all_that_stays_has_learnt(start, small_settings, text_file, tmp_path):
    untouched = SETTINGS._replace(epochs=1, learning_rate=1e-9)
    fresh = tmp_path / "fresh"
    pretrain_encoder("ner_conll2003", [text_file], fresh, small_settings, untouched)
    ours, theirs = (storage.layer_weights(Tagger.load_start(f).model) for f in (start[0], fresh))
    moved = {name for name in ours if not np.allclose(ours[name], theirs[name], atol=1e-4)}
    assert moved == {name for name in ours if not name.startswith("crf/")}


def test_an_expectation_does_not_know_its_own_token(start):
    tagger = Tagger.load_start(start[0])
    predictor = EncoderPredictor(tagger.model)
    words = [["Nobody", "knows", "why", "."], ["Nobody", "left", "why", "."]]
    features = [
        tagger.model.token_features(tagger.chainer.encode(tf.constant(row)))[None] for row in words
    ]
    mask = tf.ones([1, 4], tf.bool)
    one, other = (predictor(row, mask=mask).numpy()[0] for row in features)
    np.testing.assert_allclose(one[1], other[1], atol=1e-6)
    assert np.abs(one - other).max(axis=-1)[[0, 2, 3]].min() > 1e-4


def test_a_stopped_run_goes_on(text_file, small_settings, tmp_path, monkeypatch, caplog, start):
    interrupt(monkeypatch, 31)
    run = ("ner_conll2003", [text_file], tmp_path / "start", small_settings, SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        pretrain_encoder(*run)
    assert not (tmp_path / "start").exists()
    with caplog.at_level(logging.INFO):
        resumed = pretrain_encoder(*run)
    assert "going on after part 30 of 80" in caplog.text
    # What dropout and the sampler draw is not what they would have drawn.
    assert resumed["perplexity"] == pytest.approx(start[1]["perplexity"], rel=0.25)
    assert not list(tmp_path.glob("*.training"))


def test_another_data_set_starts_anew(text_file, small_settings, tmp_path, monkeypatch, caplog):
    interrupt(monkeypatch, 3, 4)
    (tmp_path / "other").mkdir()
    for part in ("train", "valid"):
        (tmp_path / "other" / f"{part}.txt").write_text("Anna B-PER\nknows O\nQuito B-LOC\n. O\n")
    other = [*small_settings, f"dataset_reader.data_path={tmp_path / 'other'}"]
    with caplog.at_level(logging.INFO):
        for settings in (small_settings, other):
            with pytest.raises(KeyboardInterrupt):
                pretrain_encoder(
                    "ner_conll2003", [text_file], tmp_path / "start", settings, SETTINGS
                )
    assert "of a run with other settings or text" in caplog.text
    assert "going on" not in caplog.text


def test_it_may_itself_start_from_a_model(start, small_settings, text_file, tmp_path):
    still = SETTINGS._replace(epochs=1, learning_rate=1e-9)
    settings = [*small_settings, f"chainer.pipe.ner.load_path={start[0]}"]
    pretrain_encoder("ner_conll2003", [text_file], str(tmp_path / "again"), settings, still)
    ours, theirs = (
        storage.layer_weights(Tagger.load_start(f).model) for f in (start[0], tmp_path / "again")
    )
    for name, weight in ours.items():
        np.testing.assert_allclose(weight, theirs[name], atol=1e-5)


def test_words_that_are_vectors_already():
    network = kerasner.NerNetwork(["O", "B-PER"], None, n_hidden_list=[4])
    network.build({"words": (None, None, 6), "mask": (None, None)})
    predictor = EncoderPredictor(network, dim=3, hidden=5)
    vectors = network.token_features({"words": tf.ones([2, 7, 6])})
    assert predictor(vectors, mask=tf.ones([2, 7], tf.bool), training=True).shape == (2, 7, 3)
    types, bias = predictor.types(vectors[0])
    assert types.shape == (7, 3) and bias.shape == (7,)


def test_command(text_file, small_settings, tmp_path, capsys):
    few = "--epochs 1 --min-count 1 --samples 20 --held-out 12".split()
    changes = [argument for change in small_settings for argument in ("--set", change)]
    folder = str(tmp_path / "start")
    code = encoder_pretraining.main(["ner_conll2003", folder, str(text_file), *changes, *few])
    assert code == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 1
    assert Tagger.load_start(folder).tags
    code = encoder_pretraining.main(["ner_conll2003", folder, str(text_file), *changes])
    assert code == 2
    assert "than held_out 1000, which are measured with; found 300" in capsys.readouterr().err


def test_gru(text_file, small_settings, tmp_path):
    gru = [*small_settings, "chainer.pipe.ner.cell_type=gru"]
    few = SETTINGS._replace(epochs=1)
    measured = pretrain_encoder("ner_conll2003", [text_file], tmp_path / "start", gru, few)
    assert measured["perplexity"] > 0


@pytest.mark.parametrize(
    "changes, message",
    [
        (["chainer.pipe.ner.net_type=cnn"], "net_type: expected \"rnn\".*received 'cnn'"),
        (["chainer.pipe.ner.load_path=no_such"], "load_path"),
        (["dataset_reader.data_path=no_such"], "no_such"),
    ],
)
def test_configurations_that_do_not_fit(text_file, small_settings, tmp_path, changes, message):
    with pytest.raises(KerasnerError, match=message):
        pretrain_encoder(
            "ner_conll2003", [text_file], tmp_path / "start", [*small_settings, *changes], SETTINGS
        )
    assert not list(tmp_path.iterdir())


def test_texts_that_are_not_there(text_file, small_settings, tmp_path):
    for texts, message in (["no_such.txt"], "no_such.txt: expected a file"), ("a.txt", "a list"):
        with pytest.raises(KerasnerError, match=message):
            pretrain_encoder("ner_conll2003", texts, tmp_path / "start", small_settings, SETTINGS)


def test_support_vector_machines_do_not_learn_from_raw_text(text_file, tmp_path):
    with pytest.raises(ConfigError, match=r"\(ner_svm\): expected ner"):
        pretrain_encoder("ner_few_shot_en_train", [text_file], tmp_path / "start", [], SETTINGS)


def test_raw_text_has_no_parts_of_speech(text_file, small_settings, tmp_path):
    with pytest.raises(ConfigError, match="raw text has no pos"):
        pretrain_encoder(
            "ner_conll2003_pos", [text_file], tmp_path / "start", small_settings, SETTINGS
        )


def test_other_files_are_left_alone(text_file, small_settings, tmp_path):
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(ConfigError, match="is no model"):
        pretrain_encoder("ner_conll2003", [text_file], tmp_path, small_settings, SETTINGS)
    assert (tmp_path / "thesis.txt").read_text() == "all of it"
