"""Fitting: what machines learn, their probabilities, and what cannot be learnt."""

import sys

import numpy as np
import pytest

from kerasner.components import NerSvm
from kerasner.errors import ConfigError, DataError
from kerasner.few_shot import SvmNetwork, fitting, kernels
from kerasner.few_shot.fitting import SvmSettings, fitted
from kerasner.layers import unpack

svm = pytest.importorskip("sklearn.svm")

WIDTH = 6


def sentences(tags: int, number: int = 40, seed: int = 0):
    """Tokens around the corner of their tag; the first tag is the most frequent."""
    rng = np.random.default_rng(seed)
    rows, classes = [], []
    for _ in range(number):
        ids = np.maximum(rng.integers(-3, tags, size=rng.integers(3, 9)), 0)
        rows.append((np.eye(WIDTH)[ids] * 2 + rng.normal(size=(len(ids), WIDTH))).astype("f"))
        classes.append(ids)
    return rows, classes


def network(
    names: list[str], kernel: str = "rbf", gamma: float | None = 0.3, use_crf: bool = False
) -> SvmNetwork:
    scheme = "io" if "PER" in names else "bio"
    made = SvmNetwork(
        names, None, kernel=kernel, gamma=gamma, window=0, scheme=scheme, use_crf=use_crf
    )
    made.build({"words": (None, None, WIDTH), "mask": (None, None)})
    return made


def log_odds(network: SvmNetwork, rows: np.ndarray) -> np.ndarray:
    return np.asarray(network.svm(rows))


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
@pytest.mark.parametrize("names", [["O", "PER"], ["O", "B-PER", "I-PER", "B-LOC"]])
def test_exact_machines_are_those_of_scikit_learn(kernel, names):
    rows, classes = sentences(len(names))
    made = fitted(network(names, kernel), rows, classes, SvmSettings(C=2.0))
    points, flat = np.concatenate(rows), np.concatenate(classes)
    new = np.concatenate(sentences(len(names), seed=1)[0])
    for column, tag in enumerate(made.machine_tags):
        machine = svm.SVC(C=2.0, kernel=kernel, gamma=0.3).fit(points, flat == tag)
        margins = np.asarray(made.svm.margins(new))[:, column]
        np.testing.assert_allclose(margins, machine.decision_function(new), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_beyond_a_size_machines_are_approximated(kernel, monkeypatch, caplog):
    rows, classes = sentences(3, number=120)
    flat, new = np.concatenate(classes), sentences(3, number=200, seed=1)
    names = ["O", "B-PER", "I-PER"]
    exact = fitted(network(names, kernel), rows, classes, SvmSettings())
    monkeypatch.setattr(kernels, "EXACT_TOKENS", len(flat) - 1)
    monkeypatch.setattr(kernels, "LANDMARKS", 150)
    with caplog.at_level("INFO", "kerasner"):
        made = fitted(network(names, kernel), rows, classes, SvmSettings())
    assert f"{len(flat)} tokens" in caplog.text
    points, right = np.concatenate(new[0]), np.concatenate(new[1])
    accuracies = [(log_odds(n, points).argmax(-1) == right).mean() for n in (exact, made)]
    assert accuracies[0] > 0.6 and abs(accuracies[0] - accuracies[1]) < 0.05
    assert made.svm.n_vectors <= 150


def test_transitions_are_what_tags_tell_of_each_other():
    """Pairs of [0 0 1], [1] and [0]: 0 0 and 0 1, and each of four once more."""
    tags = [np.array(row) for row in ([0, 0, 1], [1], [0], [])]
    counts = np.array([[2, 2], [1, 1]])
    given_tag = counts / counts.sum(1, keepdims=True)
    expected = np.log(given_tag / (counts.sum(0) / counts.sum()))
    found = fitting.transition_potentials([row.astype(np.intp) for row in tags], 2)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_transitions_draw_tags_together():
    rng = np.random.default_rng(0)
    classes = [np.repeat(rng.integers(2, size=4), 3) for _ in range(30)]
    rows = [(np.eye(WIDTH)[ids] + rng.normal(size=(12, WIDTH))).astype("f") for ids in classes]
    decoded = {}
    for weight in (0.0, 1.0):
        settings = SvmSettings(transitions=weight)
        made = fitted(network(["O", "PER"], use_crf=True), rows, classes, settings)
        transitions = made.crf.transitions.numpy()
        expected = weight * fitting.transition_potentials(classes, 2)
        np.testing.assert_allclose(transitions, expected, rtol=1e-6)
        inputs = {"words": np.stack(rows), "mask": np.ones((30, 12), bool)}
        decoded[weight] = unpack(made(inputs)).decode().numpy()
    changes = {weight: (tags[:, 1:] != tags[:, :-1]).sum() for weight, tags in decoded.items()}
    right = {weight: (tags == np.stack(classes)).mean() for weight, tags in decoded.items()}
    assert changes[1.0] < 0.8 * changes[0.0] and right[1.0] > right[0.0] + 0.02


def test_probabilities_are_honest():
    """Of the tokens with a probability about p, about p have the tag. Measured by machines that
    learn from less, probabilities are a little too careful."""
    made = fitted(network(["O", "PER"]), *sentences(2, 150), SvmSettings())
    rows, classes = sentences(2, 800, seed=2)
    probability = 1 / (1 + np.exp(-log_odds(made, np.concatenate(rows))[:, 0]))
    is_entity = np.concatenate(classes) == 1
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.0)):
        there = (probability >= low) & (probability < high)
        assert there.sum() > 100
        assert abs(probability[there].mean() - is_entity[there].mean()) < 0.15


def test_the_threshold_shifts_the_log_odds():
    data = sentences(2)
    even, lower = (
        fitted(network(["O", "PER"]), *data, SvmSettings(threshold=t)) for t in (0.5, 0.2)
    )
    rows = np.concatenate(data[0])
    shift = log_odds(lower, rows) - log_odds(even, rows)
    np.testing.assert_allclose(shift, np.log(4), rtol=1e-4)


def test_o_may_be_any_of_two_tags():
    rows, classes = sentences(2)
    first = fitted(network(["O", "PER"]), rows, classes, SvmSettings(threshold=0.3))
    second = fitted(
        network(["PER", "O"]), rows, [1 - ids for ids in classes], SvmSettings(threshold=0.3)
    )
    assert (first.machine_tags, second.machine_tags) == ([1], [0])
    mask = np.ones((1, len(rows[0])), bool)
    emissions = [
        unpack(made({"words": rows[0][None], "mask": mask})).emissions.numpy()
        for made in (first, second)
    ]
    np.testing.assert_allclose(emissions[0], emissions[1][..., ::-1], rtol=0, atol=1e-5)


def test_a_tag_that_no_training_token_has_is_never_chosen(caplog):
    rows, classes = sentences(2)
    made = fitted(network(["O", "B-PER", "I-PER"]), rows, classes, SvmSettings())
    assert "no token of the training part has the tag 'I-PER'" in caplog.text
    assert 2 not in log_odds(made, np.concatenate(rows)).argmax(-1)


def test_one_sentence_is_enough(caplog):
    rows = [np.eye(WIDTH, dtype=np.float32)[[0, 1, 0, 0]]]
    made = fitted(network(["O", "PER"]), rows, [np.array([0, 1, 0, 0])], SvmSettings(C=10.0))
    assert "scores are guesses" in caplog.text
    assert (log_odds(made, rows[0])[:, 0] > 0).tolist() == [False, True, False, False]


def test_sentences_without_tokens_do_not_matter():
    rows, classes = sentences(2)
    gaps = [2, 2, 11, 40]
    with_gaps = [list(items) for items in (rows, classes)]
    for place in reversed(gaps):
        for items in with_gaps:
            items.insert(place, items[0][:0])
    expected, made = (
        fitted(network(["O", "PER"]), *data, SvmSettings()) for data in ((rows, classes), with_gaps)
    )
    points = np.concatenate(rows)
    np.testing.assert_allclose(log_odds(made, points), log_odds(expected, points), atol=1e-5)


def test_no_sentences():
    with pytest.raises(DataError, match="0 sentences, 0 tokens.*one tag alone, 'none'"):
        fitted(network(["O", "PER"]), [], [], SvmSettings())


@pytest.mark.parametrize("exact_tokens", [kernels.EXACT_TOKENS, 0])
def test_balanced_classes(monkeypatch, exact_tokens):
    monkeypatch.setattr(kernels, "EXACT_TOKENS", exact_tokens)
    rows, classes = sentences(2)
    found = [
        (np.asarray(made.svm.margins(np.concatenate(rows))) > 0).sum()
        for made in (
            fitted(network(["O", "PER"]), rows, classes, SvmSettings(class_weight=weight))
            for weight in (None, "balanced")
        )
    ]
    assert found[0] < found[1]


def test_one_class_alone():
    rows, classes = sentences(2)
    with pytest.raises(DataError, match=r"\(40 sentences, \d+ tokens\) has one tag alone, 'O'"):
        fitted(network(["O", "PER"]), rows, [0 * ids for ids in classes], SvmSettings())


def test_tokens_of_one_type_alone():
    rows, classes = sentences(2)
    entities = [ids + 1 for ids in classes]
    expected = "tags of one type alone, 'B-PER' and 'I-PER'; expected .* tokens outside of any"
    with pytest.raises(DataError, match=expected):
        fitted(network(["O", "B-PER", "I-PER"]), rows, entities, SvmSettings())


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ConfigError, match=r"pip install kerasner\[few-shot\]"):
        NerSvm().fitted(network(["O", "PER"]), [])


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"kernel": "poly"}, "kernel: expected one of 'rbf', 'linear', received 'poly'"),
        ({"class_weight": "even"}, "class_weight: expected null or 'balanced'"),
        ({"C": 0}, "ner_svm: C"),
        ({"gamma": "scale"}, "ner_svm: gamma"),
        ({"window": -1}, "ner_svm: window"),
        ({"decay": 2}, "ner_svm: decay"),
        ({"threshold": 0}, "ner_svm: threshold"),
        ({"transitions": -0.1}, "ner_svm: transitions: expected 0 to 10, received -0.1"),
        ({"return_probabilities": 1}, "return_probabilities: expected true or false"),
    ],
)
def test_wrong_settings(wrong, expected):
    with pytest.raises(ConfigError, match=expected):
        NerSvm(**wrong)


@pytest.mark.parametrize(("words", "n_chars"), [(20, None), (None, 20)])
def test_ids_are_nothing_to_compare(words, n_chars):
    with pytest.raises(ConfigError, match="ner_svm: in: expected word vectors"):
        NerSvm().network(["O", "PER"], words, n_chars, {})
