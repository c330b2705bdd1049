"""Archives of trained models: packing, checking, unpacking."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerasner.errors import ArchiveError, nearest

if TYPE_CHECKING:
    from kerasner.tagger import Tagger

FOLDER = Path(__file__).parent / "archives"
REGISTRY = "registry.json"
TAGGER = "tagger"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # of a file, on any system
_MAX_UNPACKED = 2**30  # bytes; far above any model of this kind


def names(kind: str = TAGGER) -> list[str]:
    """Names of what comes with kerasner: of taggers, of "language_model"s, or of "lexicon"s."""
    return sorted(name for name, entry in _registry().items() if entry.get("kind", TAGGER) == kind)


def pretrained(name: str) -> "Tagger":
    """Loads a model that comes with kerasner. Needs no network.

    Args:
        name: such as "ner_conll2003".

    Returns:
        The trained tagger.

    Raises:
        kerasner.errors.ArchiveError: no model of that name, or a damaged archive.

    Example: `kerasner.pretrained("ner_conll2003")(["Bernhard Riemann lived in Göttingen"])`
    """
    if name not in (known := names()):
        raise ArchiveError(f"no model is called {name!r}: {nearest(name, known)}")
    from kerasner.tagger import Tagger  # not above: the names are known without TensorFlow

    with tempfile.TemporaryDirectory(prefix="kerasner-") as folder:
        unpack_model(name, Path(folder))
        return Tagger.load(folder)


def unpack_model(name: str, folder: Path) -> None:
    """Unpacks the files of a registered model into an existing folder.

    Raises:
        ArchiveError: a missing or damaged archive.
    """
    for archive in _registry()[name]["archives"]:
        unpack(FOLDER / archive["file"], archive["sha256"], folder, archive.get("as"))


def pack(files: list[Path], archive: Path) -> str:
    """Writes files into a zip archive, the same bytes for the same files; returns its SHA-256."""
    beside = archive.with_name(f".{archive.name}.{os.getpid()}.part")
    try:
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
            for file in sorted(files, key=lambda file: file.name):
                # A fixed date: the archive depends on nothing but the content.
                entry = zipfile.ZipInfo(file.name, date_time=(1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                target.writestr(entry, file.read_bytes())
        os.replace(beside, archive)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
    return sha256(archive)


def unpack(archive: Path, expected_sha256: str, folder: Path, file_name: str | None = None) -> None:
    """Checks an archive and unpacks its files into an existing folder.

    Args:
        archive: a zip file.
        expected_sha256: its checksum.
        folder: existing.
        file_name: what its only file is to be called; None: as in the archive.

    Raises:
        ArchiveError: the archive is missing, has another checksum, or holds other things than
            files of that folder.
    """
    try:
        found = sha256(archive)
    except OSError as error:
        raise ArchiveError(f"cannot read {archive}: {error.strerror}") from error
    if found != expected_sha256:
        raise ArchiveError(
            f"{archive} is damaged: SHA-256 {found[:16]}..., expected {expected_sha256[:16]}..."
        )
    try:
        with zipfile.ZipFile(archive) as source:
            if sum(entry.file_size for entry in source.infolist()) > _MAX_UNPACKED:
                raise ArchiveError(f"{archive} unpacks to more than {_MAX_UNPACKED} bytes")
            for entry in source.infolist():
                if not _PLAIN_NAME.fullmatch(entry.filename):
                    raise ArchiveError(f"{archive} holds {entry.filename!r}; expected plain files")
                target = folder / (file_name or entry.filename)
                with source.open(entry) as packed, open(target, "wb") as file:
                    shutil.copyfileobj(packed, file)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
        raise ArchiveError(f"{archive} is damaged: {error}") from error


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _registry() -> dict[str, Any]:
    return json.loads((FOLDER / REGISTRY).read_text(encoding="utf-8"))
