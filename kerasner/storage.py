"""Writing and reading trained models: a folder of configuration, vocabularies and weights."""

import contextlib
import json
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kerasner.errors import ArchiveError, ConfigError
from kerasner.layers import ProductQuantizedEmbedding, QuantizedEmbedding
from kerasner.network import TaggingNetwork

FORMAT = 1
CONFIG_FILE = "config.json"
START_FILE = "start.json"  # in its place where a network knows no tags yet
WEIGHTS_FILE = "weights.npz"

# What reading a damaged .npz may raise, pickled content included.
_NPZ_ERRORS = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A new folder to write into, put in the place of `path` if all goes well.

    Raises:
        ConfigError: the place cannot be written to.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        yield beside
        if path.exists():
            path.rename(old)
        beside.rename(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if old.exists() and not path.exists():
            old.rename(path)  # interrupted between the two
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def check_writable(folder: Path) -> None:
    """Raises ConfigError where a folder cannot be made or written to. Leaves nothing behind."""
    try:
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise ConfigError(
            f"cannot write to {folder}: {error.strerror}; expected a folder to write to"
        ) from error


def check_replaceable(folder: Path, marker: str = CONFIG_FILE) -> None:
    """Raises ConfigError where a model cannot be saved: it would replace what is no model.

    Args:
        folder: where to.
        marker: file that a model of the kind has.
    """
    try:
        if folder.is_dir() and not any(folder.iterdir()):
            return
        is_other = folder.exists() and not (folder / marker).is_file()
    except OSError as error:
        raise ConfigError(
            f"cannot look into {folder}: {error.strerror}; expected a new or empty folder"
        ) from error
    if is_other:
        raise ConfigError(
            f"{folder} exists and is no model of this kind; expected a new or empty folder"
        )


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """The content of a JSON file of a model.

    Raises:
        ArchiveError: there is none, or it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArchiveError(f"{path.parent}: no model here, expected a file {path.name}") from None
    except (OSError, ValueError) as error:
        raise ArchiveError(f"{path}: damaged: {error}") from error


def read_config(folder: Path, name: str = CONFIG_FILE) -> dict[str, Any]:
    """The configuration of a saved model.

    Args:
        folder: of the model.
        name: of the file, `CONFIG_FILE` or `START_FILE`.

    Raises:
        ArchiveError: there is no model in the folder, or none that this version reads.
    """
    path = folder / name
    if name == CONFIG_FILE and is_start(folder):
        raise ArchiveError(
            f"{folder} knows no tags yet: give it as load_path of ner where a tagger is trained"
        )
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ArchiveError(f"{path}: expected a model of format {FORMAT}")
    config = content.get("config")
    if not isinstance(config, dict) or not isinstance(config.get("chainer"), dict):
        raise ArchiveError(f"{path}: damaged: holds no configuration")
    return content


def is_start(folder: Path) -> bool:
    """Whether a folder holds what `kerasner.encoder_pretraining` makes, and no tagger."""
    return (folder / START_FILE).is_file() and not (folder / CONFIG_FILE).is_file()


def layer_weights(model: TaggingNetwork) -> dict[str, Any]:
    """The trained variables of a network under names that no Keras version changes.

    With them go what training counts along, such as the moving means of batch normalisation, but
    not frozen word vectors: these belong to the vocabulary.
    """
    named = {}
    for prefix, layer in model.named_layers.items():
        frozen = isinstance(layer, (QuantizedEmbedding, ProductQuantizedEmbedding))
        weights = [layer.embeddings] if frozen else layer.weights
        for weight in weights:
            name = own = f"{prefix}/{weight.name.split('/')[-1].split(':')[0]}"
            count = 1
            while name in named:  # in a layer made of layers
                name, count = f"{own}_{count}", count + 1
            named[name] = weight
    return named


@contextlib.contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """A path to write to, renamed to `path` if all goes well.

    Raises:
        ConfigError: the place cannot be written to.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        os.replace(beside, path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def save_weights(path: Path, weights: Mapping[str, Any]) -> None:
    """Writes named variables or arrays; beside `path` first, then renamed."""
    with replacing_file(path) as beside, open(beside, "wb") as file:
        np.savez(file, **{name: np.asarray(value) for name, value in weights.items()})


def load_weights(path: Path) -> dict[str, np.ndarray]:
    """Reads what `save_weights` wrote.

    Raises:
        ArchiveError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except _NPZ_ERRORS as error:
        raise ArchiveError(f"{path}: missing or damaged weights: {error}") from error


def assign_weights(model: TaggingNetwork, stored: Mapping[str, np.ndarray], where: str) -> None:
    """Sets the variables of a built model.

    Raises:
        ArchiveError: the names or shapes are not those of the model.
    """
    weights = layer_weights(model)
    if missing := sorted(set(weights) ^ set(stored)):
        raise ArchiveError(f"{where}: weights that the model and the file do not share: {missing}")
    for name, weight in weights.items():
        if tuple(weight.shape) != stored[name].shape:
            raise ArchiveError(
                f"{where}: {name} has shape {stored[name].shape}; "
                f"the model expects {tuple(weight.shape)}"
            )
    for name, weight in weights.items():
        weight.assign(stored[name])
