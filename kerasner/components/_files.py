"""Vocabulary files, as tables in the graph read them."""

import tempfile
from pathlib import Path

from kerasner.errors import ArchiveError


class Fitted:
    """A vocabulary file read by a table in the graph.

    Tables take the path of a file: a list of 340,000 words would become part of the graph.
    """

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="kerasner-")

    def _write(self, words: list[str]) -> str:
        path = Path(self._folder.name) / "vocabulary.txt"
        path.write_text("".join(f"{word}\n" for word in words), encoding="utf-8", newline="\n")
        return str(path)


def read_lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArchiveError(f"{path}: not a readable list of words: {error}") from error
    return text.removesuffix("\n").split("\n") if text else []
