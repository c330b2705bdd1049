"""Large text files of word vectors, read once."""

import hashlib
import logging
from pathlib import Path

from kerasner.config import home
from kerasner.errors import ArchiveError
from kerasner.vectors import QuantizedVectors, read_glove

_LARGE = 2**24  # bytes; smaller files are read in no time

_LOG = logging.getLogger(__name__)


def text_vectors(path: Path, max_words: int | None) -> QuantizedVectors:
    """The vectors of a text file; those of a large one are kept in `{KERASNER_HOME}/cache`.

    Args:
        path: an existing file, as `read_glove` takes it. A changed file is read anew.
        max_words: of `read_glove`.
    """
    status = path.stat()
    if status.st_size < _LARGE:
        return QuantizedVectors.from_float(*read_glove(path, max_words))
    origin = f"{path.resolve()}\n{status.st_size}\n{status.st_mtime_ns}\n{max_words}"
    digest = hashlib.sha256(origin.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    cached = home() / "cache" / f"{path.name}-{digest}.npz"
    try:
        return QuantizedVectors.load(cached)
    except ArchiveError:
        _LOG.info("reading %s", path)
    vectors = QuantizedVectors.from_float(*read_glove(path, max_words))
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        vectors.save(cached)
    except OSError as error:
        _LOG.info("not kept in %s: %s", cached, error.strerror or error)
    return vectors
