"""Fetching and unpacking the files that a configuration names in metadata.download."""

import contextlib
import filecmp
import hashlib
import json
import logging
import lzma
import math
import os
import re
import stat
import tarfile
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from kerasner import config as configuration
from kerasner._version import __version__
from kerasner.errors import ConfigError, KerasnerError
from kerasner.registry import check_keys

_LOG = logging.getLogger(__name__)
_TIMEOUT = 30  # seconds without a byte
_BLOCK = 2**20
_MAX_UNPACKED = 32 * 2**30  # bytes; above any published file of word vectors
_UNPACKED = (".zip", ".tar.gz", ".tgz")  # a .tar or a .gz by itself is what some readers take
_HASHES = {"sha256": 64, "md5": 32}  # hexadecimal digits
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_MAX_FILES = 100_000
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    ValueError,
)


class DownloadError(KerasnerError):
    """A file cannot be fetched, or is not what it should be."""


@dataclass(frozen=True)
class Source:
    """One entry of metadata.download.

    Attributes:
        url: http, https or file.
        name: of the file.
        folder: where it goes, or where it is unpacked to.
        hashes: what its content has to be: pairs of an algorithm and hexadecimal digits.
        is_archive: whether it is to be unpacked.
        files: what is wanted of an archive; none: all.
    """

    url: str
    name: str
    folder: Path
    hashes: tuple[tuple[str, str], ...]
    is_archive: bool
    files: tuple[str, ...] = ()


def download(config: Mapping[str, Any]) -> list[Path]:
    """Fetches what metadata.download of a resolved configuration lists, nested ones included.

    An entry is a URL, or an object with the keys

    - "url": http, https or file;
    - "subdir": a folder, relative to `{KERASNER_HOME}/downloads`, which is the default;
    - "sha256" or "md5": of the file;
    - "unpack": whether it is an archive to be unpacked into the folder; by default .zip, .tar.gz
      and .tgz are;
    - "files": names in the archive of those that are wanted; by default all are.

    A file that is there already, with that content if a hash is given, is not fetched again; nor is
    an archive that was unpacked before, or whose "files" are there. Everything is written beside
    its place and then renamed.

    Returns:
        The files that are there now; of an archive the files that were in it.

    Raises:
        kerasner.errors.ConfigError: an entry is wrong.
        kerasner.errors.DownloadError: a file cannot be fetched, or is not what the configuration
            says it is; or KERASNER_OFFLINE is set and a file is missing.
    """
    present: list[Path] = []
    for source in sources(config):
        present += _unpacked(source) if source.is_archive else [_fetched(source)]
    return present


def sources(config: Mapping[str, Any]) -> list[Source]:
    """The checked entries of metadata.download of a resolved configuration and nested ones."""
    found: dict[Source, None] = {}
    for where, entry in _entries(config, ()):
        source = _source(entry, where)
        found[source] = None
    return list(found)


def is_offline() -> bool:
    """Whether the environment variable KERASNER_OFFLINE forbids the network."""
    return os.environ.get("KERASNER_OFFLINE", "") not in ("", "0")


def _entries(config: Mapping[str, Any], within: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    prefix = f"{within[-1]}: " if within else ""
    listed = config.get("metadata", {}).get("download", [])
    if isinstance(listed, (str, Mapping)):
        listed = [listed]
    if not isinstance(listed, list):
        raise ConfigError(
            f"{prefix}metadata.download: expected a list of URLs, received {listed!r:.200}"
        )
    for index, entry in enumerate(listed):
        yield f"{prefix}metadata.download[{index}]", entry
    pipe = config.get("chainer", {}).get("pipe")
    for entry in pipe if isinstance(pipe, list) else ():
        path = entry.get("config_path") if isinstance(entry, Mapping) else None
        if isinstance(path, str) and path not in within:
            nested = configuration.resolve(configuration.load(path))
            yield from _entries(nested, (*within, path))


def _source(entry: Any, where: str) -> Source:
    entry = {"url": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where}: expected a URL or an object, received {entry!r:.200}")
    check_keys(entry, ("url", "subdir", "unpack", "files", *_HASHES), where)
    url = entry.get("url")
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
    except ValueError:  # brackets that hold no IPv6 address
        parts = urlsplit("")
    name = PurePosixPath(unquote(parts.path)).name
    if parts.scheme not in ("http", "https", "file") or not _PLAIN_NAME.fullmatch(name):
        raise ConfigError(
            f"{where}.url: expected an http, https or file URL that ends in a file's name, "
            f"received {url!r:.200}"
        )
    subdir = entry.get("subdir", "")
    if not isinstance(subdir, str) or ".." in Path(subdir).parts or "\0" in subdir:
        raise ConfigError(f"{where}.subdir: expected a folder without '..', received {subdir!r}")
    unpack = entry.get("unpack", name.endswith(_UNPACKED))
    configuration.check_flag(f"{where}.unpack", unpack)
    files = entry.get("files", [])
    if not isinstance(files, list) or not all(isinstance(f, str) and f for f in files):
        raise ConfigError(f"{where}.files: expected a list of names, received {files!r:.200}")
    if files and not unpack:
        raise ConfigError(f"{where}.files: expected an archive to unpack, received {url!r:.200}")
    hashes = {algorithm: entry[algorithm] for algorithm in _HASHES if algorithm in entry}
    for algorithm, value in hashes.items():
        digits = _HASHES[algorithm]
        if not isinstance(value, str) or not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", value):
            raise ConfigError(
                f"{where}.{algorithm}: expected {digits} hexadecimal digits, received {value!r}"
            )
        hashes[algorithm] = value.lower()
    folder = configuration.home() / "downloads" / configuration.user_path(subdir)
    return Source(url, name, folder.absolute(), tuple(hashes.items()), unpack, tuple(files))


def _fetched(source: Source) -> Path:
    """The file, fetched if it is not there."""
    path = source.folder / source.name
    if path.is_file():
        found = _hashes_of(path) if source.hashes else {}
        wrong = [algorithm for algorithm, value in source.hashes if found[algorithm] != value]
        if not wrong:
            _LOG.info("%s is there already", path)
            return path
        if not path.is_relative_to(configuration.home()):  # a configuration overwrites no file
            raise DownloadError(
                f"{path} has another {wrong[0]} than the configuration says: move it away"
            )
        _LOG.warning("%s has another %s than the configuration says", path, wrong[0])
    if is_offline() and not source.url.startswith("file:"):
        raise DownloadError(
            f"{path} is not there, or not as it should be, and KERASNER_OFFLINE is set: get "
            f"{source.url} on another machine and put it there"
        )
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with _opened(source.url) as response:
            expected = response.headers.get("Content-Length")
            size = f" ({int(expected) / 1e6:,.1f} MB)" if expected else ""
            _LOG.info("downloading %s%s to %s", source.url, size, path)
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(beside, "wb") as file:
                received = _copy(response, file)
        if expected and received != int(expected):
            raise DownloadError(
                f"{source.url}: expected {expected} bytes, received {received}; try again"
            )
        found = _hashes_of(beside) if source.hashes else {}
        for algorithm, value in source.hashes:
            if found[algorithm] != value:
                raise DownloadError(
                    f"{source.url}: expected {algorithm} {value}, received {found[algorithm]}"
                )
        os.replace(beside, path)
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise DownloadError(f"cannot fetch {source.url} to {path}: {reason}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
    return path


def _opened(url: str) -> Any:
    """Opens http, https and file, and nothing that a redirection might name besides."""
    director = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.FileHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        director.add_handler(handler())
    request = urllib.request.Request(url, headers={"User-Agent": f"kerasner/{__version__}"})
    return director.open(request, timeout=_TIMEOUT)


def _copy(source: IO[bytes], target: IO[bytes], most: float = math.inf) -> int:
    """Copies, and returns the number of bytes; an error for more than `most`."""
    size = 0
    while block := source.read(_BLOCK):
        size += len(block)
        if size > most:
            raise ValueError(f"it unpacks to more than {_MAX_UNPACKED:,} bytes")
        target.write(block)
    return size


def _hashes_of(path: Path) -> dict[str, str]:
    digests = {name: hashlib.new(name, usedforsecurity=False) for name in _HASHES}
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            for digest in digests.values():
                digest.update(block)
    return {name: digest.hexdigest() for name, digest in digests.items()}


def _unpacked(source: Source) -> list[Path]:
    """The wanted files of an archive, fetched and unpacked if they are not there.

    If all are wanted, a note beside them tells later what the archive held. The archive itself is
    kept only where somebody else put it there.
    """
    note = source.folder / f".{source.name}.json"
    wanted = [source.folder / name for name in source.files]
    files = wanted or _noted(note, source)
    if files and all(file.is_file() for file in files):
        _LOG.info("%s is unpacked in %s already", source.name, source.folder)
        return files
    kept = (source.folder / source.name).is_file()
    archive = _fetched(source)
    try:
        names = _unpack(archive, source.folder, source.files)
        content = {"url": source.url, **_hashes_of(archive), "files": names}
        if not wanted:
            note.write_text(json.dumps(content, indent=2), encoding="utf-8")
    except _DAMAGED as error:
        raise DownloadError(f"cannot unpack {source.url}: {error}") from error
    except OSError as error:
        reason = error.strerror or error
        raise DownloadError(f"cannot unpack {source.url} to {source.folder}: {reason}") from error
    finally:
        if not kept:
            archive.unlink(missing_ok=True)
    return [source.folder / name for name in names]


def _noted(note: Path, source: Source) -> list[Path]:
    """The files of an archive that was unpacked before as a whole; none if it was another one."""
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
        files = [source.folder / name for name in content["files"]]
        same = all(content[algorithm] == value for algorithm, value in source.hashes)
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return files if same else []


def _unpack(archive: Path, folder: Path, wanted: Sequence[str]) -> list[str]:
    """Unpacks into a new folder, then moves the files to their places; returns their names."""
    names: list[str] = []
    left = _MAX_UNPACKED
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{archive.name}.") as beside:
        with contextlib.closing(_members(archive)) as members:
            for name, content in members:
                path = PurePosixPath(name)
                if path.is_absolute() or ".." in path.parts or re.search(r"[\\:\0]", name):
                    raise ValueError(f"it holds {name!r}; expected files below its folder")
                if wanted and str(path) not in wanted:
                    continue
                if len(names) == _MAX_FILES:
                    raise ValueError(f"it holds more than {_MAX_FILES:,} files")
                place = Path(beside, path)
                place.parent.mkdir(parents=True, exist_ok=True)
                with content, open(place, "wb") as file:
                    left -= _copy(content, file, left)
                names.append(str(path))
        if missing := set(wanted) - set(names):
            raise ValueError(f"it holds no {', '.join(sorted(missing))}")
        for name in names:
            place = folder / name
            if place.exists() and not _same(place, Path(beside, name)):
                raise ValueError(f"{place} exists and is another file; move it away")
        for name in dict.fromkeys(names):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(Path(beside, name), folder / name)
    return list(dict.fromkeys(names))


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of each file in an archive; an error for links and devices."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                if stat.S_ISLNK(info.external_attr >> 16):
                    raise ValueError(f"it holds the link {info.filename!r}; expected files")
                if not info.is_dir():
                    yield info.filename, packed.open(info)
        return
    with tarfile.open(archive) as packed:
        for member in packed:
            content = packed.extractfile(member) if member.isreg() else None
            if content is not None:
                yield member.name, content
            elif not member.isdir():
                raise ValueError(f"it holds {member.name!r}, a link or device; expected files")


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and filecmp.cmp(one, other, shallow=False)
