"""Makes a trained model one of those that come with kerasner: python -m kerasner.pretrained.pack.

The model is a tagger, a language model, or a lexicon (a folder with lexicon.json).

    python -m kerasner.pretrained.pack FOLDER NAME [--version 1]

Writes archives beside the registry: the model's own files, its weights as float16, and its word
vectors, if any, under a name made of their content, so that models with the same ones share them.
"""

import argparse
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from kerasner import storage
from kerasner.components import language_model, lexicon
from kerasner.pretrained import archives


def pack_model(folder: Path, name: str, version: int = 1) -> None:
    """Packs the model that training wrote to `folder` and registers it as `name`."""
    entry: dict[str, Any] = {"version": version}
    weights = None
    # A tagger may have files of these names too.
    if (folder / storage.CONFIG_FILE).is_file():
        storage.read_config(folder)
        weights = folder / storage.WEIGHTS_FILE
    elif (folder / f"{language_model.NAME}.json").is_file():
        entry["kind"] = language_model.NAME
        weights = folder / f"{language_model.NAME}-weights.npz"  # 8-bit already
    elif (folder / f"{lexicon.NAME}.json").is_file():
        entry["kind"] = lexicon.NAME
    else:
        storage.read_config(folder)  # tells what is missing
    vectors = [file for file in folder.glob("*.npz") if file != weights]
    with tempfile.TemporaryDirectory(prefix="kerasner-") as scratch:
        own = [file for file in folder.iterdir() if file not in vectors]
        if "kind" not in entry:
            halved = Path(scratch) / weights.name
            values = storage.load_weights(weights).items()
            storage.save_weights(halved, {key: value.astype(np.float16) for key, value in values})
            own = [halved if file == weights else file for file in own]
        entry["archives"] = [_packed(own, f"{name}-{version}.zip")]
    entry["archives"] += [_shared(file) for file in vectors]
    path = archives.FOLDER / archives.REGISTRY
    registry = json.loads(path.read_text(encoding="utf-8"))
    storage.write_json(path, {**registry, name: entry})


def _shared(vectors: Path) -> dict[str, str]:
    """The archive of word vectors, which may be there already, with another name of the file."""
    name = f"vectors-{archives.sha256(vectors)[:12]}.zip"
    path = archives.FOLDER / name
    if not path.is_file():
        return _packed([vectors], name)
    with zipfile.ZipFile(path) as archive:
        is_named_so = archive.namelist() == [vectors.name]
    entry = {"file": name, "sha256": archives.sha256(path)}
    return entry if is_named_so else {**entry, "as": vectors.name}


def _packed(files: list[Path], name: str) -> dict[str, str]:
    return {"file": name, "sha256": archives.pack(files, archives.FOLDER / name)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    parser.add_argument("--version", type=int, default=1)
    arguments = parser.parse_args()
    pack_model(arguments.folder, arguments.name, arguments.version)
