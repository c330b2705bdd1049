"""Reading the Russian word vectors of navec (https://github.com/natasha/navec). NumPy only."""

import gzip
import io
import itertools
import json
import os
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np

from kerasner.errors import DataError
from kerasner.product_vectors import MAX_CENTROIDS, ProductVectors

_PROTOCOL = 1
_UNKNOWN, _PADDING = "<unk>", "<pad>"
_PARTS = ("meta.json", "vocab.bin", "pq.bin")
_MAX_VOCABULARY = 2**28  # bytes, unpacked
_MAX_FILES = 16  # in the tar
_HEADER = struct.Struct("<4I")
_COUNT = struct.Struct("<I")


def read_navec(
    path: str | os.PathLike, max_words: int | None = None
) -> tuple[ProductVectors, np.ndarray]:
    """Reads a file of navec, protocol 1.

    It is an uncompressed tar of three files: `meta.json` names the protocol; `vocab.bin`, gzipped,
    holds the number V of words, how often each was seen (uint32 [V]), and the words, one a line;
    `pq.bin` holds V, the size D of a vector, the numbers M of pieces and K of centroids, then the
    codes (uint8 [V, M]) and the centroids (float32 [M, K, D / M]). Numbers are little-endian.

    navec counts `<unk>` and `<pad>` among the words. Here they are none: the vector of `<unk>` is
    returned beside them, and padding is zeros whatever the file says.

    Args:
        path: The file.
        max_words: Keep so many words, the most frequent ones. Default: all.

    Returns:
        `(vectors, unknown)`: the words by falling frequency, exactly as navec has them, and
        float32 [D], the vector for any word that is not among them.

    Raises:
        DataError: A missing, truncated or damaged file, or one of another format. The message
            names the file.

    Example:
        >>> vectors, unknown = read_navec("navec_news_v1_1B_250K_300d_100q.tar")
        >>> vectors.words[:3], vectors.codes.shape, unknown.shape
        (['в', 'и', 'на'], (250000, 100), (300,))
    """
    if max_words is not None and max_words < 1:
        raise ValueError(f"max_words must be at least 1. Received: {max_words}")
    path = Path(path)
    try:
        parts = _parts(path)
        _check_protocol(parts["meta.json"])
        codes, codebook = _vectors(parts["pq.bin"])
        words, counts = _vocabulary(parts["vocab.bin"], len(codes))
        everything = ProductVectors(words, codes, codebook)
        if _UNKNOWN not in words:
            raise DataError(f"expected the word {_UNKNOWN!r}, found none")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file, expected a tar of navec") from None
    except (
        OSError, EOFError, ValueError, OverflowError, MemoryError, tarfile.TarError, zlib.error
    ) as error:  # fmt: skip
        raise DataError(f"{path}: cannot be read as a tar of navec: {error}") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    by_frequency = np.argsort(-counts.astype(np.int64), kind="stable")
    kept = [row for row in by_frequency if words[row] not in (_UNKNOWN, _PADDING)]
    return everything.subset(kept[:max_words]), everything.rows([words.index(_UNKNOWN)])[0]


def _parts(path: Path) -> dict[str, bytes]:
    """Contents of the files in the tar, read without unpacking it to disk."""
    parts = {}
    # "r:" takes no compressed tar: the sizes below are then bounded by the file's own.
    with open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
        size = os.fstat(file.fileno()).st_size
        for member in itertools.islice(tar, _MAX_FILES):
            if member.name not in _PARTS:
                continue
            if not member.isreg() or member.issparse():
                raise DataError(f"expected {member.name} to be an ordinary file")
            if not 0 <= member.size <= size - member.offset_data:
                raise DataError(f"{member.name} claims {member.size} bytes: the file is cut off")
            parts[member.name] = tar.extractfile(member).read()
            if len(parts) == len(_PARTS):
                return parts
    missing = ", ".join(name for name in _PARTS if name not in parts)
    raise DataError(f"expected a tar with {', '.join(_PARTS)}; missing: {missing}")


def _check_protocol(content: bytes) -> None:
    try:
        meta = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"meta.json is no JSON: {error}") from error
    protocol = meta.get("protocol") if isinstance(meta, dict) else None
    if protocol != _PROTOCOL:
        raise DataError(f"meta.json: expected protocol {_PROTOCOL}, found {protocol!r:.200}")


def _vectors(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Codes and codebook."""
    if len(content) < _HEADER.size:
        raise DataError(f"pq.bin: expected at least {_HEADER.size} bytes, found {len(content)}")
    size, dim, subspaces, centroids = _HEADER.unpack_from(content)
    found = f"found {size} vectors of {dim} in {subspaces} pieces of {centroids} centroids"
    if not subspaces or not dim or dim % subspaces or not 1 <= centroids <= MAX_CENTROIDS:
        raise DataError(
            f"pq.bin: expected equal pieces of at most {MAX_CENTROIDS} centroids, {found}"
        )
    expected = _HEADER.size + size * subspaces + 4 * centroids * dim
    if len(content) != expected:
        raise DataError(f"pq.bin: expected {expected} bytes, found {len(content)} ({found})")
    codes = np.frombuffer(content, np.uint8, size * subspaces, _HEADER.size)
    codebook = np.frombuffer(content, "<f4", offset=_HEADER.size + size * subspaces)
    return (
        codes.reshape(size, subspaces),
        codebook.astype(np.float32).reshape(subspaces, centroids, dim // subspaces),
    )


def _vocabulary(content: bytes, size: int) -> tuple[list[str], np.ndarray]:
    """Words and how often they were seen."""
    with gzip.open(io.BytesIO(content)) as file:
        content = file.read(_MAX_VOCABULARY + 1)
    if len(content) > _MAX_VOCABULARY:
        raise DataError(f"vocab.bin: expected at most {_MAX_VOCABULARY} bytes when unpacked")
    start = _COUNT.size * (1 + size)
    if len(content) < start or (announced := _COUNT.unpack_from(content)[0]) != size:
        found = len(content) if len(content) < start else f"{announced} words"
        raise DataError(f"vocab.bin: expected {size} words as in pq.bin, found {found}")
    counts = np.frombuffer(content, "<u4", size, _COUNT.size)
    try:
        words = content[start:].decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"vocab.bin: not UTF-8 text: byte {start + error.start}") from error
    if len(words) != size or not all(words):
        raise DataError(f"vocab.bin: expected {size} words, none empty, found {len(words)}")
    return words, counts
