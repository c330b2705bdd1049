"""Makes a trained model one of those that come with kerasner: python -m kerasner.pretrained.pack.

    python -m kerasner.pretrained.pack FOLDER NAME [--version 1]

Writes two archives beside the registry: the model's own files, and its word vectors under a name
made of their content, so that models with the same vectors share them.
"""

import argparse
import json
from pathlib import Path

from kerasner import storage
from kerasner.pretrained import archives

# Word vectors are the compressed arrays beside the weights.
_VECTORS = "*.npz"


def pack_model(folder: Path, name: str, version: int = 1) -> None:
    """Packs the model that training wrote to `folder` and registers it as `name`."""
    storage.read_config(folder)
    vectors = [file for file in folder.glob(_VECTORS) if file.name != storage.WEIGHTS_FILE]
    own = [file for file in folder.iterdir() if file not in vectors]
    entries = [_packed(own, f"{name}-{version}.zip")]
    for file in vectors:
        digest = archives.sha256(file)
        entries.append(_packed([file], f"vectors-{digest[:12]}.zip"))
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
