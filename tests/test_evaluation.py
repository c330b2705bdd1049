"""Which metrics a configuration names, and what they make of a network's answers."""

import numpy as np
import pytest
import tensorflow as tf

from kerasner import bio, registry
from kerasner.errors import ConfigError
from kerasner.evaluation import Metric, Scorer, evaluation, metrics
from kerasner.layers import QuantizedEmbedding
from kerasner.network import NerNetwork

CHAINER = {
    "in": ["x"],
    "in_y": ["y"],
    "pipe": [
        {"class_name": "lazy_tokenizer", "in": ["x"], "out": ["x_tokens"]},
        {"class_name": "simple_vocab", "id": "tags", "in": ["y"], "fit_on": ["y"], "out": "y_ind"},
        {"class_name": "ner", "in": ["x_tokens"], "in_y": ["y_ind"], "out": ["y_predicted"]},
        {"ref": "tags", "in": ["y_predicted"], "out": ["tags"]},
    ],
    "out": ["x_tokens", "tags"],
}


def test_metrics_by_name():
    found = metrics([{"name": "per_token_accuracy"}, {"name": "ner_f1"}], CHAINER)
    assert [metric.name for metric in found] == ["per_token_accuracy", "ner_f1"]
    gold, predicted = [["B-X", "I-X", "O", "O"]], [["B-X", "O", "O", "O"]]
    assert [metric(gold, predicted) for metric in found] == [0.75, 0.0]


@pytest.mark.parametrize("inputs", [["y", "tags"], ["y_ind", "y_predicted"]])
def test_inputs_of_a_metric(inputs):
    assert metrics([{"name": "ner_f1", "inputs": inputs}], CHAINER)[0].name == "ner_f1"


def test_a_name_may_first_be_of_targets_and_then_of_predictions():
    pipe = [*CHAINER["pipe"][:2]]
    pipe += [{"class_name": "ner", "in": ["x_tokens"], "in_y": ["y_ind"], "out": ["y_ind"]}]
    chainer = {**CHAINER, "pipe": pipe, "out": ["y_ind"]}
    assert metrics([{"name": "ner_f1", "inputs": ["y", "y_ind"]}], chainer)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["y", "tag"], "unknown variable 'tag': did you mean 'tags'"),
        (["tags", "y"], r"such as \['y', 'tags'\]; received \['tags', 'y'\]"),
        (["y", "y_ind"], r"received \['y', 'y_ind'\]"),
        (["y"], r"received \['y'\]"),
        (5, "expected a name or a list of names, received 5"),
    ],
)
def test_wrong_inputs_of_a_metric(inputs, expected):
    with pytest.raises(ConfigError, match=rf"^train.metrics\[0\].inputs: .*{expected}"):
        metrics([{"name": "ner_f1", "inputs": inputs}], CHAINER)


def test_unknown_metrics():
    with pytest.raises(ConfigError, match=r"train.metrics\[1\].name: .*did you mean 'ner_f1'"):
        metrics([{"name": "ner_f1"}, {"name": "ner_f"}], CHAINER)
    with pytest.raises(ConfigError, match=r"expected a registered function .* received 'ner'"):
        metrics([{"name": "ner"}], CHAINER)


@pytest.fixture
def own_metric(monkeypatch):
    """Registers a metric as a user would."""
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))

    @registry.register("share_of_o")
    def share_of_o(y_true, y_pred):
        flat = [tag for row in y_pred for tag in row]
        return np.float32(flat.count("O") / len(flat))

    return metrics([{"name": "share_of_o"}], CHAINER)[0]


TAGS = ["O", "B-X", "I-X"]


def batches(seed: int) -> tf.data.Dataset:
    """Random sentences of 1 to 6 words, padded."""
    rng = np.random.default_rng(seed)
    rows = []
    for lengths in ([1, 3, 2], [6, 4]):
        words = np.zeros((len(lengths), max(lengths)), np.int32)
        tags = np.zeros_like(words)
        for row, length in enumerate(lengths):
            words[row, :length] = rng.integers(1, 9, length)
            tags[row, :length] = rng.integers(0, 3, length)
        rows.append(({"words": words}, tags))
    specs = tf.TensorSpec([None, None], tf.int32)
    signature = ({"words": specs}, specs)
    return tf.data.Dataset.from_generator(lambda: iter(rows), output_signature=signature)


def network(seed: int) -> NerNetwork:
    tf.random.set_seed(seed)
    model = NerNetwork(TAGS, QuantizedEmbedding(4, trainable_rows=9, frozen_rows=0), None, [3])
    model({"words": tf.constant([[2, 3]])})
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    return model


@pytest.mark.parametrize("seed", range(4))
def test_both_ways_to_count_agree(seed, own_metric):
    model = network(seed)
    f1 = Metric("ner_f1", bio.ner_f1)
    sentences, fast = Scorer(model, [f1])(batches(seed))
    assert sentences == 5
    slow = Scorer(model, [own_metric, f1])
    for _ in range(2):  # nothing is left from the first time
        count, scores = slow(batches(seed))
        assert (count, list(scores)) == (5, ["share_of_o", "ner_f1"])
        assert scores["ner_f1"] == pytest.approx(fast["ner_f1"], abs=1e-4)
        assert 0 <= scores["share_of_o"] <= 1
    assert isinstance(scores["share_of_o"], float)


def test_scores_follow_the_weights():
    model = network(0)
    scorer = Scorer(model, [Metric("per_token_accuracy", bio.per_token_accuracy)])
    gold = [row for _, tags in batches(0) for row in tags.numpy()]
    lengths = [1, 3, 2, 6, 4]
    crf = model.crf
    for tag in range(3):  # whatever is read, this tag is by far the best
        for weight in crf.trainable_weights:
            weight.assign(np.zeros(weight.shape))
        bias = next(w for w in crf.trainable_weights if "bias" in w.name and w.shape == (3,))
        bias.assign(np.eye(3)[tag] * 100)
        equal = sum((row[:n] == tag).sum() for row, n in zip(gold, lengths, strict=True))
        if tag < 2:  # no entity starts with I-
            assert scorer(batches(0))[1]["per_token_accuracy"] == pytest.approx(equal / 16)


@pytest.mark.parametrize("prefixes", ["", "BIOES"])
def test_the_right_tags_may_be_of_any_scheme(prefixes):
    gold = [["S-X", "O", "B-Y", "E-Y"]] if prefixes else [["X", "O", "Y", "Y"]]
    predicted = [["B-X", "O", "B-Y", "I-Y"]]
    found = evaluation(gold, lambda: predicted, metrics([{"name": "per_token_accuracy"}], CHAINER))
    assert (found.report.total.f1, found.metrics) == (100.0, {"per_token_accuracy": 1.0})


def test_lists_of_tags_are_bio_whatever_the_network_has():
    tags = ["O", "B-X", "I-X", "E-X", "S-X"]
    model = NerNetwork(
        tags, QuantizedEmbedding(4, trainable_rows=9, frozen_rows=0), None, [3], scheme="bioes"
    )
    gold = tf.constant([[4, 0, 1, 3]])
    data = tf.data.Dataset.from_tensors(({"words": tf.constant([[2, 3, 4, 5]])}, gold))
    seen = []

    def keep(y_true, y_pred):
        seen.extend([y_true, y_pred])
        return 0.0

    Scorer(model, [Metric("kept", keep)])(data)
    assert seen[0] == [["B-X", "O", "B-X", "I-X"]]
    assert {tag[0] for row in seen[1] for tag in row} <= set("BIO")


def test_an_evaluation_as_json():
    gold, predicted = [["B-X", "O"], ["B-Y", "O"]], [["B-X", "O"], ["O", "O"]]
    found = evaluation(gold, lambda: predicted, metrics([{"name": "ner_f1"}], CHAINER))
    assert found.report == bio.report(gold, predicted)
    event = found.event()
    assert event["time_spent"] == "0:00:00"
    assert event["metrics"] == {"ner_f1": 66.6667}
    assert (event["eval_examples_count"], event["tokens"], event["recall"]) == (2, 4, 50.0)
    assert event["types"]["Y"] == {
        "f1": 0.0,
        "precision": 0.0,
        "recall": 0.0,
        "gold": 1,
        "predicted": 0,
        "correct": 0,
    }
