"""Folders of versions: which are loaded, when, and what is told of them."""

import asyncio
import os
import shutil

import grpc
import pytest
import tensorflow as tf
from google.protobuf import text_format
from model_server import request, strings
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from kerasner.errors import ConfigError
from kerasner.serving.server import sources
from kerasner.serving.server.models import Models
from kerasner.serving.server.servable import WARM_UP_FILE
from kerasner.serving.server.sources import Source
from kerasner.serving.server.status import ServingError

CODES = grpc.StatusCode


class Upper(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def __call__(self, text):
        checked = tf.debugging.Assert(tf.reduce_all(text != "bad"), ["a bad text"])
        with tf.control_dependencies([checked]):
            return {"upper": tf.strings.upper(text)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    module = Upper()
    tf.saved_model.save(module, str(folder), signatures=module.__call__)
    return folder


@pytest.fixture
def add(saved, tmp_path):
    """Puts versions into the folder of a model."""

    def add(*versions, name="small"):
        for version in versions:
            shutil.copytree(saved, tmp_path / "part")
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / "part").rename(tmp_path / name / str(version))
        return tmp_path / name

    return add


def states(models, name="small"):
    return {status.version: status.state for status in models.statuses(name)}


def updated(models):
    asyncio.run(_updated(models))


async def _updated(models):
    await models.update()
    while models._unloading:
        await asyncio.gather(*models._unloading)


@pytest.fixture
def make():
    """Models that are closed at the end."""
    made = []

    def make(*given):
        made.append(Models(given))
        return made[-1]

    yield make
    for models in made:
        models.close()


def test_a_new_version_takes_over(add, make):
    base = add(1, 2)
    models = make(Source("small", base))
    assert not models.ready
    updated(models)
    assert models.ready
    assert models.available == {"small": [2]}
    add(10)
    (base / "11.part").mkdir()
    (base / "12").write_text("no folder")
    (base / str(2**63)).mkdir()  # beyond what a message can say
    updated(models)
    assert models.find("small").version == 10
    assert states(models) == {10: "AVAILABLE", 2: "END"}
    shutil.rmtree(base / "2")
    updated(models)
    assert states(models) == {10: "AVAILABLE"}
    with pytest.raises(ServingError) as raised:
        models.find("small", 2)
    assert raised.value.code == CODES.NOT_FOUND
    assert raised.value.message == "Servable not found for request: Specific(small, 2)"


def test_a_version_is_unloaded_when_its_last_request_ends(add, make):
    models = make(Source("small", add(1)))

    async def scenario():
        await models.update()
        old = models.find("small")
        old.active = 1
        add(2)
        await models.update()
        assert models.find("small").version == 2
        await asyncio.sleep(0.2)
        during = states(models)
        text = {"text": strings([b"a"])}
        assert old.signatures["serving_default"].run(text, ["upper"])["upper"].tolist() == [b"A"]
        old.active = 0
        await asyncio.gather(*models._unloading)
        return during

    assert asyncio.run(scenario()) == {2: "AVAILABLE", 1: "UNLOADING"}
    assert states(models) == {2: "AVAILABLE", 1: "END"}


def test_a_broken_version_leaves_the_old_one(add, make):
    base = add(1)
    models = make(Source("small", base))
    updated(models)
    (base / "2").mkdir()
    (base / "2" / "saved_model.pb").write_bytes(b"half of a model")
    updated(models)
    updated(models)
    assert models.find("small").version == 1
    broken, old = models.statuses("small")
    assert (broken.version, broken.state, old) == (2, "END", (1, "AVAILABLE", 0, ""))
    assert broken.code != 0
    assert broken.message
    shutil.rmtree(base / "2")
    add(2)  # repaired
    updated(models)
    assert states(models) == {2: "AVAILABLE", 1: "END"}


def test_warming_up_comes_before_serving(add, make):
    base = add(1)
    models = make(Source("small", base))
    updated(models)
    for version, text in ((2, b"bad"), (3, b"good")):
        place = add(version) / str(version) / WARM_UP_FILE
        place.parent.mkdir(exist_ok=True)
        log = prediction_log_pb2.PredictionLog()
        log.predict_log.request.CopyFrom(request(text=strings([text])))
        with tf.io.TFRecordWriter(str(place)) as file:
            file.write(log.SerializeToString())
        updated(models)
        expected = {2: (1, "END"), 3: (3, "AVAILABLE")}[version]
        assert (models.find("small").version, states(models)[version]) == expected
    assert "a bad text" in models.statuses("small", 2)[0].message


def test_policies(add, make):
    base = add(1, 2, 3, 5)
    for policy, expected in (
        ({}, [5]),
        ({"latest": 2}, [3, 5]),
        ({"latest": 0}, [1, 2, 3, 5]),
        ({"specific": frozenset([1, 3, 4])}, [1, 3]),
    ):
        models = make(Source("small", base, **policy))
        updated(models)
        assert models.available == {"small": expected}


def test_labels(add, make):
    models = make(Source("small", add(1, 2), 0, labels={"stable": 1, "next": 3}))
    updated(models)
    assert models.find("small", label="stable").version == 1
    assert models.statuses("small", label="stable")[0].version == 1
    for label, code, message in (
        ("next", CODES.NOT_FOUND, "Servable not found for request: Specific(small, 3)"),
        ("old", CODES.INVALID_ARGUMENT, "Unrecognized servable version label: old"),
    ):
        with pytest.raises(ServingError) as raised:
            models.find("small", label=label)
        assert (raised.value.code, raised.value.message) == (code, message)


def test_a_folder_that_cannot_be_read_is_no_order_to_stop(add, make):
    base = add(1)
    models = make(Source("small", base))
    updated(models)
    base.rename(base.with_name("away"))
    updated(models)
    assert models.find("small").version == 1


def test_an_empty_folder_is(add, make):
    base = add(1)
    models = make(Source("small", base))
    updated(models)
    shutil.rmtree(base / "1")
    updated(models)
    assert models.available == {"small": []}
    assert not models.ready


def test_folders_are_not_watched_at_intervals_of_0(add):
    models = Models([Source("small", add(1))], poll_seconds=0)
    asyncio.run(asyncio.wait_for(models.watch(), 30))
    assert not models.ready
    models.close()


def test_reload(add, make):
    base, other = add(1, 2), add(1, name="other")
    models = make(Source("small", base), Source("other", other))
    updated(models)
    asyncio.run(
        models.reload([Source("small", base, 0, labels={"stable": 1}), Source("two", base)])
    )
    assert models.available == {"small": [1, 2], "two": [2]}
    assert models.find("small", label="stable").version == 1
    with pytest.raises(ServingError) as raised:
        models.find("other")
    assert raised.value.code == CODES.NOT_FOUND
    with pytest.raises(ServingError) as raised:
        asyncio.run(models.reload([Source("small", base, labels={"stable": 7})]))
    assert raised.value.code == CODES.FAILED_PRECONDITION
    assert "assign label to version 7" in raised.value.message
    assert models.find("small", label="stable").version == 1
    with pytest.raises(ServingError) as raised:
        asyncio.run(models.reload([Source("new", base / "nothing")]))
    assert raised.value.code == CODES.UNKNOWN


def test_reload_makes_few_copies(add, make):
    base = add(1)
    models = make(Source("small", base))
    updated(models)
    with pytest.raises(ServingError) as raised:
        asyncio.run(models.reload([Source(f"copy{n}", base) for n in range(5)]))
    assert raised.value.code == CODES.RESOURCE_EXHAUSTED
    assert models.available == {"small": [1]}


def test_reload_reads_no_other_folder(add, make):
    base, secret = add(1), add(1, name="secret")
    os.symlink(secret, base / "link")
    models = make(Source("small", base))
    updated(models)
    neighbours = [secret, base.parent, base / ".." / "secret", base / "link", base.parent / "smal"]
    for place in (*neighbours, base / "\0"):
        with pytest.raises(ServingError) as raised:
            asyncio.run(models.reload([Source("small", base), Source("other", place)]))
        assert raised.value.code == CODES.PERMISSION_DENIED
    assert models.available == {"small": [1]}


CONFIG = """
model_config_list {
  config {
    name: "ner" base_path: "/models/ner" model_platform: "tensorflow"
    model_version_policy { specific { versions: 3 versions: 7 } }
    version_labels { key: "stable" value: 3 }
  }
  config { name: "all" base_path: "/models/b" model_platform: "tensorflow"
    model_version_policy { all {} } }
  config { name: "two" base_path: "/models/c" model_platform: "tensorflow"
    model_version_policy { latest { num_versions: 2 } } }
  config { name: "plain" base_path: "/models/d" model_platform: "tensorflow" }
}
"""


def test_a_configuration_of_tensorflow_serving(tmp_path):
    (tmp_path / "models.config").write_text(CONFIG)
    ner, everything, two, plain = sources.read_config(tmp_path / "models.config")
    assert (ner.name, str(ner.base)) == ("ner", "/models/ner")
    assert ner.labels == {"stable": 3}
    there = {1, 3, 9, 12}
    assert [s.wanted(there) for s in (ner, everything, two, plain)] == [{3}, there, {9, 12}, {12}]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", "at least one config"),
        ("model_config_list {", "ModelServerConfig as text"),
        ("models {}", "ModelServerConfig as text"),
        ("custom_model_config {}", "custom_model_config"),
        ('model_config_list { config { name: "a" } }', "base_path"),
        ('model_config_list { config { name: "a" base_path: "b" } }', "model_platform"),
        (
            'model_config_list { config { name: "a" base_path: "b" model_platform: "torch" } }',
            "'torch'",
        ),
    ],
)
def test_wrong_configurations(tmp_path, text, expected):
    path = tmp_path / "models.config"
    path.write_text(text)
    with pytest.raises(ConfigError, match="models.config.*" + expected):
        sources.read_config(path)


def test_a_name_twice():
    one = 'config { name: "a" base_path: "b" model_platform: "tensorflow" }'
    config = text_format.Parse(
        f"model_config_list {{ {one} {one} }}", model_server_config_pb2.ModelServerConfig()
    )
    with pytest.raises(ValueError, match="'a'"):
        sources.sources(config)
