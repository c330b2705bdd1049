"""Paths of the named entity recognition pipelines: `ner.NAME` is the path of `NAME.json`."""

from pathlib import Path

from kerasner.errors import nearest

_PATHS = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.json"))}


def __getattr__(name: str) -> Path:
    try:
        return _PATHS[name]
    except KeyError:
        raise AttributeError(f"no config is named {name!r}: {nearest(name, _PATHS)}") from None


def __dir__() -> list[str]:
    return list(_PATHS)
