"""Makes a trained model one of those that come with kerasner: python -m kerasner.pretrained.pack.

    python -m kerasner.pretrained.pack FOLDER NAME [--version 1]

Writes two archives beside the registry: the model's own files, its weights as float16, and its word
vectors under a name made of their content, so that models with the same vectors share them.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from kerasner import storage
from kerasner.pretrained import archives


def pack_model(folder: Path, name: str, version: int = 1) -> None:
    """Packs the model that training wrote to `folder` and registers it as `name`."""
    storage.read_config(folder)
    weights = storage.load_weights(folder / storage.WEIGHTS_FILE)
    vectors = [file for file in folder.glob("*.npz") if file.name != storage.WEIGHTS_FILE]
    with tempfile.TemporaryDirectory(prefix="kerasner-") as scratch:
        halved = Path(scratch) / storage.WEIGHTS_FILE
        storage.save_weights(halved, {k: v.astype(np.float16) for k, v in weights.items()})
        own = [file for file in folder.iterdir() if file.suffix != ".npz"]
        entries = [_packed([*own, halved], f"{name}-{version}.zip")]
    for file in vectors:
        entries.append(_packed([file], f"vectors-{archives.sha256(file)[:12]}.zip"))
    path = archives.FOLDER / archives.REGISTRY
    registry = json.loads(path.read_text(encoding="utf-8"))
    registry[name] = {"version": version, "archives": entries}
    storage.write_json(path, registry)


def _packed(files: list[Path], name: str) -> dict[str, str]:
    return {"file": name, "sha256": archives.pack(files, archives.FOLDER / name)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    parser.add_argument("--version", type=int, default=1)
    arguments = parser.parse_args()
    pack_model(arguments.folder, arguments.name, arguments.version)
