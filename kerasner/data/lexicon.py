"""Lists of names in a JSON file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasner.errors import DataError


def read_lists(path: Path) -> dict[str, list[str]]:
    """Reads lists of names.

    Args:
        path: a JSON file, an object of lists by their names, each a list of entries (words with
            white space between them) or, as DeepPavlov's `dstc_slot_vals.json`, an object of such
            lists, which are joined.

    Returns:
        The entries of each list, one at least.

    Raises:
        DataError: it is no such file.

    Example: `{"city": ["Rio", "New York"]}`, or `{"city": {"new york": ["New York", "NYC"]}}`.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))  # Windows may mark it so
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: expected a JSON file of lists; cannot be read: {error}"
        ) from error
    if not isinstance(content, Mapping) or not content:
        raise DataError(f"{path}: expected an object of lists, found {str(content)[:100]!r}")
    lists = {}
    for name, entries in content.items():
        if isinstance(entries, Mapping):
            entries = [entry for part in entries.values() for entry in _strings(part, path, name)]
        lists[name] = _strings(entries, path, name)
        if not any(map(str.split, lists[name])):
            raise DataError(f"{path}: the list {name!r} is empty")
        try:
            "".join(lists[name]).encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{path}: the list {name!r} holds what is no text: {error}") from error
    return lists


def _strings(entries: Any, path: Path, name: str) -> list[str]:
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise DataError(f"{path}: {name}: expected a list of strings, found {str(entries)[:100]!r}")
    return entries
