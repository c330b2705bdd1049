"""Writing a SavedModel that takes raw strings and gives tags."""

import os
from pathlib import Path

import tensorflow as tf

from kerasner import storage
from kerasner.config import user_path
from kerasner.errors import ConfigError
from kerasner.serving import card, warmup
from kerasner.tagger import Tagger


def export(tagger: Tagger, path: str | os.PathLike, version: int | None = None) -> Path:
    """Writes the SavedModel of a tagger.

    It runs wherever TensorFlow or TensorFlow Serving does, without kerasner, and offers the
    signatures `serving_default` and `entities` (raw text) and `tokens`; of a configuration with
    further inputs `tokens` alone. In `assets.extra` are the requests that TensorFlow Serving warms
    up with, a model card and the list of tags. All of it is written beside its place, under a name
    that is no number, and then renamed: a server that watches the folder never sees half a model.

    Args:
        tagger: any tagger.
        path: folder of the SavedModel, or of its versions where `version` is given. The last part
            of its name is that of the model.
        version: writes to the subfolder of that number, as TensorFlow Serving expects it.

    Returns:
        The folder of the SavedModel.

    Raises:
        kerasner.errors.ConfigError: the folder exists and holds something else, or cannot be
            written.
    """
    place = Path(path).absolute()
    name = place.name
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
            _write_extras(tagger, name, beside / "assets.extra")
    except OSError as error:
        raise ConfigError(f"cannot write {place}: {error.strerror or error}") from error
    except tf.errors.OpError as error:  # such as a full disk
        raise ConfigError(f"cannot write {place}: {error.message}") from error
    return place


def model_name(source: str) -> str:
    """What a model is served as: the last part of what it is loaded from.

    Args:
        source: name of a model, folder of a model, or path of a configuration.

    Example: `model_name("configs/my_ner.json")` is `"my_ner"`.
    """
    return os.path.basename(os.path.abspath(user_path(source))).removesuffix(".json")


def next_version(folder: Path) -> int:
    """The number after the highest version in a model's folder; 1 where there is none."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return max((int(name) for name in names if name.isascii() and name.isdecimal()), default=0) + 1


def _write_extras(tagger: Tagger, name: str, folder: Path) -> None:
    folder.mkdir()
    inputs = {
        key: [spec.name for spec in function.input_signature]
        for key, function in tagger.graph.signatures.items()
    }
    language = tagger.chainer.text_splitter.sentence_splitter.language
    warmup.write(folder / warmup.FILE, name, inputs, language)
    (folder / "model_card.md").write_text(card.model_card(tagger, name), encoding="utf-8")
    (folder / "tags.txt").write_text("\n".join(card.tags(tagger)) + "\n", encoding="utf-8")


def _holds_something_else(place: Path) -> bool:
    if not place.is_dir():
        return os.path.lexists(place)
    return any(place.iterdir()) and not (place / "saved_model.pb").is_file()
