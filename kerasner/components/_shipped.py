"""Files that come with kerasner under a name, or lie somewhere else."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kerasner.config import find_file
from kerasner.errors import ConfigError, nearest
from kerasner.pretrained import archives


@contextlib.contextmanager
def shipped_or_found(load_path: Any, kind: str, where: str) -> Iterator[tuple[Path, bool]]:
    """The place that `load_path` means, and whether it is the folder of what comes with kerasner.

    Args:
        load_path: name of something shipped, or a path.
        kind: of what is shipped, see `archives.names`.
        where: config path, for error messages.

    Raises:
        ConfigError: it is neither.
    """
    shipped = archives.names(kind)
    if isinstance(load_path, str) and load_path in shipped:
        with tempfile.TemporaryDirectory(prefix="kerasner-") as folder:
            archives.unpack_model(load_path, Path(folder))
            yield Path(folder), True
        return
    try:
        place = find_file(load_path, where)
    except ConfigError as error:
        if not isinstance(load_path, str) or not load_path:
            raise
        known = nearest(load_path, shipped)
        raise ConfigError(f"{error}; of those that come with kerasner: {known}") from None
    yield place, False
