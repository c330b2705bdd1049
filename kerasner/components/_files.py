"""Files of words: what tables in the graph read, and what a model's folder holds."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from kerasner.errors import ArchiveError, ConfigError
from kerasner.storage import replacing_file


class TableFile:
    """A file of words that a table in the graph reads, one a line; it goes with this object.

    Tables take the path of a file: a list of 340,000 words would become part of the graph.

    Args:
        words: without line breaks, none empty.
    """

    def __init__(self, words: Sequence[str]):
        self._folder = tempfile.TemporaryDirectory(prefix="kerasner-")
        self.path = str(Path(self._folder.name) / "vocabulary.txt")
        write_lines(Path(self.path), words)


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Writes lines of text into an existing folder."""
    text = "".join(f"{line}\n" for line in lines)
    path.write_text(text, encoding="utf-8", newline="\n")


def read_lines(path: Path) -> list[str]:
    """Reads what `write_lines` wrote.

    Raises:
        ArchiveError: the file is missing or no text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArchiveError(f"{path}: not a readable list of words: {error}") from error
    return text.removesuffix("\n").split("\n") if text else []


def write_counts(path: Path, counts: dict[str, int]) -> None:
    """Writes `token<TAB>count` lines; beside `path` first, then renamed. Makes its folder.

    Raises:
        ConfigError: the place cannot be written to.
    """
    with replacing_file(path) as beside:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_lines(beside, [f"{token}\t{count}" for token, count in counts.items()])


def read_counts(path: Path, default: int | None = None) -> dict[str, int]:
    """Reads `token<TAB>count` lines.

    Args:
        path: the file.
        default: taken for every count; the file needs none then. None: counts are read.

    Raises:
        ConfigError: the file cannot be read, or a line, named by its number, is none of these.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a readable vocabulary: {error}") from error
    counts: dict[str, int] = {}
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        token, tab, count = line.rpartition("\t")
        if not tab and default is not None:
            token = line
        if not token or (default is None and not count.strip().isdecimal()):
            raise ConfigError(f"{path}:{number}: expected token<TAB>count, found {line!r:.200}")
        if token in counts:
            raise ConfigError(f"{path}:{number}: the token {token!r:.200} is there already")
        counts[token] = int(count) if default is None else default
    return counts
