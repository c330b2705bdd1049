"""From a file, a name or a dict to a plain, checked configuration with its variables filled in.

A configuration is JSON: the groups dataset_reader, dataset_iterator, chainer and train, and
metadata beside them. The order of use is `load`, `override`, `resolve`; each returns a new dict.
"""

import importlib.util
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from kerasner import registry
from kerasner.errors import ConfigError, nearest
from kerasner.registry import check_keys, unknown

GROUPS = ("dataset_reader", "dataset_iterator", "chainer", "train", "metadata")
CHAINER_KEYS = ("in", "in_y", "out", "pipe")
METADATA_KEYS = ("variables", "requirements", "labels", "download")
# What a component's entry may hold beside the parameters of its class.
COMPONENT_KEYS = ("class_name", "ref", "config_path", "id", "in", "in_y", "out", "fit_on", "main")

MAX_DEPTH = 100  # far above any real pipeline, far below Python's recursion limit


def home(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder for downloads and models: KERASNER_HOME, by default ~/.kerasner."""
    path = environ.get("KERASNER_HOME") or "~/.kerasner"
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise ConfigError(f"no home folder known for {path!r}; set KERASNER_HOME") from error


def user_path(path: str | os.PathLike) -> Path:
    """A path whose leading `~` is the home folder; ConfigError for the home of nobody."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"no home folder known for {os.fspath(path)!r}") from error


def find_file(path: str | os.PathLike, where: str) -> Path:
    """An existing file or folder that a configuration names.

    A relative path is looked for in the working folder, then in the folder of downloads.

    Args:
        path: as the configuration has it; a leading `~` is the home folder.
        where: config path, for the error message.

    Raises:
        ConfigError: it is in neither place.
    """
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise ConfigError(f"{where}: expected a path, received {path!r:.200}")
    places = [user_path(path).absolute()]
    if not user_path(path).is_absolute():
        places.append(home() / "downloads" / path)
    for place in places:
        if os.path.exists(place):
            return place
    raise ConfigError(f"{where}: no file or folder {' or '.join(map(str, places))}")


def check_number(
    where: str, value: Any, least: float, most: float = math.inf, whole: bool = False
) -> None:
    """Raise ConfigError for what is no number from `least` to `most`, or no whole one."""
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
        bounds = f"{least} or more" if most == math.inf else f"{least} to {most}"
        expected = f"{bounds}, a whole number" if whole else bounds
        raise ConfigError(f"{where}: expected {expected}, received {value!r:.200}")


def check_flag(where: str, value: Any) -> None:
    """Raise ConfigError for what is neither true nor false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{where}: expected true or false, received {value!r:.200}")


def folder() -> Path:
    """The folder of the installed configurations, or of the source checkout's."""
    # find_spec instead of importing: kerasner.configs may be what is being imported just now.
    spec = importlib.util.find_spec("kerasner.configs")
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(__file__).absolute().parent.parent / "configs"


def names() -> list[str]:
    """Names of the installed configurations, sorted, such as "ner_conll2003"."""
    return sorted(_installed())


def load(config: Mapping[str, Any] | str | os.PathLike) -> dict[str, Any]:
    """Read a configuration and check its outline; variables stay as they are written.

    Args:
        config: A dict (copied; values JSON knows, or paths), a path to a JSON file, or the bare
            name of an installed configuration. A string is a path if it ends in ".json" or
            contains a folder separator, so a folder called like a configuration hides nothing.

    Returns:
        A new dict of plain JSON values.

    Raises:
        ConfigError: No such file or name, malformed JSON (with line and column), a key given
            twice, an unknown group, or a value that JSON cannot hold.

    Example:

    ```python
    load("ner_conll2003")["chainer"]["in"]  # ["x"]
    ```
    """
    if isinstance(config, Mapping):
        source = "the configuration"
    elif isinstance(config, (str, os.PathLike)):
        path = _find(config)
        source = str(path)
        config = _read(path)
    else:
        raise ConfigError(
            "a configuration is a dict, a path to a JSON file or the name of an installed "
            f"configuration; received {type(config).__name__}: {config!r:.200}"
        )
    try:
        plain = _map_leaves(config, _plain)
        _check_outline(plain)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error
    return plain


def override(config: Mapping[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """Apply settings of the form "path.to.key=value", as the command line's --set gives them.

    Args:
        config: A loaded configuration.
        settings: Each a dotted path and a value. The value is read as JSON if it is JSON,
            otherwise as a string. A list entry is named by its number, by its "id", or by its
            class_name where only one entry has that class: "chainer.pipe.3.units=5",
            "chainer.pipe.ner.units=5". A key that is not there yet can be set if it is a known
            one: a parameter of a registered component, or a key of a group. The keys of "train"
            and of its "letter_case", which may be missing, and of components not registered are
            left for those who read them to check.

    Returns:
        A new dict.

    Example:

    ```python
    override({"train": {"epochs": 100}}, ["train.epochs=3"])  # {"train": {"epochs": 3}}
    ```
    """
    changed = _map_leaves(config, _plain)
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise ConfigError(f"expected path.to.key=value, received {setting!r}")
        try:
            value = _map_leaves(_parse(text), _plain, path)
        except ValueError:
            value = text
        # Error messages write list entries as pipe[3]; take that spelling as well.
        _set(changed, re.sub(r"\[([^][]*)\]", r".\1", path).split("."), value)
    return changed


def resolve(config: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Replace every {NAME} in the strings of a configuration by the variable's value.

    Variables come from metadata.variables, in order, so later ones may use earlier ones; an
    environment variable KERASNER_<NAME> takes the place of what the configuration says for NAME.
    KERASNER_HOME (see `home`) is always there. Only plain names are replaced: no attributes,
    indices, conversions or formats. "{{" and "}}" stand for literal braces, so a configuration
    is resolved once.

    Args:
        config: A loaded configuration.
        environ: The environment.

    Returns:
        A new dict; its metadata.variables holds the values used.

    Example:

    ```python
    config = {"metadata": {"variables": {"MODELS": "/m"}}, "train": {"save_path": "{MODELS}/a"}}
    resolve(config)["train"]  # {"save_path": "/m/a"}
    ```
    """
    known = {"KERASNER_HOME": str(home(environ))}
    declared = _declared_variables(config)
    for name, text in declared.items():
        where = f"metadata.variables.{name}"
        if not re.fullmatch(_NAME, name):
            raise ConfigError(f"{where}: a variable's name is letters, digits and '_'")
        if name in known:
            raise ConfigError(f"{where}: built in; set it in the environment instead")
        if not isinstance(text, str):
            raise ConfigError(f"{where}: expected a string, received {text!r}")
        if f"KERASNER_{name}" in environ:
            text, where = environ[f"KERASNER_{name}"], f"environment variable KERASNER_{name}"
        known[name] = _substitute(text, known, where)

    def fill(value: Any, where: str) -> Any:
        return _substitute(value, known, where) if isinstance(value, str) else value

    if not declared:
        return _map_leaves(config, fill)
    # The variables are filled in already, some from the environment.
    others = {**config, "metadata": {**config["metadata"], "variables": {}}}
    resolved = _map_leaves(others, fill)
    resolved["metadata"]["variables"] = {name: known[name] for name in declared}
    return resolved


_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def _substitute(text: str, variables: Mapping[str, str], where: str) -> str:
    def value(match: re.Match[str]) -> str:
        found, name = match.group(0), match.group(1)
        if found in ("{{", "}}"):
            return found[0]
        if name is None or not re.fullmatch(_NAME, name):
            raise ConfigError(
                f"{where}: {found!r} in {text!r} is not a plain {{NAME}}; "
                "write '{{' and '}}' for literal braces"
            )
        if name not in variables:
            raise ConfigError(f"{where}: unknown variable '{name}': {nearest(name, variables)}")
        return variables[name]

    return _BRACES.sub(value, text)


def _declared_variables(config: Mapping[str, Any]) -> Mapping[str, Any]:
    place: Any = config
    for key in ("metadata", "variables"):
        place = place.get(key, {})
        if not isinstance(place, Mapping):
            raise ConfigError(f"{key}: expected an object, received {place!r:.200}")
    return place


def _installed() -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder().rglob("*.json"))}


def _find(config: str | os.PathLike) -> Path:
    text = os.fspath(config)
    separators = {os.sep, os.altsep, "/"} - {None}
    is_name = isinstance(config, str) and not text.endswith(".json")
    if is_name and not any(separator in text for separator in separators):
        installed = _installed()
        if text not in installed:
            hint = nearest(text, sorted(installed))
            raise ConfigError(
                f"unknown configuration '{text}': {hint} (a file's path would end in .json)"
            )
        return installed[text]
    path = Path(os.path.expanduser(text))
    if not os.path.isfile(path):  # unlike Path.is_file, False for a folder that may not be read
        hint = nearest(path.stem, names())
        raise ConfigError(f"no file '{path}'; if an installed configuration was meant: {hint}")
    return path


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
        return _parse(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{path}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text: byte {error.start}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def _parse(text: str) -> Any:
    """JSON as its standard has it; a ValueError for anything else."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f"the key '{twice}' is given twice in one object")
        return result

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a JSON number")

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from error


def _check_outline(config: Any) -> None:
    if not isinstance(config, dict):
        raise ConfigError(
            f"expected an object with the groups {', '.join(GROUPS)}; received {config!r:.200}"
        )
    check_keys(config, GROUPS, "top level")
    for group, content in config.items():
        _check_group(group, content)
    check_keys(config.get("chainer", {}), CHAINER_KEYS, "chainer")
    check_keys(config.get("metadata", {}), METADATA_KEYS, "metadata")


def _check_group(group: str, content: Any) -> None:
    if not isinstance(content, dict):
        raise ConfigError(f"{group}: expected an object, received {content!r:.200}")


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise ConfigError(
        f"{where}: expected a JSON value or a path, received {type(value).__name__}: {value!r:.200}"
    )


def _map_leaves(
    value: Any, leaf: Callable[[Any, str], Any], where: str = "", depth: int = 0
) -> Any:
    """Copy nested dicts and lists, every other value through `leaf(value, config path)`."""
    if depth > MAX_DEPTH:
        raise ConfigError(f"{where:.80}...: nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ConfigError(f"{where or 'top level'}: expected string keys, received {key!r}")
        return {
            key: _map_leaves(item, leaf, f"{where}.{key}" if where else key, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [
            _map_leaves(item, leaf, f"{where}[{index}]", depth + 1)
            for index, item in enumerate(value)
        ]
    return leaf(value, where)


# Groups that a configuration may do without; who reads them checks their keys.
_OPEN = (["train"], ["train", "letter_case"])


def _set(config: dict[str, Any], keys: list[str], value: Any) -> None:
    path = ".".join(keys)
    place: Any = config
    for depth, key in enumerate(keys):
        where = ".".join(keys[:depth])
        last = depth == len(keys) - 1
        step: str | int = key
        if isinstance(place, list):
            step = _index(place, key, path, where)
        elif not isinstance(place, dict):
            raise ConfigError(f"'{path}': '{where}' is {place!r:.200} and has no keys")
        elif not last and keys[: depth + 1] in _OPEN:
            place.setdefault(key, {})
        elif key not in place:
            _check_new_key(place, key, path, keys[:depth], last)
        if not last:
            place = place[step]
            continue
        if not depth:
            _check_group(key, value)
        place[step] = value


def _index(entries: list[Any], key: str, path: str, where: str) -> int:
    """The position of a list's entry that is named by its number, id or class_name."""
    if key.isdecimal() and int(key) < len(entries):
        return int(key)
    labels = []
    for label in ("id", "class_name"):
        found = [i for i, e in enumerate(entries) if isinstance(e, dict) and e.get(label) == key]
        if len(found) == 1:
            return found[0]
        if found:
            places = ", ".join(str(index) for index in found)
            raise ConfigError(
                f"'{path}': {label} '{key}' is at {places} of '{where}'; use the number"
            )
        labels += [e[label] for e in entries if isinstance(e, dict) and label in e]
    numbers = f"numbers 0 to {len(entries) - 1}" if entries else "no numbers, the list is empty"
    tail = unknown(key, dict.fromkeys(labels))
    raise ConfigError(f"'{path}': no such entry in '{where}': {tail}; {numbers}")


def _check_new_key(
    place: dict[str, Any], key: str, path: str, parents: list[str], last: bool
) -> None:
    """Let a setting add a key only where it has a meaning, or where its reader checks it."""
    valid: list[str] = list(place)
    if last:
        class_name = place.get("class_name")
        component = isinstance(class_name, str)
        if parents in _OPEN or (component and class_name not in registry.names()):
            return
        if component:
            taker = registry.get(class_name)
            if parents == ["dataset_reader"]:
                taker = getattr(taker, "read", taker)  # which takes the settings of a reader
            own = [name for name in registry.parameters(taker) if name != "self"]
            valid += [*own, *COMPONENT_KEYS]
        valid += {"": GROUPS, "chainer": CHAINER_KEYS, "metadata": METADATA_KEYS}.get(
            ".".join(parents), ()
        )
    if key not in valid:
        where = f"in '{'.'.join(parents)}'" if parents else "at the top level"
        tail = unknown(key, dict.fromkeys(valid), "keys")
        raise ConfigError(f"'{path}': no such key {where}: {tail}")
