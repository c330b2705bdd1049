"""Folders and files that are there whole or not at all."""

import keras
import numpy as np
import pytest

from kerasner import storage
from kerasner.errors import ArchiveError, ConfigError
from kerasner.layers import CharCNN, QuantizedEmbedding
from kerasner.network import NerNetwork


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_takes_the_place_of_the_old_one(tmp_path):
    for content in ("old", "new"):
        with storage.replacing_folder(tmp_path / "sub" / "model") as beside:
            (beside / content).touch()
            assert "new" not in names(tmp_path / "sub")
    assert names(tmp_path / "sub") == ["model"]
    assert names(tmp_path / "sub" / "model") == ["new"]


def test_a_failure_leaves_the_old_folder(tmp_path):
    with storage.replacing_folder(tmp_path / "model") as beside:
        (beside / "old").touch()
    with pytest.raises(ZeroDivisionError):
        with storage.replacing_folder(tmp_path / "model") as beside:
            (beside / "new").touch()
            raise ZeroDivisionError
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["old"]


def test_a_failure_of_the_last_step_brings_the_old_folder_back(tmp_path):
    with storage.replacing_folder(tmp_path / "model") as beside:
        (beside / "old").touch()
    with pytest.raises(ConfigError, match="cannot write"):
        with storage.replacing_folder(tmp_path / "model") as beside:
            beside.rmdir()  # so that it cannot be renamed
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["old"]


def test_what_is_left_of_a_killed_process_is_no_hindrance(tmp_path):
    with storage.replacing_folder(tmp_path / "model") as beside:
        stale = beside.name
    (tmp_path / stale).mkdir()
    (tmp_path / stale / "half").touch()
    with storage.replacing_folder(tmp_path / "model") as beside:
        (beside / "whole").touch()
    assert names(tmp_path / "model") == ["whole"]


def test_below_a_file_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "a" / "b"):
        with pytest.raises(ConfigError, match=f"cannot write to {place}: Not a directory"):
            storage.check_writable(place)
    with pytest.raises(ConfigError, match="cannot write"):
        with storage.replacing_folder(tmp_path / "file" / "model"):
            pass
    with pytest.raises(ConfigError, match="cannot write"):
        storage.save_weights(tmp_path / "file" / "weights.npz", {})


def test_the_check_leaves_nothing_behind(tmp_path):
    storage.check_writable(tmp_path)
    storage.check_writable(tmp_path / "new" / "folder")
    assert names(tmp_path) == []


def test_only_models_and_empty_folders_are_replaced(tmp_path):
    storage.check_replaceable(tmp_path)
    storage.check_replaceable(tmp_path / "new")
    (tmp_path / "thesis.txt").touch()
    for place in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(ConfigError, match="is no model"):
            storage.check_replaceable(place)
    storage.write_json(tmp_path / "config.json", {"format": storage.FORMAT})
    storage.check_replaceable(tmp_path)


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(ConfigError, match="cannot look into .*: File name too long"):
        storage.check_replaceable(tmp_path / ("n" * 300))


@pytest.mark.parametrize("config", [None, [], {}, {"chainer": []}, {"chainer": None}])
def test_a_model_without_a_pipeline_is_damaged(tmp_path, config):
    storage.write_json(tmp_path / "config.json", {"format": storage.FORMAT, "config": config})
    with pytest.raises(ArchiveError, match="damaged: holds no configuration"):
        storage.read_config(tmp_path)


def network(embedding=None, **settings):
    embedding = embedding or QuantizedEmbedding(3, trainable_rows=2, frozen_rows=4)
    characters = CharCNN(2, [2, 3], char_dim=2, vocabulary_size=4)
    model = NerNetwork(["O", "B-X"], embedding, characters, n_hidden_list=[2, 3], **settings)
    model.build({"words": (None, None), "chars": (None, None, None)})
    return model


CHARACTERS = ["embeddings", "kernel_0", "kernel_1", "bias"]
CHAIN = ["transitions", "left_boundary", "right_boundary", "kernel", "bias"]
DENSE, CELL = ["kernel", "bias"], ["kernel", "recurrent_kernel", "bias"]
NORM = ["gamma", "beta", "moving_mean", "moving_variance"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {},
            {f"recurrent_{i}": [f"{d}_{w}" for d in ("forward", "backward") for w in CELL]
             for i in (0, 1)} | {"crf": CHAIN},
        ),
        (
            {"cell_type": "gru", "two_dense_on_top": True, "use_crf": False},
            {f"recurrent_{i}/{d}": CELL for i in (0, 1) for d in ("forward", "backward")}
            | {"dense": DENSE, "crf": DENSE},
        ),
        (
            {"net_type": "cnn", "use_batch_norm": True},
            {"convolution_0": DENSE + NORM, "convolution_1": DENSE + NORM, "crf": CHAIN},
        ),
    ],
    ids=["lstm", "gru", "cnn"],
)  # fmt: skip
def test_names_of_weights(settings, expected, tmp_path):
    """All that training changes and no more, under names of ours."""
    model = network(**settings)
    expected = {"token_embedding": ["embeddings"], "char_features": CHARACTERS} | expected
    weights = storage.layer_weights(model)
    assert set(weights) == {f"{layer}/{name}" for layer in expected for name in expected[layer]}
    trained = {id(weight) for weight in weights.values()}
    others = [weight for weight in model.weights if id(weight) not in trained]
    assert {weight.name.split("/")[-1].split(":")[0] for weight in others} == {"codes", "scales"}
    values = {name: np.random.normal(size=w.shape) for name, w in weights.items()}
    storage.save_weights(tmp_path / "weights.npz", values)
    storage.assign_weights(model, storage.load_weights(tmp_path / "weights.npz"), "here")
    for name, weight in weights.items():
        np.testing.assert_allclose(weight, values[name], rtol=1e-6)


def test_frozen_layers_are_stored_and_layers_of_layers_too():
    layers = [keras.layers.Embedding(5, 2), keras.layers.Dense(3), keras.layers.Dense(3)]
    model = network(keras.Sequential(layers), net_type="cnn")
    whole = list(storage.layer_weights(model))
    assert whole[:5] == [
        f"token_embedding/{name}" for name in ("embeddings", "kernel", "bias", "kernel_1", "bias_1")
    ]
    model.trainable = False
    assert list(storage.layer_weights(model)) == whole


def test_weights_come_back(tmp_path):
    weights = {"a/kernel": np.arange(6.0).reshape(2, 3), "b": np.int64(3), "c": np.zeros((0, 2))}
    storage.save_weights(tmp_path / "weights.npz", weights)
    assert names(tmp_path) == ["weights.npz"]
    loaded = storage.load_weights(tmp_path / "weights.npz")
    assert set(loaded) == set(weights)
    for name, value in weights.items():
        np.testing.assert_array_equal(loaded[name], value)


def test_equal_weights_are_equal_files(tmp_path):
    for name in ("a.npz", "b.npz"):
        storage.save_weights(tmp_path / name, {"w": np.ones(3)})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "weights.npz", w=np.array([print], dtype=object))
    with pytest.raises(ArchiveError, match="damaged"):
        storage.load_weights(tmp_path / "weights.npz")


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04", b"text"])
def test_damaged_weights(tmp_path, content):
    path = tmp_path / "weights.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArchiveError, match="weights.npz: missing or damaged"):
        storage.load_weights(path)
