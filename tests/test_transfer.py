import logging
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from kerasner import storage
from kerasner.layers import CharCNN, QuantizedEmbedding, unpack
from kerasner.network import NerNetwork
from kerasner.transfer import transfer

TAGS = ["O", "B-PER", "I-PER", "B-LOC"]
WORDS = ["the", "oslo", "ivo"]
CHARS = ["e", "o", "v"]


def pipeline(seed, tags=TAGS, words=WORDS, chars=CHARS, **settings):
    """A network of the words and characters given, ids 0 and 1 being padding and the unknown."""
    keras.utils.set_random_seed(seed)
    embedding = QuantizedEmbedding(3, trainable_rows=2 + len(words), frozen_rows=0)
    characters = CharCNN(2, 2, char_dim=2, vocabulary_size=2 + len(chars))
    settings = {"n_hidden_list": [4], "constraints": "never", **settings}
    network = NerNetwork(tags, embedding, characters, **settings)
    network.build({"words": (None, None), "chars": (None, None, None)})
    if network.use_crf:  # whose boundaries would be zeros
        network.crf.left_boundary.assign(np.random.normal(size=len(tags)))
    return SimpleNamespace(
        network=network, row_names={"token_embedding": words, "char_features": chars}
    )


def encoded(names, items):
    return [names.index(item) + 2 if item in names else 1 for item in items]


def outputs(made, sentence=("ivo", "the", "unseen", "oslo")):
    words = encoded(made.row_names["token_embedding"], sentence)
    rows = [encoded(made.row_names["char_features"], word[:3]) for word in sentence]
    return unpack(made.network({"words": np.array([words]), "chars": np.array([rows])}))


def weights(made):
    return {name: np.asarray(w).copy() for name, w in storage.layer_weights(made.network).items()}


@pytest.mark.parametrize("settings", [{}, {"use_crf": False, "net_type": "cnn"}])
def test_the_same_settings_give_the_same_predictions(settings, caplog):
    source, target = pipeline(1, **settings), pipeline(2, **settings)
    assert not np.allclose(outputs(source).emissions, outputs(target).emissions, atol=1e-3)
    with caplog.at_level(logging.INFO, "kerasner"):
        report = transfer(source, target)
    for ours, theirs in zip(outputs(target), outputs(source), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert report.taken == list(weights(target)) and not report.in_part and not report.fresh
    lines = [record.getMessage() for record in caplog.records if record.name == transfer.__module__]
    assert lines == [f"weights of another model: {report}"]
    assert lines[0].startswith("weights of another model: taken: token_embedding/embeddings, char_")


def test_rows_go_by_name():
    """Other orders, words and characters."""
    source = pipeline(1)
    target = pipeline(2, words=["new", "ivo", "the"], chars=["v", "x", "e", "o"])
    before = weights(target)
    report = transfer(source, target)
    old, new = weights(source), weights(target)
    name = "token_embedding/embeddings"
    np.testing.assert_array_equal(new[name][[1, 3, 4]], old[name][[1, 4, 2]])
    np.testing.assert_array_equal(new[name][2], before[name][2])
    name = "char_features/embeddings"  # without a row of padding
    np.testing.assert_array_equal(new[name][[0, 1, 3, 4]], old[name][[0, 3, 1, 2]])
    np.testing.assert_array_equal(new[name][2], before[name][2])
    assert report.in_part == ["token_embedding/embeddings", "char_features/embeddings"]
    ours, theirs = outputs(target, ("ivo", "the")), outputs(source, ("ivo", "the"))
    np.testing.assert_allclose(ours.emissions, theirs.emissions, atol=1e-6)


def test_another_set_of_tags():
    source = pipeline(1)
    target = pipeline(2, tags=["B-LOC", "B-ORG", "O"])
    before = weights(target)
    report = transfer(source, target)
    old, new = weights(source), weights(target)
    np.testing.assert_array_equal(new["crf/kernel"][:, [0, 2]], old["crf/kernel"][:, [3, 0]])
    np.testing.assert_array_equal(new["crf/kernel"][:, 1], before["crf/kernel"][:, 1])
    moves = new["crf/transitions"]
    np.testing.assert_array_equal(
        moves[np.ix_([0, 2], [0, 2])], old["crf/transitions"][np.ix_([3, 0], [3, 0])]
    )
    np.testing.assert_array_equal(moves[1], before["crf/transitions"][1])
    np.testing.assert_array_equal(moves[:, 1], before["crf/transitions"][:, 1])
    for name in ("crf/bias", "crf/left_boundary", "crf/right_boundary"):
        np.testing.assert_array_equal(new[name][[0, 2]], old[name][[3, 0]])
    assert report.in_part == [name for name in new if name.startswith("crf/")]
    assert not report.fresh
    assert outputs(target).emissions.shape[-1] == 3


def test_what_does_not_fit_stays():
    source, target = pipeline(1), pipeline(2, n_hidden_list=[5], two_dense_on_top=True)
    del source.row_names["char_features"]  # what its rows stand for is not known
    before = weights(target)
    report = transfer(source, target)
    new = weights(target)
    recurrent = [name for name in new if name.startswith("recurrent_0/")]
    fresh = {"char_features/embeddings", "dense/kernel", "dense/bias", "crf/kernel", *recurrent}
    assert set(report.fresh) == fresh
    for name in fresh:
        np.testing.assert_array_equal(new[name], before[name])
    assert "crf/transitions" in report.taken and "char_features/kernel_0" in report.taken
    assert str(report).endswith(f"not taken: {', '.join(report.fresh)}")


def test_a_crf_starts_from_independent_tags():
    source, target = pipeline(1, use_crf=False), pipeline(2)
    report = transfer(source, target)
    assert {"crf/kernel", "crf/bias"} <= set(report.taken)
    assert report.fresh == [
        name for name in weights(target) if name.startswith("crf/") and name not in report.taken
    ]
    assert len(report.fresh) == 3
