"""What the benchmarks share, and the command that trains several seeds."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner import config

FOLDER = Path(__file__).parents[1] / "benchmarks"
TOKENS = ["Yesterday", '"', "Abel", "Falk", '"', "beat", "Inc", ".", "3-1", "-", "'s", "."]
TAGS = ["O", "O", "B-PER", "I-PER", "O", "O", "B-ORG", "I-ORG", "O", "O", "O", "O"]


@pytest.fixture(scope="module")
def benchmark():
    """Imports a module of the benchmarks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module


@pytest.fixture(scope="module")
def forms(benchmark):
    return benchmark("_forms")


@pytest.fixture(scope="module")
def scoring(benchmark):
    return benchmark("_scoring")


@pytest.fixture(scope="module")
def signatures(tagger, tmp_path_factory):
    """Those of the trained model's SavedModel."""
    place = tagger.export(tmp_path_factory.mktemp("exported") / "model")
    return tf.saved_model.load(str(place)).signatures


def in_form(forms, name):
    return forms.changed(name, [(TOKENS, TAGS)])[0]


def test_forms_of_a_sentence(forms, scoring):
    def text(name):
        return scoring.text_of(*in_form(forms, name)).text

    assert text("as it is") == 'Yesterday " Abel Falk " beat Inc . 3-1 - \'s .'
    assert text("all capital letters") == 'YESTERDAY " ABEL FALK " BEAT INC . 3-1 - \'S .'
    assert text("all small letters") == 'yesterday " abel falk " beat inc . 3-1 - \'s .'
    assert text("each token capitalized") == 'Yesterday " Abel Falk " Beat Inc . 3-1 - \'s .'
    assert text("no final punctuation") == 'Yesterday " Abel Falk " beat Inc . 3-1 - \'s'
    assert text("usual spacing") == 'Yesterday " Abel Falk " beat Inc. 3-1 -\'s.'
    samples = [("( the Abel - Falk - era ) - 's".split(), ["O"] * 9)]
    closed = forms.changed("usual spacing, hyphens closed", samples)[0]
    assert scoring.text_of(*closed).text == "(the Abel-Falk-era) -'s"
    quotes = in_form(forms, "other quotes").tokens
    assert (quotes[1], quotes[4]) in {("“", "”"), ("«", "»"), ("„", "“")}
    assert quotes[10] == "’s"
    dashes = in_form(forms, "other dashes").tokens
    assert dashes[8] == "3–1"
    assert dashes[9] in "–—"
    dates = forms.changed("other dashes", [(["1996-08-30", "well-known"], ["O", "O"])])
    assert dates[0].tokens == ["1996-08-30", "well-known"]
    noisy = text("noisy white space")
    assert noisy.split() == TOKENS
    assert noisy != text("as it is")


def test_a_full_stop_of_an_entity_stays(forms):
    samples = [(["at", "Inc", "."], ["O", "B-ORG", "I-ORG"]), (["."], ["O"])]
    assert [s.tokens for s in forms.changed("no final punctuation", samples)] == [
        ["at", "Inc", "."],
        ["."],
    ]


words = st.sampled_from([*TOKENS, "«", "»", "”", "--", "1990-2000", "(", "do", "n't", "O'Neill"])


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.data(), st.lists(st.lists(words, min_size=1, max_size=8), min_size=1, max_size=4))
def test_entities_keep_their_words_in_any_form(forms, scoring, data, rows):
    tags = st.sampled_from(["O", "B-PER", "B-ORG"])
    samples = [
        (row, data.draw(st.lists(tags, min_size=len(row), max_size=len(row)))) for row in rows
    ]
    for name in forms.FORMS:
        changed = forms.changed(name, samples)
        assert changed == forms.changed(name, samples)
        for (_, gold), sentence in zip(samples, changed, strict=True):
            assert sentence.tags == gold[: len(sentence.tags)]
            assert set(gold[len(sentence.tags) :]) <= {"O"}
            text, spans = scoring.text_of(*sentence)
            expected = [
                (tag[2:], token)
                for token, tag in zip(sentence.tokens, sentence.tags, strict=True)
                if tag != "O"
            ]
            found = sorted(spans, key=lambda span: span[1])
            assert [(label, text[start:end]) for label, start, end in found] == expected


def test_scores_of_raw_text(scoring):
    """Of three texts: right, of another label and of other borders; beside it nothing."""
    answers = {
        "a b c": [("PER", 0, 3, 0.9), ("LOC", 4, 5, 0.4)],
        "d": [],
        "e f": [("PER", 2, 3, 0.5)],
    }

    def signature(text):
        rows = [answers[item.decode()] for item in text.numpy()]
        names = ("labels", "starts", "ends", "scores")
        columns = {name: [[r[i] for r in row] for row in rows] for i, name in enumerate(names)}
        dense = {name: tf.ragged.constant(rows).to_tensor() for name, rows in columns.items()}
        return {**dense, "counts": tf.constant([len(row) for row in rows])}

    tags = (["B-PER", "I-PER", "B-ORG"], ["B-ORG"], ["B-PER", "I-PER"])
    texts = [scoring.text_of(t.split(), g) for t, g in zip(answers, tags, strict=True)]
    score = scoring.from_text(signature, texts)
    assert (score.gold, score.predicted, score.correct) == (4, 3, 1)
    only = {"PER": "PER"}
    persons = [scoring.text_of(t.text.split(), scoring.of_labels(only, g))
               for t, g in zip(texts, tags, strict=True)]  # fmt: skip
    score = scoring.from_text(signature, persons, only)
    assert (score.gold, score.predicted, score.correct) == (2, 2, 1)
    renamed = {"PER": "PER", "LOC": "ORG", "ORG": "ORG"}
    score = scoring.from_text(signature, texts, renamed)
    assert (score.gold, score.predicted, score.correct) == (4, 3, 2)
    found = list(scoring.entities(signature, texts))
    assert found[0][1] == ("LOC", 4, 5, pytest.approx(0.4))


def test_tokens_of_a_real_model(scoring, tagger, signatures, corpus):
    report = scoring.from_tokens(signatures["tokens"], corpus["valid"])
    assert report == tagger.evaluate(corpus["valid"])
    names = {"PER": "NAME"}
    persons = [(tokens, scoring.of_labels(names, tags)) for tokens, tags in corpus["valid"]]
    only = scoring.from_tokens(signatures["tokens"], persons, names)
    assert only.types == {"NAME": report.types["PER"]}


def test_calibration_counts_what_the_model_answers(benchmark, tagger, signatures, corpus):
    result = benchmark("calibration").measured(signatures, corpus["valid"], None)
    report = tagger.evaluate(corpus["valid"]).total
    assert result["entities"] == report.predicted
    assert result["precision"] == pytest.approx(report.precision, abs=0.01)
    scores = [e.score for t, _ in corpus["valid"] for e in tagger.entities([" ".join(t)])[0]]
    assert result["mean score"] == pytest.approx(100 * np.mean(scores), abs=0.01)
    assert result["by score"][">= 0.5"]["entities"] == sum(score >= 0.5 for score in scores)


def test_seeds(benchmark, small_settings, tmp_path, monkeypatch, capsys):
    seeds, common = benchmark("seeds"), benchmark("_common")
    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    changes = [
        option for value in [*small_settings, "train.epochs=1"] for option in ("--set", value)
    ]

    def run(*options):
        command = ["seeds.py", "ner_conll2003", "--folder", str(tmp_path / "runs"), *changes]
        monkeypatch.setattr(sys, "argv", [*command, *options])
        seeds.main()
        return json.loads((tmp_path / "results" / "seeds-ner_conll2003.json").read_text())

    trained, scored = [], []
    train, evaluate = seeds.kerasner.train_model, seeds.kerasner.evaluate_model
    monkeypatch.setattr(
        seeds.kerasner, "train_model", lambda *a, **k: trained.append(a) or train(*a, **k)
    )
    monkeypatch.setattr(
        seeds.kerasner, "evaluate_model", lambda *a: scored.append(a) or evaluate(*a)
    )
    first = run("--seeds", "1", "--valid-only")
    assert "test" not in first
    assert (len(trained), len(scored)) == (1, 1)
    assert run("--seeds", "2", "--only", "2") == first  # nothing is scored
    assert (len(trained), len(scored)) == (2, 1)
    result = run("--seeds", "2")
    assert (len(trained), len(scored)) == (2, 4)  # of each of two models valid and test
    assert run("--seeds", "2") == result
    assert (len(trained), len(scored)) == (2, 4)
    assert "train.seed=2" in trained[1][1]
    runs = result["runs"]
    assert list(runs) == ["seed 1", "seed 2"]
    assert runs["seed 1"]["epochs"] == 1
    values = [of_run["F1 valid"] for of_run in runs.values()]
    assert values[0] != values[1]
    assert result["valid"]["f1"] == {
        "mean": pytest.approx(np.mean(values), abs=0.006),
        "deviation": pytest.approx(np.std(values, ddof=1), abs=0.006),
    }
    assert set(result["test"]["F1 by type"]) >= {"PER", "LOC", "ORG"}
    assert str(tmp_path) not in result["command"]
    changes += ["--set", "train.batch_size=5"]
    with pytest.raises(SystemExit, match="expected another folder"):
        run("--seeds", "2")
    changes += ["--folder", str(tmp_path / "on_valid"), "--set", "train.train_on_valid=true"]
    result = run("--seeds", "1")
    assert "valid" not in result and list(result["runs"]["seed 1"]) == ["hours", "F1 test"]


@pytest.fixture(scope="module")
def few_shot(benchmark):
    return benchmark("few_shot")


@pytest.mark.slow
def test_learning_curve(few_shot, data_folder, vector_file, tmp_path, monkeypatch, capsys):
    """Kept as it comes; what is there is not measured again."""
    pytest.importorskip("sklearn")
    monkeypatch.setattr(few_shot._common, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(few_shot, "plot", lambda by_type, place: plotted.append(place.name))
    plotted = []
    changed = few_shot_config(vector_file)
    (tmp_path / "small.json").write_text(json.dumps(changed))

    def run(*options):
        command = ["few_shot.py", str(data_folder), "--config", str(tmp_path / "small.json")]
        monkeypatch.setattr(sys, "argv", [*command, "--labels", "PER", *options])
        few_shot.main()
        return json.loads((tmp_path / "results" / "few_shot-small-curve.json").read_text())

    first = run("--curve", "3:1")["F1 by type"]["PER"]
    result = run("--curve", "3:2,5:1")["F1 by type"]["PER"]
    assert list(result) == ["3", "5"] and plotted == ["few_shot-small-curve.svg"] * 2
    assert result["3"]["F1"][0] == first["3"]["F1"][0]
    assert result["3"]["draws"] == 2 and result["3"]["seconds"][0] == first["3"]["seconds"][0]
    assert result["3"]["mean"] == pytest.approx(np.mean(result["3"]["F1"]), abs=0.006)
    assert 0 < result["5"]["mean"] <= 100 and result["5"]["sentences learnt from"] >= 5
    assert 100 < result["5"]["MB before"] <= result["5"]["MB at most"]
    monkeypatch.setattr(few_shot.multiprocessing, "get_context", None)  # nothing is missing
    assert run("--curve", "3:2,5:1")["F1 by type"]["PER"] == result
    with pytest.raises(SystemExit, match="is of other settings"):
        run("--curve", "3:2", "--part", "valid")


def few_shot_config(vector_file) -> dict:
    """The installed configuration over word vectors of the small corpus."""
    changed = config.load("ner_few_shot_ru_simulate")
    pipe = changed["chainer"]["pipe"]
    model = next(item for item in pipe if item.get("class_name") == "language_model")
    vectors = {"class_name": "glove", "load_path": str(vector_file), "lacking_min_count": 10**6}
    pipe[pipe.index(model)] = {**vectors, "in": model["in"], "out": model["out"]}
    return changed


def test_wrong_sizes_of_a_curve(few_shot, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["few_shot.py", "data", "--curve", "10:3,20"])
    with pytest.raises(SystemExit):
        few_shot.main()
    assert "--curve: expected sentences:draws" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_plot_of_a_learning_curve(few_shot, suffix, tmp_path):
    pytest.importorskip("matplotlib")
    by_type = {
        "PER": {"10": {"mean": 60.0, "deviation": 5.0}, "5": {"mean": 50.0, "deviation": 9.0}},
        "LOC": {},
    }
    places = [tmp_path / f"{number}.{suffix}" for number in range(2)]
    for place in places:
        few_shot.plot(by_type, place)
    first, second = (place.read_bytes() for place in places)
    assert first == second and (b"<svg" in first if suffix == "svg" else first[1:4] == b"PNG")
