"""Training of a language model: what it learns, resuming, its folder, and a tagger on top."""

import gzip
import json
import logging
import shutil

import numpy as np
import pytest
import tensorflow as tf
from small_language_model import SETTINGS, interrupt, pretrain

import kerasner
from kerasner import config as configs
from kerasner import pretraining, storage
from kerasner.components import LanguageModelEmbedder, language_model
from kerasner.errors import ArchiveError, ConfigError, DataError, KerasnerError
from kerasner.pretrained import archives
from kerasner.pretrained.pack import pack_model
from kerasner.tagger import Tagger


@pytest.fixture(scope="module")
def folder(language_model_folder):
    return language_model_folder


def test_context_makes_words_less_perplexing(folder, corpus):
    measured = json.loads((folder / "measured.json").read_text())
    words = [word for tokens, _ in corpus["train"] for word in tokens]
    share = np.unique(words, return_counts=True)[1] / len(words)
    by_frequency_alone = np.exp(-(share * np.log(share)).sum())
    assert measured["perplexity"] < 0.75 * by_frequency_alone
    assert measured["words"] == len(set(words))


def test_words_for_the_same_places_have_like_types(folder):
    text, model = language_model.load(folder)

    def types(*words):
        made = model.types(model.token_vectors(text(tf.constant(words))))[0] - model.mean_type
        return tf.math.l2_normalize(made, axis=-1).numpy()

    places = types("Avalund", "Brixby", "Galvia", "Hexberg")
    assert (places @ places.T).min() > (places @ types("said", ".", "by", "knows").T).max()


def test_a_stopped_run_goes_on(text_file, vector_file, tmp_path, monkeypatch, caplog):
    whole = pretrain(text_file, vector_file, tmp_path / "whole")
    interrupt(monkeypatch, 31)
    with pytest.raises(KeyboardInterrupt):
        pretrain(text_file, vector_file, tmp_path / "lm")
    assert not (tmp_path / "lm").exists()
    with caplog.at_level(logging.INFO):
        resumed = pretrain(text_file, vector_file, tmp_path / "lm")
    assert "going on after part 30 of 80" in caplog.text
    # What dropout and the sampler draw is not what they would have drawn.
    assert resumed["perplexity"] == pytest.approx(whole["perplexity"], rel=0.25)
    assert not list(tmp_path.glob("*.training"))


def test_what_is_saved_is_what_is_loaded(folder, tmp_path):
    text, model = language_model.load(folder)
    language_model.save(text, model, tmp_path)
    again_text, again = language_model.load(tmp_path)
    tokens = tf.constant(["Avalund", "новый", "", "12", "NATO", "\xff"])
    np.testing.assert_array_equal(text(tokens), again_text(tokens))
    for ours, theirs in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    stored = np.load(folder / "language_model-weights.npz")
    assert stored["lstm/forward_kernel"].dtype == np.int8


def test_ids(folder):
    text, _ = language_model.load(folder)
    ids = text(tf.constant(["Avalund", "AVALUND", "Zyxund", "x", ""])).numpy()
    assert ids[0, 0] == ids[1, 0] != ids[2, 0] == 1  # the word; 1 is unknown
    assert ids[:, 1].tolist() == [3, 4, 3, 1, 0]  # the letters
    assert ids[0, 2] == ids[1, 2] == ids[2, 2] > 1  # "und"


@pytest.mark.parametrize("missing", ["language_model.json", "language_model-weights.npz"])
def test_damaged_folder(folder, tmp_path, missing):
    for file in folder.iterdir():
        if file.name != missing:
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(ArchiveError, match=missing):
        language_model.load(tmp_path)


def test_a_damaged_scale_is_told(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    path = tmp_path / "copy" / "language_model-weights.npz"
    stored = storage.load_weights(path)
    scale = next(key for key in stored if key.endswith(":scale"))
    for damage in ({}, {scale: stored[scale][:, :-1]}):
        kept = {key: value for key, value in stored.items() if key != scale}
        storage.save_weights(path, {**kept, **damage})
        with pytest.raises(ArchiveError, match=f"scale of {scale.removesuffix(':scale')}"):
            language_model.load(tmp_path / "copy")


def test_packed_beside_a_tagger_with_the_same_vectors(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "FOLDER", tmp_path)
    vectors = folder / "language_model-vectors.npz"
    name = f"vectors-{archives.sha256(vectors)[:12]}.zip"
    shutil.copy(vectors, tmp_path / "glove-5.npz")  # as it is called in a tagger's folder
    archives.pack([tmp_path / "glove-5.npz"], tmp_path / name)
    (tmp_path / archives.REGISTRY).write_text("{}")
    pack_model(folder, "lm")
    assert archives.names() == [] and archives.names("language_model") == ["lm"]
    assert len(list(tmp_path.glob("*.zip"))) == 2
    component = LanguageModelEmbedder("lm")
    component.fit()
    tokens = tf.constant(["Avalund", "xyz"])
    np.testing.assert_array_equal(component(tokens), language_model.load(folder)[0](tokens))


@pytest.fixture(scope="module")
def tagger(folder, data_folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("few") / "tagger"
    return kerasner.train_model("ner_few_shot_en_simulate", few_shot(folder, data_folder, place))


def few_shot(folder, data_folder, save_path):
    values = {
        "dataset_reader.data_path": data_folder,
        "dataset_iterator.target_tag": "LOC",
        "chainer.pipe.language_model.load_path": folder,
        "chainer.pipe.ner_svm.save_path": save_path,
    }
    return [f"{key}={value}" for key, value in values.items()]


def test_a_tagger_learns_from_ten_sentences(tagger, corpus):
    gold = [
        (tokens, [tag if tag.endswith("LOC") else "O" for tag in tags])
        for tokens, tags in corpus["test"]
    ]
    assert tagger.evaluate(gold).total.f1 > 90


def test_saved_and_exported_taggers_answer_alike(tagger, tmp_path):
    texts = ["Dalia lives in Avalund. Nobody knows why.", "", "Shares of Fluxon Group fell."]
    tagger.save(tmp_path / "tagger")
    served = tf.saved_model.load(str(tagger.export(tmp_path / "ner", version=1)))
    entities = served.signatures["entities"](tf.constant(texts))
    for other in (tagger, Tagger.load(tmp_path / "tagger")):
        found = other.entities(texts)
        assert [entity.text for entity in found[0]] == ["Avalund"]
        assert entities["counts"].numpy().tolist() == [len(row) for row in found]
        alone = [other.entities([text])[0] for text in texts]
        for row, single in zip(found, alone, strict=True):
            for entity, same in zip(row, single, strict=True):
                assert entity[:4] == same[:4]
                assert entity.score == pytest.approx(same.score, abs=1e-5)
    score = entities["scores"].numpy()[0, 0]
    assert score == pytest.approx(tagger.entities(texts)[0][0].score, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["chainer.pipe.language_model.load_path=no_such"], "language_model: load_path"),
        (["chainer.pipe.language_model.load_path=3"], "expected the name or the folder"),
    ],
)
def test_wrong_settings(data_folder, tmp_path, changes, message):
    settings = few_shot(tmp_path / "lm", data_folder, tmp_path / "tagger")
    with pytest.raises(KerasnerError, match=message):
        kerasner.train_model("ner_few_shot_en_simulate", [*settings, *changes])


def test_the_crf_tagger_refuses_it(folder, data_folder, tmp_path):
    config = configs.load("ner_few_shot_en_simulate")
    machines = next(x for x in config["chainer"]["pipe"] if x.get("class_name") == "ner_svm")
    for name in ("kernel", "C", "gamma"):
        del machines[name]
    machines["class_name"] = "ner"
    settings = few_shot(folder, data_folder, tmp_path)[:3]
    with pytest.raises(ConfigError, match="a language model goes with ner_svm"):
        kerasner.train_model(config, [*settings, f"chainer.pipe.ner.save_path={tmp_path / 'm'}"])


def test_command(text_file, vector_file, tmp_path, capsys):
    options = f"--vectors {vector_file} --format glove --language en --tokenizer treebank"
    options += " --own-words 1 --units 8 --hidden 8 --dim 8 --epochs 1 --min-count 1 --samples 20"
    few = [*options.split(), "--held-out", "12"]
    code = pretraining.main([str(tmp_path / "lm"), str(text_file), *few])
    assert code == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 1
    assert pretraining.main([str(tmp_path / "lm"), str(text_file), *options.split()]) == 2
    assert "than held_out 1000, which are measured with; found 300" in capsys.readouterr().err
    assert pretraining.main([str(tmp_path / "lm"), "no_such.txt", *options.split()]) == 2
    assert "no_such.txt" in capsys.readouterr().err


def test_a_folder_of_other_files_is_left_alone(text_file, vector_file, tmp_path):
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(ConfigError, match="is no model"):
        pretrain(text_file, vector_file, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "all of it"


@pytest.mark.parametrize("held_out, message", [(0, "held_out"), (290, "at least 20")])
def test_sentences_held_out(text_file, vector_file, tmp_path, held_out, message):
    with pytest.raises(KerasnerError, match=message):
        pretrain(text_file, vector_file, tmp_path / "lm", SETTINGS._replace(held_out=held_out))


def test_damaged_gzip(text_file, vector_file, tmp_path):
    damaged = tmp_path / "text.gz"
    content = bytearray(gzip.compress(text_file.read_bytes()))
    content[20:60] = bytes(40)
    damaged.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as text"):
        pretrain(damaged, vector_file, tmp_path / "lm")


@pytest.mark.parametrize("name", ["epochs", "batch_tokens", "samples", "max_tokens"])
def test_settings_out_of_range(text_file, vector_file, tmp_path, name):
    with pytest.raises(ConfigError, match=f"{name}: expected 1 or more"):
        pretrain(text_file, vector_file, tmp_path / "lm", SETTINGS._replace(**{name: 0}))


def test_words_too_rare_to_be_predicted(text_file, vector_file, tmp_path):
    with pytest.raises(DataError, match="no word occurs min_count = 100000 times"):
        pretrain(text_file, vector_file, tmp_path / "lm", SETTINGS._replace(min_count=100_000))


def test_a_misspelt_name_of_a_language_model():
    with pytest.raises(ConfigError, match="did you mean 'lm_ru'"):
        LanguageModelEmbedder("lm_rus").fit()
