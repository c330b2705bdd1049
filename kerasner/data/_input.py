"""What comes from outside: settings, folders and files."""

import codecs
import json
import os
from os import PathLike
from pathlib import Path
from typing import Any

from kerasner.config import find_file
from kerasner.errors import ConfigError, DataError

PARTS = ("train", "valid", "test")


def data_folder(path: str | PathLike[str], expected: str) -> Path:
    """The folder of a data set, looked for as `config.find_file` does.

    Args:
        path: as the configuration has it.
        expected: what it should hold, for error messages.
    """
    try:
        folder = find_file(path, "data_path")
    except ConfigError as error:
        raise ConfigError(f"{error}; {expected}") from None
    if not os.path.isdir(folder):
        raise DataError(f"data folder {folder} is not a folder: {expected}")
    return folder


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, with or without a byte order mark; a `DataError` otherwise."""
    try:
        data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: expected UTF-8, received byte 0x{data[error.start]:02x} "
            f"({error.reason})"
        ) from None


def read_json(path: Path) -> Any:
    """The content of a JSON file; a `DataError` that names line and column if it is none."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected JSON: {error}") from None
