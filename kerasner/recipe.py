"""What a configuration asks for: its data set, what is trained, and where models lie."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kerasner import config as configuration
from kerasner import downloads, registry, storage
from kerasner.components import MAIN
from kerasner.data import DataLearningIterator
from kerasner.errors import ConfigError
from kerasner.evaluation import Metric
from kerasner.evaluation import metrics as find_metrics
from kerasner.nesting import inline
from kerasner.pipe import check
from kerasner.pretrained import archives
from kerasner.train_settings import TrainSettings

Config = Mapping[str, Any] | str | os.PathLike


def read_data(config: Config, settings: Iterable[str] = ()) -> DataLearningIterator:
    """The data set of a configuration, of which the group "train" is checked first."""
    resolved = resolve(config, settings)
    train_group(resolved)
    return read(resolved)


def resolve(config: Config, settings: Iterable[str], download: bool = False) -> dict[str, Any]:
    """A configuration as it is used: settings and variables in their places, its pipe checked.

    Args:
        config: a dict, the path of a JSON file, or the name of an installed configuration.
        settings: changes of the form "path.to.key=value".
        download: whether to fetch the files of metadata.download.
    """
    if isinstance(settings, (str, bool)):
        raise ConfigError(
            f'settings: expected a list of "path.to.key=value", received {settings!r:.200} '
            "(download is given by its name: download=True)"
        )
    changed = configuration.override(configuration.load(config), settings)
    if "chainer" not in changed:
        raise ConfigError("the configuration has no group 'chainer'")
    resolved = configuration.resolve(changed)
    if download:
        downloads.download(resolved)
    resolved = inline(resolved)
    check(resolved["chainer"])
    return resolved


def saved_config(folder: Path, data_path: str) -> dict[str, Any]:
    """The configuration of a saved model, to be scored on the data in another folder.

    Raises:
        kerasner.errors.ArchiveError: there is no model in the folder.
    """
    config = storage.read_config(folder)["config"]
    reader = {"class_name": "conll2003_reader", **config.get("dataset_reader", {})}
    iterator = {"class_name": "data_learning_iterator", **config.get("dataset_iterator", {})}
    iterator_class = registry.get(iterator["class_name"], "dataset_iterator.class_name")
    if "dataset_path" in registry.parameters(iterator_class):
        iterator["dataset_path"] = data_path
    reader["data_path"] = data_path
    return {**config, "dataset_reader": reader, "dataset_iterator": iterator}


def read(config: Mapping[str, Any]) -> DataLearningIterator:
    """The data set of a resolved configuration."""
    if "dataset_reader" not in config:
        raise ConfigError("the configuration has no group 'dataset_reader'")
    reader_settings = dict(config["dataset_reader"])
    reader_class = _class(reader_settings, "dataset_reader", "read")
    # A reader's settings are the arguments of its `read`.
    registry.check_parameters(reader_class().read, reader_settings, "dataset_reader")
    data = reader_class().read(**reader_settings)
    iterator_settings = dict(config.get("dataset_iterator", {}))
    iterator_settings.setdefault("class_name", "data_learning_iterator")
    iterator_class = _class(iterator_settings, "dataset_iterator", "instances")
    return _component(iterator_class, {"data": data, **iterator_settings}, "dataset_iterator")


def train_group(config: Mapping[str, Any]) -> tuple[TrainSettings, list[Metric]]:
    """The group "train" of a resolved configuration, and its metrics."""
    train = _component(TrainSettings, config.get("train", {}), "train")
    return train, find_metrics(train.metric_entries, config["chainer"])


def main_entry(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entry of the trained component."""
    found = [entry for entry in config["chainer"]["pipe"] if entry.get("class_name") in MAIN]
    if len(found) != 1:
        raise ConfigError(f"chainer.pipe: expected one {' or '.join(MAIN)}, found {len(found)}")
    return found[0]


def save_path_of(config: Mapping[str, Any]) -> Path:
    """Where the model of a resolved configuration is saved."""
    entry = main_entry(config)
    path, name = entry.get("save_path"), entry["class_name"]
    if not path:
        raise ConfigError(f"chainer.pipe ({name}): save_path is needed, the folder of the model")
    return configuration.user_path(str(path)).absolute()


def start_values(config: Mapping[str, Any], save_path: Path) -> Path | str | None:
    """The model whose weights training starts from, if it is another one than is trained.

    Returns:
        Its folder, or the name of one that comes with kerasner.
    """
    entry = main_entry(config)
    path = entry.get("load_path")
    if not path or entry["class_name"] != "ner":
        return None
    if configuration.user_path(str(path)).absolute() == save_path:
        return path if path in archives.names() and not save_path.exists() else None
    where = "chainer.pipe (ner).load_path"
    try:
        folder = configuration.find_file(str(path), where)
    except ConfigError as error:
        if path in archives.names():
            return str(path)
        names = ", ".join(archives.names())
        raise ConfigError(f"{error}; models that come with kerasner: {names}") from None
    if not os.path.isfile(folder / storage.CONFIG_FILE) and not storage.is_start(folder):
        raise ConfigError(
            f"{where}: expected the folder of a trained model to start from, or null; "
            f"{folder} holds none"
        )
    return folder


def model_folder(config: Mapping[str, Any]) -> Path | None:
    """Where the model of a resolved configuration lies, if there is one."""
    places = [save_path_of(config)]
    if load_path := main_entry(config).get("load_path"):
        with contextlib.suppress(ConfigError):
            places.append(configuration.find_file(str(load_path), "load_path"))
    return next((p for p in places if os.path.isfile(p / storage.CONFIG_FILE)), None)


def portable(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a saved model keeps of its configuration: no path of the machine that trained it."""
    pipe = [
        {key: value for key, value in entry.items() if key not in ("load_path", "save_path")}
        for entry in config["chainer"]["pipe"]
    ]
    train = {k: v for k, v in config.get("train", {}).items() if k != "tensorboard_log_dir"}
    kept = {"chainer": {**config["chainer"], "pipe": pipe}, "train": train}
    for group in ("dataset_reader", "dataset_iterator"):
        if group in config:
            settings = config[group].items()
            kept[group] = {k: v for k, v in settings if not k.endswith("_path")}
    return kept


def _class(settings: dict[str, Any], where: str, method: str) -> type:
    if "class_name" not in settings:
        raise ConfigError(f"{where}: expected class_name")
    name = settings.pop("class_name")
    found = registry.get(name, f"{where}.class_name")
    if not hasattr(found, method):
        raise ConfigError(
            f"{where}.class_name: expected a class with {method!r}, received {name!r}"
        )
    return found


def _component(component_class: type, settings: Mapping[str, Any], where: str) -> Any:
    registry.check_parameters(component_class, settings, where)
    return component_class(**settings)
