"""Checks of parameters that several components share."""

from typing import Any

from kerasner.components._strings import is_line
from kerasner.config import check_flag
from kerasner.errors import ConfigError


def check_flags(component: str, **values: Any) -> None:
    """Raises ConfigError for what is neither true nor false."""
    for name, value in values.items():
        check_flag(f"{component}: {name}", value)


def check_strings(component: str, **values: Any) -> None:
    """Raises ConfigError for what is no list of strings that a table can hold."""
    for name, value in values.items():
        is_list = isinstance(value, (list, tuple))
        if not is_list or not all(isinstance(item, str) and is_line(item) for item in value):
            raise ConfigError(
                f"{component}: {name}: expected a list of strings, none empty or with line breaks, "
                f"received {value!r:.200}"
            )
