"""Temperatures: which one is found, where it is kept, and what it does to scores and to tags."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner import calibration, storage
from kerasner.calibration import (
    calibrate,
    expected_calibration_error,
    fitted_temperature,
    set_temperature,
)
from kerasner.components import NerSvm
from kerasner.errors import ConfigError, DataError
from kerasner.layers import CRF, unpack
from kerasner.tagger import Tagger
from kerasner.training import train_model

TAGS = ["O", "B-PER", "I-PER"]
ROUNDING = 0.005  # float32 sums of likelihoods, near a flat minimum


class Chain:
    """A network whose potentials are its inputs, constraints applied."""

    def __init__(self, transitions):
        self._crf = CRF(tags=TAGS, use_kernel=False, use_boundary=False)
        self._crf.build((None, None, len(TAGS)))
        self._crf.transitions.assign(transitions)

    def __call__(self, inputs, training=None):
        return self._crf(inputs["emissions"], mask=inputs["mask"], training=training)


def drawn(n_sentences: int, length: int, temperature: float, seed: int = 3):
    """A chain, and sentences whose tags were drawn from it at a temperature."""
    rng = np.random.default_rng(seed)
    chain = Chain(rng.normal(size=[3, 3]))
    emissions = tf.constant(rng.normal(size=[n_sentences, length, 3], scale=2.5), tf.float32)
    inputs = {"emissions": emissions, "mask": tf.ones([n_sentences, length], tf.bool)}
    potentials = unpack(chain(inputs)).tempered(temperature)
    paths = np.stack(np.meshgrid(*[range(3)] * length, indexing="ij"), -1).reshape(-1, length)
    likelihoods = np.stack(
        [potentials.log_likelihood(np.tile(path, (n_sentences, 1))) for path in paths], axis=1
    )
    # Of the sums of Gumbel noise and log-probabilities the highest is a draw.
    chosen = (likelihoods + rng.gumbel(size=likelihoods.shape)).argmax(axis=1)
    return chain, [(inputs, tf.constant(paths[chosen], tf.int32))]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_that_of_which_the_tags_were_drawn(temperature):
    chain, batches = drawn(3000, 3, temperature)
    assert fitted_temperature(chain, batches) == pytest.approx(temperature, rel=0.08)


def test_of_all_temperatures_it_is_the_most_likely():
    chain, [(inputs, tags)] = drawn(500, 3, 1.7)
    found = fitted_temperature(chain, [(inputs, tags)])

    def cost(temperature):
        potentials = unpack(chain(inputs)).tempered(temperature)
        likelihood = float(tf.reduce_sum(potentials.log_likelihood(tags)))
        return math.log(temperature) ** 2 / 2 - likelihood

    lowest = min(np.geomspace(0.1, 10, 400), key=cost)
    assert found == pytest.approx(lowest, rel=0.015)


def test_it_does_not_depend_on_the_batches():
    chain, [(inputs, tags)] = drawn(60, 3, 2.0)
    parts = [
        ({name: value[rows] for name, value in inputs.items()}, tags[rows])
        for rows in (slice(0, 7), slice(7, 40), slice(40, 60))
    ]
    expected = fitted_temperature(chain, [(inputs, tags)])
    assert fitted_temperature(chain, parts) == pytest.approx(expected, rel=ROUNDING)


def test_forbidden_tags_do_not_count():
    chain, [(inputs, tags)] = drawn(60, 3, 2.0)
    stray = tf.constant([[0, 2, 0]] * 5)  # O I-PER O
    more = {name: value[:5] for name, value in inputs.items()}
    expected = fitted_temperature(chain, [(inputs, tags)])
    found = fitted_temperature(chain, [(inputs, tags), (more, stray)])
    assert found == pytest.approx(expected, rel=ROUNDING)


def test_what_says_nothing_leaves_it_at_1():
    chain, [(inputs, tags)] = drawn(60, 3, 2.0)
    assert fitted_temperature(chain, []) == 1.0
    # Few sentences that are all right would else have the lowest of all.
    easy = {**inputs, "emissions": 6.0 * tf.one_hot(tags, 3)}
    few = {name: value[:3] for name, value in easy.items()}
    assert 0.3 < fitted_temperature(chain, [(few, tags[:3])]) < 1.0


@settings(deadline=None, derandomize=True, max_examples=25)
@given(st.floats(0.1, 10), st.integers(0, 2**32 - 1))
def test_tempered_potentials(temperature, seed):
    rng = np.random.default_rng(seed)
    chain = Chain(rng.normal(size=[3, 3], scale=3.0))
    emissions = tf.constant(rng.normal(size=[2, 5, 3], scale=4.0), tf.float32)
    mask = tf.constant([[True] * 5, [True] * 2 + [False] * 3])
    before = unpack(chain({"emissions": emissions, "mask": mask}))
    after = before.tempered(temperature)
    np.testing.assert_array_equal(after.decode(), before.decode())
    np.testing.assert_array_equal(after.mask, before.mask)
    np.testing.assert_allclose(after.emissions[:, 1:], emissions[:, 1:] / temperature, rtol=1e-6)
    # Forbidden are I-PER at the start and after O.
    np.testing.assert_array_equal(after.emissions[:, 0, 2], before.emissions[:, 0, 2])
    assert after.transitions[0, 2] == before.transitions[0, 2] < -1e8
    best, potential = before.viterbi()
    log_probability = after.log_likelihood(best)
    assert (log_probability <= 1e-5).numpy().all()
    # Of two paths the odds are those of the differences, divided.
    paths, potentials = before.k_best(2)
    odds = (log_probability - after.log_likelihood(paths[:, 1])).numpy()
    np.testing.assert_allclose(
        odds, (potential - potentials[:, 1]) / temperature, rtol=1e-3, atol=1e-4
    )


@pytest.fixture(scope="module")
def texts(corpus):
    return [" ".join(tokens) for tokens, _ in corpus["valid"]]


@pytest.fixture
def copied(trained_folder):
    """The trained model, to be changed."""
    return Tagger.load(trained_folder)


def scores(tagger, texts):
    return [entity.score for row in tagger.entities(texts) for entity in row]


def main_entry(config):
    return next(e for e in config["chainer"]["pipe"] if e.get("class_name") == "ner")


def test_training_fits_it_and_writes_it_down(trained, copied, corpus):
    content = json.loads((trained.folder / storage.CONFIG_FILE).read_text())
    fitted = main_entry(content["config"])["temperature"]
    assert fitted != 1.0
    assert copied.model.temperature == copied.chainer.main.temperature == fitted
    assert f"Temperature of the scores: {fitted:.3f}" in trained.stderr
    assert calibrate(copied, corpus["valid"]) == pytest.approx(fitted, rel=ROUNDING)


def test_of_the_user_it_is_taken_as_it_is(small_settings, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "fitted_temperature", None)  # it must not be called
    save = f"chainer.pipe.ner.save_path={json.dumps(str(tmp_path / 'model'))}"
    own = [*small_settings, save, "train.epochs=1", "chainer.pipe.ner.temperature=1.5"]
    assert train_model("ner_conll2003", own, verbose=0).model.temperature == 1.5
    assert Tagger.load(tmp_path / "model").model.temperature == 1.5


def test_without_validation_it_is_that_of_the_start(small_settings, copied, tmp_path):
    set_temperature(copied, 2.5)
    copied.save(tmp_path / "start")
    paths = {"save_path": tmp_path / "model", "load_path": tmp_path / "start"}
    places = [f"chainer.pipe.ner.{key}={json.dumps(str(path))}" for key, path in paths.items()]
    one = [*small_settings, places[0], "train.epochs=1", "train.train_on_valid=true"]
    assert train_model("ner_conll2003", one, verbose=0).model.temperature == 1.0
    again = train_model("ner_conll2003", [*one, places[1]], verbose=0)
    assert again.model.temperature == 2.5
    assert main_entry(again.config)["temperature"] == 2.5


def test_scores_follow_it_and_tags_do_not(copied, corpus, texts, tmp_path):
    sentences = [tokens for tokens, _ in corpus["valid"]]
    tags, means = [], []
    for temperature in (0.5, 1.0, 4.0):
        set_temperature(copied, temperature)
        tags.append(copied(sentences)[1])
        means.append(np.mean(scores(copied, texts)))
    assert tags[0] == tags[1] == tags[2]
    assert means[0] > means[1] > means[2] + 0.01
    copied.save(tmp_path / "saved")
    loaded = Tagger.load(tmp_path / "saved")
    assert loaded.model.temperature == 4.0
    np.testing.assert_allclose(scores(loaded, texts), scores(copied, texts), atol=1e-6)
    copied.export(tmp_path / "exported")
    served = tf.saved_model.load(str(tmp_path / "exported")).signatures["entities"]
    answer = served(text=tf.constant(texts))
    rows = zip(answer["scores"].numpy(), answer["counts"].numpy(), strict=True)
    flat = [score for row, count in rows for score in row[:count]]
    np.testing.assert_allclose(flat, scores(copied, texts), atol=1e-6)


def test_token_scores_are_marginals_of_the_tempered_chain(copied, corpus):
    set_temperature(copied, 3.0)
    tokens = corpus["valid"][0][0]
    inputs = {
        name: value[None] for name, value in copied.chainer.encode(tf.constant(tokens)).items()
    }
    marginals = unpack(copied.model(inputs)).tempered(3.0).marginals()
    found = copied.graph.tokens(tf.constant([tokens]))["scores"]
    np.testing.assert_allclose(found, tf.reduce_max(marginals, axis=-1), atol=1e-5)


def test_a_model_of_an_older_version_has_scores_as_they_are(copied, texts, tmp_path):
    set_temperature(copied, 1.0)
    copied.save(tmp_path / "old")
    path = tmp_path / "old" / storage.CONFIG_FILE
    content = json.loads(path.read_text())
    del main_entry(content["config"])["temperature"]
    path.write_text(json.dumps(content))
    old = Tagger.load(tmp_path / "old")
    assert old.model.temperature == 1.0
    np.testing.assert_allclose(scores(old, texts), scores(copied, texts), atol=1e-6)


def test_without_crf(small_settings, corpus, texts, tmp_path):
    changes = [
        f"chainer.pipe.ner.save_path={json.dumps(str(tmp_path / 'model'))}",
        "chainer.pipe.ner.use_crf=false",
        "train.epochs=2",
    ]
    tagger = train_model("ner_conll2003", [*small_settings, *changes], verbose=0)
    fitted = tagger.model.temperature
    assert fitted != 1.0
    tokens = corpus["valid"][0][0]
    inputs = {
        name: value[None] for name, value in tagger.chainer.encode(tf.constant(tokens)).items()
    }
    emissions = unpack(tagger.model(inputs)).emissions
    expected = tf.reduce_max(tf.nn.softmax(emissions / fitted), axis=-1)
    answer = tagger.graph.tokens(tf.constant([tokens]))
    np.testing.assert_allclose(answer["scores"], expected, atol=1e-5)


def test_what_cannot_be_calibrated(copied, corpus, monkeypatch):
    with pytest.raises(DataError, match="expected sentences with the tags .* received none"):
        calibrate(copied, [])
    with pytest.raises(DataError, match=r"received the unknown tags \['B-DATE'\]"):
        calibrate(copied, [(["May"], ["B-DATE"])])
    monkeypatch.setattr(copied.chainer, "main", NerSvm())
    with pytest.raises(ConfigError, match="expected a model of 'ner'"):
        calibrate(copied, corpus["valid"])


def test_expected_calibration_error():
    # Bins of a fifth: [0.1, 0.1] of which none is right, [0.9, 1.0, 1.0, 0.9] of which three are.
    scores, correct = [0.1, 0.9, 1.0, 0.1, 1.0, 0.9], [0, 1, 1, 0, 0, 1]
    expected = (0.2 + abs(3.8 - 3)) / 6
    assert expected_calibration_error(scores, correct, 5) == pytest.approx(expected)
    # In one bin the errors cancel each other.
    assert expected_calibration_error(scores, correct, 1) == pytest.approx((4.0 - 3) / 6)
    assert expected_calibration_error([0.9, 0.9], [True, False]) == pytest.approx(0.4)
    assert expected_calibration_error([], []) == 0
    assert expected_calibration_error([1.0, 0.0], [True, False]) == 0
