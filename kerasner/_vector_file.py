"""The file of quantised word vectors: a compressed .npz of the words as text and of arrays."""

import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from kerasner.errors import ArchiveError, DataError

_Vectors = TypeVar("_Vectors")


def save(path: str | os.PathLike, words: Sequence[str], **arrays: np.ndarray) -> None:
    """Writes one file, the same bytes for the same content; beside `path` first, then renamed."""
    path = Path(path)
    broken = next((word for word in words if "\n" in word), None)
    if broken is not None:
        raise DataError(f"Expected words without line breaks. Received: {broken!r}")
    blob = np.frombuffer("\n".join(words).encode("utf-8"), np.uint8)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            np.savez_compressed(file, words=blob, **arrays)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def load(
    path: str | os.PathLike, make: Callable[..., _Vectors], names: Sequence[str], kind: str
) -> _Vectors:
    """Reads a file written by `save`.

    Args:
        path: the file.
        make: from the words and the arrays to the result; DataError if they do not fit together.
        names: of the arrays; the first has a row a word.
        kind: what the file should hold, for messages.

    Raises:
        ArchiveError: the file is missing, damaged or of another kind.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as parts:
            text = parts["words"].tobytes().decode("utf-8")
            arrays = [parts[name] for name in names]
        # No words and one empty word give the same text.
        return make(text.split("\n") if len(arrays[0]) else [], *arrays)
    except FileNotFoundError:
        raise ArchiveError(f"{path}: no such file, expected {kind}") from None
    except (
        OSError, EOFError, ValueError, KeyError, TypeError, AttributeError,
        MemoryError, NotImplementedError, zipfile.BadZipFile, zlib.error, DataError,
    ) as error:  # fmt: skip
        raise ArchiveError(f"{path}: damaged, or not a file of {kind}: {error}") from error


def check_distinct(words: Sequence[str]) -> None:
    """Raises DataError for words of which one is repeated."""
    if len(set(words)) != len(words):
        raise DataError(f"Expected distinct words. Received: {len(words)} with repetitions")
