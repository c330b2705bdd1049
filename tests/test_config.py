import copy
import json
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from kerasner import config, registry
from kerasner.errors import ConfigError

quick = settings(deadline=None, max_examples=100, derandomize=True)

PIPELINE = {
    "dataset_reader": {"class_name": "conll2003_reader", "data_path": "{DATA}/conll2003"},
    "chainer": {
        "in": ["x"],
        "in_y": ["y"],
        "pipe": [
            {"class_name": "lazy_tokenizer", "in": "x", "out": "tokens"},
            {"class_name": "simple_vocab", "id": "word_vocab", "in": "tokens", "out": "w"},
            {"class_name": "simple_vocab", "id": "tag_vocab", "in": "y", "out": "t"},
            {"class_name": "ner", "in": ["w"], "out": "p", "n_hidden_list": [128]},
            {"ref": "tag_vocab", "in": "p", "out": "tags"},
        ],
        "out": ["tokens", "tags"],
    },
    "train": {"epochs": 100, "metrics": [{"name": "ner_f1", "inputs": ["y", "tags"]}]},
    "metadata": {"variables": {"ROOT": "/data", "DATA": "{ROOT}/downloads"}},
}


@pytest.fixture
def reader(monkeypatch):
    """The name of a registered reader."""
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))

    @registry.register("strict_reader")
    class Reader:
        def read(self, data_path, strict=False):
            return {}

    return "strict_reader"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A folder of installed configurations with three in it."""
    folder = tmp_path / "configs"
    for name in ("ner/ner_conll2003", "ner/ner_rus", "slots/slotfill_dstc2"):
        path = folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(PIPELINE), encoding="utf-8")
        (path.parent / "__init__.py").touch()
    (folder / "__pycache__").mkdir()
    monkeypatch.setattr(config, "folder", lambda: folder)
    return folder


@pytest.fixture
def components(monkeypatch):
    """A registry that knows `ner` only."""
    monkeypatch.setattr(registry, "_REGISTERED", {})

    @registry.register("ner")
    def ner(n_hidden_list, use_crf=False, dropout_keep_prob=0.5):
        return n_hidden_list, use_crf, dropout_keep_prob


def error_of(function, *args, **kwargs):
    with pytest.raises(ConfigError) as caught:
        function(*args, **kwargs)
    return str(caught.value)


# Folders and names.


def test_home_is_read_from_the_environment(tmp_path):
    assert config.home({"KERASNER_HOME": str(tmp_path)}) == tmp_path
    assert config.home({"KERASNER_HOME": "~/models"}) == Path.home() / "models"
    assert config.home({"KERASNER_HOME": "relative"}) == Path.cwd() / "relative"
    assert config.home({"KERASNER_HOME": ""}) == config.home({}) == Path.home() / ".kerasner"


def test_the_folder_of_the_configurations_is_found():
    assert (config.folder() / "ner").is_dir()


def test_every_configuration_that_comes_along_loads_and_resolves():
    for name in config.names():
        assert "chainer" in config.resolve(config.load(name), environ={})


def test_names(installed):
    assert config.names() == ["ner_conll2003", "ner_rus", "slotfill_dstc2"]


# load


def test_load_copies_a_dict():
    original = copy.deepcopy(PIPELINE)
    loaded = config.load(original)
    assert loaded == PIPELINE
    loaded["chainer"]["pipe"][0]["in"] = "changed"
    assert original == PIPELINE


def test_load_makes_plain_json_of_paths_and_tuples(tmp_path):
    loaded = config.load({"train": {"save_path": tmp_path, "metrics": ("a", "b"), "seed": None}})
    assert loaded == {"train": {"save_path": str(tmp_path), "metrics": ["a", "b"], "seed": None}}
    assert json.loads(json.dumps(loaded)) == loaded


def test_load_by_name_and_by_path(installed, tmp_path, monkeypatch):
    path = installed / "ner" / "ner_rus.json"
    assert config.load("ner_rus") == config.load(path) == config.load(str(path)) == PIPELINE
    monkeypatch.chdir(path.parent)
    assert config.load("ner_rus.json") == PIPELINE
    assert config.load("./ner_rus.json") == PIPELINE


def test_a_folder_called_like_a_configuration_hides_nothing(installed, tmp_path, monkeypatch):
    (tmp_path / "ner_rus").mkdir()
    monkeypatch.chdir(tmp_path)
    assert config.load("ner_rus") == PIPELINE


def test_unknown_name_gives_the_nearest(installed):
    message = error_of(config.load, "ner_conl2003")
    assert "unknown configuration 'ner_conl2003': did you mean 'ner_conll2003'?" in message


def test_missing_file_gives_the_path_and_the_nearest_name(installed, tmp_path):
    message = error_of(config.load, tmp_path / "ner_russ.json")
    assert str(tmp_path / "ner_russ.json") in message
    assert "did you mean 'ner_rus'?" in message


def test_a_folder_is_no_configuration_file(installed):
    assert f"no file '{installed}'" in error_of(config.load, installed)


@pytest.mark.parametrize(
    "content, expected",
    [
        (b'{\n  "train": {\n    "epochs": 3,\n  }\n}', ", line 4, column 3: not JSON"),
        (b"", ", line 1, column 1: not JSON"),
        (b'{"train": {"epochs": 1, "epochs": 2}}', "the key 'epochs' is given twice"),
        (b'{"train": {"epochs": NaN}}', "NaN is not a JSON number"),
        (b'{"train": {"a": "\xff"}}', "not UTF-8 text: byte 17"),
        (b"[" * 100_000, "nested deeper than 100 levels"),
        (b'{"train":' + b"[" * 101 + b"]" * 101 + b"}", "nested deeper than 100 levels"),
        (b'["train"]', "expected an object with the groups dataset_reader,"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path, content, expected):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    message = error_of(config.load, path)
    assert message.startswith(str(path))
    assert expected in message


def test_a_byte_order_mark_is_accepted(tmp_path):
    path = tmp_path / "bom.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(PIPELINE).encode())
    assert config.load(path) == PIPELINE


@pytest.mark.parametrize(
    "bad, expected",
    [
        ({"chianer": {}}, "top level: unknown key 'chianer': did you mean 'chainer'?"),
        ({"dataset": {}}, "top level: unknown key 'dataset'"),
        ({"chainer": {"pip": []}}, "chainer: unknown key 'pip': did you mean 'pipe'?"),
        ({"metadata": {"variable": {}}}, "unknown key 'variable': did you mean 'variables'?"),
        ({"train": 5}, "train: expected an object, received 5"),
        ({"train": {"rate": object}}, "train.rate: expected a JSON value or a path, received type"),
        ({"chainer": {"pipe": [{"id": b"x"}]}}, "chainer.pipe[0].id: expected a JSON value"),
        ({"train": {1: "x"}}, "train: expected string keys, received 1"),
        ({1: {}}, "top level: expected string keys, received 1"),
    ],
)
def test_a_bad_dict_is_refused(bad, expected):
    assert expected in error_of(config.load, bad)


def test_a_dict_that_contains_itself_is_refused():
    endless = {"train": {}}
    endless["train"]["again"] = endless
    assert "nested deeper than 100 levels" in error_of(config.load, endless)


@pytest.mark.parametrize("value", [None, 3, ["ner_rus"], b"ner_rus"])
def test_what_is_no_configuration_is_refused(value):
    assert "a configuration is a dict, a path" in error_of(config.load, value)


# override


@pytest.mark.parametrize(
    "text, value",
    [
        ("5", 5),
        ("3e-3", 0.003),
        ("true", True),
        ("null", None),
        ("[256, 256]", [256, 256]),
        ('{"a": [1]}', {"a": [1]}),
        ('"5"', "5"),
        ("/data/x=y", "/data/x=y"),
        ("a, b", "a, b"),
        ("NaN", "NaN"),
        ("", ""),
    ],
)
def test_values_are_json_or_else_strings(text, value):
    changed = config.override(PIPELINE, [f"train.epochs={text}"])
    assert changed["train"]["epochs"] == value
    assert type(changed["train"]["epochs"]) is type(value)


def test_override_changes_a_copy():
    before = copy.deepcopy(PIPELINE)
    changed = config.override(PIPELINE, ["train.epochs=3", "dataset_reader.data_path=D"])
    assert PIPELINE == before
    expected = copy.deepcopy(PIPELINE)
    expected["train"]["epochs"] = 3
    expected["dataset_reader"]["data_path"] = "D"
    assert changed == expected


def test_a_later_setting_wins():
    changed = config.override(PIPELINE, ["train.epochs=3", "train.epochs=4"])
    assert changed["train"]["epochs"] == 4


@pytest.mark.parametrize("entry", [".3", ".ner", "[3]", "[ner]"])
def test_list_entries_by_number_or_class_name(entry):
    changed = config.override(PIPELINE, [f"chainer.pipe{entry}.n_hidden_list.0=64"])
    assert changed["chainer"]["pipe"][3]["n_hidden_list"] == [64]


def test_list_entries_by_id():
    changed = config.override(PIPELINE, ["chainer.pipe.tag_vocab.out=tag_ids"])
    assert [entry["out"] for entry in changed["chainer"]["pipe"]] == [
        "tokens", "w", "tag_ids", "p", "tags",
    ]  # fmt: skip


def test_the_settings_of_a_reader_are_those_of_its_read(reader):
    pipeline = {"dataset_reader": {"class_name": reader}}
    changed = config.override(pipeline, ["dataset_reader.strict=true"])
    assert changed["dataset_reader"]["strict"] is True
    message = error_of(config.override, pipeline, ["dataset_reader.strct=true"])
    assert "'strct': did you mean 'strict'?" in message
    assert "self" not in message


def test_numbers():
    for value in (0, 1, 0.5):
        config.check_number("x", value, 0, 1)
    for value in (2, -1, float("nan"), True, "1", None):
        assert "x: expected 0 to 1, received" in error_of(config.check_number, "x", value, 0, 1)
    assert "expected 0 or more, a whole number" in error_of(
        config.check_number, "x", 0.5, 0, whole=True
    )


def test_the_home_of_nobody():
    message = error_of(config.user_path, "~nouser/x")
    assert message == "no home folder known for '~nouser/x'"
    assert config.user_path("a/~b") == Path("a/~b")


def test_a_class_name_used_twice_is_ambiguous():
    message = error_of(config.override, PIPELINE, ["chainer.pipe.simple_vocab.out=z"])
    assert "class_name 'simple_vocab' is at 1, 2 of 'chainer.pipe'" in message


@pytest.mark.parametrize(
    "setting, expected",
    [
        ("train.epochs", "expected path.to.key=value, received 'train.epochs'"),
        ("=5", "expected path.to.key=value, received '=5'"),
        ("trian.epochs=5", "'trian.epochs': no such key at the top level: 'trian': did you mean"),
        ("trian={}", "'trian': no such key at the top level: 'trian': did you mean 'train'?"),
        ("train=5", "train: expected an object, received 5"),
        ("dataset_iterator.seed=1", "no such key at the top level: 'dataset_iterator'"),
        ("chainer.pip=[]", "no such key in 'chainer': 'pip': did you mean 'pipe'? Valid keys: in,"),
        ("chainer.pipe.9.in=x", "no such entry in 'chainer.pipe': '9'"),
        ("chainer.pipe.9.in=x", "numbers 0 to 4"),
        ("chainer.pipe.-1.in=x", "no such entry in 'chainer.pipe': '-1'"),
        ("chainer.pipe.tag_vocabb.in=x", "'tag_vocabb': did you mean 'tag_vocab'?"),
        ("chainer.pipe.5=x", "no such entry in 'chainer.pipe': '5'"),
        ("train.epochs.x=5", "'train.epochs.x': 'train.epochs' is 100 and has no keys"),
        ("train.metrics.0.nam=x", "in 'train.metrics.0': 'nam': did you mean 'name'?"),
        ("train.optimizer.rate=1", "no such key in 'train': 'optimizer'"),
        ("metadata.variables.ROOTT=/x", "in 'metadata.variables': 'ROOTT': did you mean 'ROOT'?"),
        ("metadata.variable={}", "in 'metadata': 'variable': did you mean 'variables'?"),
        ("chainer.pipe.ner.use_crff=true", "'use_crff': did you mean 'use_crf'? Valid keys: cl"),
    ],
)
def test_a_wrong_path_is_refused(components, setting, expected):
    assert expected in error_of(config.override, PIPELINE, [setting])


def test_new_keys_where_they_have_a_meaning(components):
    changed = config.override(
        PIPELINE,
        [
            "chainer.pipe.ner.use_crf=true",  # a parameter of the registered function
            "chainer.pipe.ner.main=true",  # a key of every component
            "chainer.pipe.lazy_tokenizer.kind=unicode",  # not registered: checked when built
            "train.batch_size=32",
            'metadata.labels={"a": 1}',
        ],
    )
    assert changed["chainer"]["pipe"][3]["use_crf"] is True
    assert changed["chainer"]["pipe"][3]["main"] is True
    assert changed["chainer"]["pipe"][0]["kind"] == "unicode"
    assert changed["train"]["batch_size"] == 32
    assert changed["metadata"]["labels"] == {"a": 1}


def test_a_group_can_be_added_whole():
    changed = config.override({"chainer": {}}, ['train={"epochs": 3}', "train.epochs=4"])
    assert changed == {"chainer": {}, "train": {"epochs": 4}}
    changed = config.override({"chainer": {}}, ["train.letter_case.upper=0.1"])
    assert changed == {"chainer": {}, "train": {"letter_case": {"upper": 0.1}}}


# resolve


def test_variables_are_filled_in_everywhere():
    resolved = config.resolve(PIPELINE, environ={})
    assert resolved["dataset_reader"]["data_path"] == "/data/downloads/conll2003"
    assert resolved["metadata"]["variables"] == {"ROOT": "/data", "DATA": "/data/downloads"}
    assert resolved["chainer"] == PIPELINE["chainer"]
    assert PIPELINE["dataset_reader"]["data_path"] == "{DATA}/conll2003"


def test_strings_in_lists_and_numbers():
    given_config = {"metadata": {"variables": {"A": "a"}}, "train": {"x": [["{A}{A}", 1, None]]}}
    assert config.resolve(given_config, environ={})["train"] == {"x": [["aa", 1, None]]}


def test_the_environment_overrides_a_variable_and_what_uses_it():
    resolved = config.resolve(PIPELINE, environ={"KERASNER_ROOT": "/other"})
    assert resolved["dataset_reader"]["data_path"] == "/other/downloads/conll2003"
    assert resolved["metadata"]["variables"]["ROOT"] == "/other"
    resolved = config.resolve(PIPELINE, environ={"KERASNER_DATA": "{ROOT}/mine", "ROOT": "/no"})
    assert resolved["dataset_reader"]["data_path"] == "/data/mine/conll2003"


def test_the_environment_stands_in_for_a_text_that_does_not_resolve():
    given_config = {"metadata": {"variables": {"A": "{UNKNOWN}"}}, "train": {"p": "{A}"}}
    assert config.resolve(given_config, environ={"KERASNER_A": "a"})["train"] == {"p": "a"}


def test_a_wrong_text_from_the_environment_is_traced_to_it():
    message = error_of(config.resolve, PIPELINE, environ={"KERASNER_DATA": "{ROOTT}"})
    assert message.startswith("environment variable KERASNER_DATA: unknown variable 'ROOTT'")


def test_the_environment_introduces_no_variable():
    environ = {"KERASNER_NEW": "/x", "HOME": "/y"}
    for name in ("NEW", "HOME"):
        message = error_of(config.resolve, {"train": {"p": f"{{{name}}}"}}, environ=environ)
        assert f"train.p: unknown variable '{name}'" in message


def test_kerasner_home_is_built_in(tmp_path):
    given_config = {
        "metadata": {"variables": {"MODELS": "{KERASNER_HOME}/models"}},
        "train": {"save_path": "{MODELS}/a", "log": "{KERASNER_HOME}"},
    }
    resolved = config.resolve(given_config, environ={"KERASNER_HOME": str(tmp_path)})
    assert resolved["train"] == {"save_path": f"{tmp_path}/models/a", "log": str(tmp_path)}


def test_an_unknown_variable_gives_place_and_nearest():
    bad = config.override(PIPELINE, ["chainer.pipe.3.save_path={DTA}/x"])
    message = error_of(config.resolve, bad, environ={})
    assert message.startswith("chainer.pipe[3].save_path: unknown variable 'DTA'")
    assert "did you mean 'DATA'?" in message


def test_a_variable_sees_earlier_ones_only():
    bad = {"metadata": {"variables": {"A": "{B}", "B": "b"}}}
    message = error_of(config.resolve, bad, environ={})
    assert message.startswith("metadata.variables.A: unknown variable 'B'")
    bad = {"metadata": {"variables": {"A": "{A}"}}}
    assert "unknown variable 'A'" in error_of(config.resolve, bad, environ={})


@pytest.mark.parametrize(
    "text",
    [
        "{A.b}",
        "{A[0]}",
        "{0}",
        "{}",
        "{A!r}",
        "{A:>9}",
        "{ A}",
        "{A\n}",
        "{",
        "}",
        "{A",
        "A}",
        "{A{",
    ],
)
def test_format_language_is_refused(text):
    bad = {"metadata": {"variables": {"A": "a"}}, "train": {"p": text}}
    assert "is not a plain {NAME}" in error_of(config.resolve, bad, environ={})


@pytest.mark.parametrize(
    "variables, expected",
    [
        ({"A.b": "x"}, "metadata.variables.A.b: a variable's name"),
        ({"": "x"}, "a variable's name"),
        ({"KERASNER_HOME": "x"}, "metadata.variables.KERASNER_HOME: built in"),
        ({"A": 5}, "metadata.variables.A: expected a string, received 5"),
        (["A"], "variables: expected an object"),
    ],
)
def test_bad_variables_are_refused(variables, expected):
    assert expected in error_of(config.resolve, {"metadata": {"variables": variables}}, environ={})


def test_a_value_with_braces_is_not_read_again():
    given_config = {"metadata": {"variables": {"A": "{{B}}", "B": "b"}}, "train": {"p": "{A}"}}
    assert config.resolve(given_config, environ={})["train"] == {"p": "{B}"}


@given(st.text(alphabet="{}A.x"))
@quick
def test_what_is_accepted_is_what_format_makes_of_it(text):
    given_config = {"metadata": {"variables": {"A": "<a>"}}, "train": {"p": text}}
    try:
        resolved = config.resolve(given_config, environ={})
    except ConfigError:
        return
    assert resolved["train"]["p"] == text.format(A="<a>")


@given(st.text())
@quick
def test_doubled_braces_keep_any_text(text):
    doubled = text.replace("{", "{{").replace("}", "}}")
    assert config.resolve({"train": {"p": doubled}}, environ={}) == {"train": {"p": text}}


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(plain_values)
@quick
def test_any_json_value_can_be_set_and_loaded(value):
    changed = config.override({"train": {}}, [f"train.x={json.dumps(value)}"])
    assert config.load(changed) == {"train": {"x": value}}
