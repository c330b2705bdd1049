"""Configurations within configurations."""

import json

import pytest
import tensorflow as tf

from kerasner import components
from kerasner.chainer import Chainer
from kerasner.errors import ConfigError
from kerasner.nesting import inline

DATA = {"x": tf.constant(["Ivo", "lives"]), "y": tf.constant(["B-PER", "O"])}
WORDS = {
    "chainer": {
        "in": ["x"],
        "in_y": ["y"],
        "pipe": [
            {"class_name": "str_lower", "in": ["x"], "out": ["x"]},
            {"class_name": "simple_vocab", "id": "words", "in": ["x"], "fit_on": ["x"],
             "out": ["ids"]},
            {"class_name": "simple_vocab", "id": "tags", "in": ["y"], "out": ["y_ind"]},
            {"class_name": "ner", "in": ["ids"], "in_y": ["y_ind"], "out": ["y_hat"],
             "token_emb_dim": 3, "n_hidden_list": [2], "n_tags": "#tags.len",
             "learning_rate": 0.1},
            {"ref": "tags", "in": ["y_hat"], "out": ["tagged"]},
        ],
        "out": ["x", "tagged"],
    }
}  # fmt: skip


@pytest.fixture
def nested(tmp_path):
    path = tmp_path / "inner.json"
    path.write_text(json.dumps(WORDS))
    return path


def outer(path, **settings):
    entry = {
        "config_path": str(path), "in": ["t"], "in_y": ["gold"], "out": ["t_low", "tags"],
        **settings,
    }  # fmt: skip
    return {
        "chainer": {
            "in": ["x"],
            "in_y": ["gold"],
            "pipe": [{"class_name": "lazy_tokenizer", "in": ["x"], "out": ["t"]}, entry],
            "out": ["t", "tags"],
        }
    }


def test_entries_take_the_place_of_the_nested_configuration(nested):
    pipe = inline(outer(nested))["chainer"]["pipe"]
    assert [entry.get("class_name", entry.get("ref")) for entry in pipe] == [
        "lazy_tokenizer", "str_lower", "simple_vocab", "simple_vocab", "ner", "nested1__tags",
    ]  # fmt: skip
    lower, words, tags, ner, ref = pipe[1:]
    assert lower["in"] == ["t"] and lower["out"] == ["t_low"]  # `x` given anew, and put out
    assert words["in"] == words["fit_on"] == ["t_low"] and words["id"] == "nested1__words"
    assert tags["in"] == ["gold"]
    assert ner["in"] == words["out"] and ner["n_tags"] == "#nested1__tags.len"
    assert ref["in"] == ner["out"] and ref["out"] == ["tags"]
    assert not {"x", "y", "ids"} & {name for entry in pipe[1:] for name in entry["out"]}


def test_an_id_of_ones_own(nested):
    pipe = inline(outer(nested, id="inner"))["chainer"]["pipe"]
    assert pipe[2]["id"] == "inner__words"


def test_the_whole_is_a_pipeline(nested):
    config = inline(outer(nested))["chainer"]
    chainer = Chainer(config, data={"x": DATA["x"], "gold": DATA["y"]})
    assert chainer.network.tags == ["O", "B-PER"] or chainer.network.tags == ["B-PER", "O"]
    assert isinstance(chainer.text_splitter, components.TextSplitter)
    words = chainer.encode(tf.constant(["IVO", "ivo", "other"]))["words"].numpy()
    assert words[0] == words[1] > 1 and words[2] == 1


def test_three_levels(nested, tmp_path):
    middle = tmp_path / "middle.json"
    middle.write_text(json.dumps(outer(nested)))
    pipe = inline(outer(middle, id="m"))["chainer"]["pipe"]
    assert len(pipe) == 7 and pipe[-1]["out"] == ["tags"]
    assert pipe[3]["id"] == "m__nested1__words"


def test_without_nesting_nothing_changes():
    assert inline(WORDS) == WORDS


def test_variables_of_the_nested_configuration_are_its_own(tmp_path):
    path = tmp_path / "inner.json"
    text = json.dumps(WORDS).replace('"token_emb_dim": 3', '"save_path": "{PLACE}"')
    variables = {"metadata": {"variables": {"PLACE": "inside"}}}
    path.write_text(json.dumps({**json.loads(text), **variables}))
    assert inline(outer(path))["chainer"]["pipe"][4]["save_path"] == "inside"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"in": ["x", "t"]}, r"pipe\[1\].in: the nested .* expected 1 names, received"),
        ({"in_y": ["gold", "t"]}, r"pipe\[1\].in_y: the nested .* expected 1 names"),
        ({"out": ["tags"]}, r"pipe\[1\].out: the nested .* expected 2 names"),
        ({"config_path": "nowhere.json"}, r"pipe\[1\].config_path: nowhere.json: no file"),
        ({"config_path": 1}, r"pipe\[1\].config_path: expected a name or a path, received 1"),
        ({"fit_on": ["x"]}, r"pipe\[1\]: unknown key 'fit_on' beside config_path"),
    ],
)
def test_wrong_entries(nested, settings, expected):
    with pytest.raises(ConfigError, match=expected):
        inline(outer(nested, **settings))


def test_a_configuration_within_itself(tmp_path):
    path = tmp_path / "self.json"
    path.write_text(json.dumps(outer(path)))
    with pytest.raises(ConfigError, match="a cycle: .*self.json -> .*self.json"):
        inline(outer(path))


def test_a_wrong_nested_configuration_is_named(tmp_path):
    path = tmp_path / "inner.json"
    path.write_text(json.dumps(WORDS).replace("str_lower", "str_lowr"))
    with pytest.raises(ConfigError, match=r"inner.json: chainer.pipe\[0\].class_name: unknown"):
        inline(outer(path))


def test_an_output_that_is_an_input(tmp_path):
    path = tmp_path / "inner.json"
    passing = {**WORDS["chainer"], "out": ["x", "y"]}
    path.write_text(json.dumps({"chainer": passing}))
    with pytest.raises(ConfigError, match="'y' is an input of the nested configuration"):
        inline(outer(path))
