"""What a configuration needs besides kerasner: metadata.requirements, and pip."""

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kerasner.downloads import is_offline
from kerasner.errors import ConfigError, nearest

# A name, perhaps with extras, a version and a marker: no option of pip, no file, no address.
_REQUIREMENT = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[A-Za-z0-9,._\s-]+\])?\s*([<>=!~][^/;:@]*)?(;[^/:@]*)?"
)


def lines(config: Mapping[str, Any]) -> list[str]:
    """The requirements of a configuration, as pip takes them.

    An entry is a requirement ("tensorboard>=2.15") or the name of an extra of kerasner
    ("tensorboard"), which stands for what that extra requires.

    Raises:
        ConfigError: an entry is neither.
    """
    listed = config.get("metadata", {}).get("requirements", [])
    if not isinstance(listed, list):
        raise ConfigError(
            f"metadata.requirements: expected a list of requirements, received {listed!r:.200}"
        )
    extras = _extras()
    found: dict[str, None] = {}
    for index, entry in enumerate(listed):
        where = f"metadata.requirements[{index}]"
        if not isinstance(entry, str) or not _REQUIREMENT.fullmatch(entry):
            raise ConfigError(
                f"{where}: expected a requirement such as 'tensorboard>=2.15', or an extra of "
                f"kerasner ({', '.join(extras)}), received {entry!r:.200}"
            )
        name = re.fullmatch(r"kerasner\[(.*)\]", entry)
        if name and name[1] not in extras:
            raise ConfigError(f"{where}: unknown extra {name[1]!r}: {nearest(name[1], extras)}")
        found |= dict.fromkeys(extras.get(name[1] if name else entry, [entry]))
    return list(found)


def install(requirements: Sequence[str]) -> None:
    """Installs requirements with pip into this Python; what pip says goes to stderr.

    Raises:
        ConfigError: pip fails, or KERASNER_OFFLINE is set.
    """
    if is_offline():
        raise ConfigError(
            f"KERASNER_OFFLINE is set; needed are {', '.join(requirements)}: install them from a "
            "place of your own"
        )
    command = [sys.executable, "-m", "pip", "install", *requirements]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=2)
    if done.returncode:
        raise ConfigError(f"pip install {' '.join(requirements)} ended with {done.returncode}")


def _extras() -> dict[str, list[str]]:
    """What each extra of kerasner requires."""
    try:
        required = importlib.metadata.requires("kerasner") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    found: dict[str, list[str]] = {}
    for name, requirement in _of_extras(required):
        found.setdefault(name, []).append(requirement)
    return found


def _of_extras(required: Sequence[str]) -> Iterator[tuple[str, str]]:
    for line in required:
        requirement, _, marker = line.partition(";")
        if name := re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker):
            yield name[1], requirement.strip()
