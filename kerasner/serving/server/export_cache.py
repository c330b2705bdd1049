"""Models that are no SavedModels yet: exported once, then served like any other folder."""

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path

from kerasner import storage
from kerasner._version import __version__
from kerasner.config import home
from kerasner.errors import ConfigError
from kerasner.pretrained import archives
from kerasner.tagger import Tagger

_VERSION = 1

_LOG = logging.getLogger(__name__)


def base_folder(model: Path | str) -> Path:
    """The folder of versions to serve a model from.

    Args:
        model: a folder that training wrote, or one that holds numbered versions already, or the
            name of a model that comes with kerasner.

    Returns:
        The folder itself if it holds versions, else one below `{KERASNER_HOME}/cache`, written now
        unless the same model was exported by this version of kerasner before.

    Raises:
        kerasner.errors.KerasnerError: the model is damaged, or the cache cannot be written.
    """
    if isinstance(model, Path) and not (model / storage.CONFIG_FILE).is_file():
        return model
    name = Path(model).absolute().name  # which the model card repeats
    place = home() / "cache" / "serving" / _digest(model, name)
    base = place / name
    if base.is_dir():
        return base
    beside = place.with_name(f".{place.name}.{os.getpid()}.part")
    _LOG.info("exporting %s to %s", model, base)
    try:
        beside.mkdir(parents=True, exist_ok=True)
        tagger = Tagger.load(model) if isinstance(model, Path) else archives.pretrained(model)
        tagger.export(beside / base.name, _VERSION)
        beside.rename(place)
    except OSError as error:
        if not base.is_dir():  # another process may have been faster
            raise ConfigError(
                f"cannot write {base}: {error.strerror or error}; it is where a model is "
                "exported to be served, and KERASNER_HOME names another place"
            ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return base


def _digest(model: Path | str, name: str) -> str:
    """Changes with the model's name and content, and with the version of kerasner."""
    if isinstance(model, Path):
        files = sorted(place for place in model.iterdir() if place.is_file())
        content = [[place.name, archives.sha256(place)] for place in files]
    else:
        content = json.loads((archives.FOLDER / archives.REGISTRY).read_text("utf-8"))[model]
    return hashlib.sha256(json.dumps([__version__, name, content]).encode()).hexdigest()[:12]
