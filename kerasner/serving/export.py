"""Writing a SavedModel that takes raw strings and gives tags."""

import os
from pathlib import Path

import tensorflow as tf

from kerasner import storage
from kerasner.errors import ConfigError
from kerasner.tagger import Tagger


def export(tagger: Tagger, path: str | os.PathLike, version: int | None = None) -> Path:
    """Writes the SavedModel of a tagger.

    It runs wherever TensorFlow or TensorFlow Serving does, without kerasner, and offers the
    signatures `serving_default` and `entities` (raw text) and `tokens`. All of it is written
    beside its place and then renamed: a server that watches the folder never sees half a model.

    Args:
        tagger: any tagger.
        path: folder of the SavedModel, or of its versions where `version` is given.
        version: writes to the subfolder of that number, as TensorFlow Serving expects it.

    Returns:
        The folder of the SavedModel.

    Raises:
        kerasner.errors.ConfigError: the folder exists and holds something else, or cannot be
            written.
    """
    place = Path(path).absolute()
    if version is not None:
        if not isinstance(version, int) or version < 0:
            raise ConfigError(f"received version {version!r}; expected a number of 0 or more")
        place /= str(version)
    graph = tagger.graph
    try:
        if _holds_something_else(place):
            raise ConfigError(
                f"{place} exists and is no SavedModel; expected a new or empty folder"
            )
        with storage.replacing_folder(place) as beside:
            tf.saved_model.save(
                graph,
                str(beside),
                signatures=graph.signatures,
            )
    except OSError as error:
        raise ConfigError(f"cannot write {place}: {error.strerror or error}") from error
    except tf.errors.OpError as error:  # such as a full disk
        raise ConfigError(f"cannot write {place}: {error.message}") from error
    return place


def _holds_something_else(place: Path) -> bool:
    if not place.is_dir():
        return os.path.lexists(place)
    return any(place.iterdir()) and not (place / "saved_model.pb").is_file()
