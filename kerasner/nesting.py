"""Pipelines within pipelines: an entry with `config_path` is replaced by that file's entries."""

from collections.abc import Iterable, Mapping
from typing import Any

from kerasner import config as configuration
from kerasner import pipe as pipes
from kerasner.errors import ConfigError


def inline(config: Mapping[str, Any], _within: Iterable[str] = ()) -> dict[str, Any]:
    """A resolved configuration without `config_path`.

    The entries of a nested configuration take the place of the entry that names it. Its inputs,
    targets and outputs become the variables that the entry lists as `in`, `in_y` and `out`; its
    other variables and its ids get a prefix, so that they meet none of the outer ones.

    Raises:
        ConfigError: a nested configuration that is wrong, that contains itself, or whose inputs
            and outputs are not as many as the entry lists.

    Example: the entry

    ```json
    {"config_path": "ner_conll2003", "in": ["x"], "in_y": ["y"], "out": ["x_tokens", "tags"]}
    ```

    puts the whole tagger there.
    """
    group = config.get("chainer")
    entries, pipe = [], group.get("pipe") if isinstance(group, Mapping) else None
    if not isinstance(pipe, list):
        return dict(config)
    for index, entry in enumerate(pipe):
        if isinstance(entry, Mapping) and "config_path" in entry:
            entries += _nested(entry, f"chainer.pipe[{index}]", index, list(_within))
        else:
            entries.append(entry)
    return {**config, "chainer": {**group, "pipe": entries}}


def _nested(
    entry: Mapping[str, Any], where: str, index: int, within: list[str]
) -> list[dict[str, Any]]:
    for key in entry:
        if key not in ("config_path", "id", "in", "in_y", "out", "main"):
            raise ConfigError(
                f"{where}: unknown key {key!r} beside config_path: expected in, in_y, out and id"
            )
    path = entry["config_path"]
    if not isinstance(path, str):
        raise ConfigError(f"{where}.config_path: expected a name or a path, received {path!r:.200}")
    if path in within:
        raise ConfigError(f"{where}.config_path: a cycle: {' -> '.join([*within, path])}")
    try:
        loaded = inline(configuration.resolve(configuration.load(path)), [*within, path])
        group = loaded.get("chainer", {})
        pipes.check(group)
    except ConfigError as error:
        raise ConfigError(f"{where}.config_path: {path}: {error}") from error
    prefix = f"{entry.get('id', f'nested{index}')}__"
    return _renamed(group, _mapping(group, entry, where), prefix, where)


def _mapping(
    group: Mapping[str, Any], entry: Mapping[str, Any], where: str
) -> dict[str, dict[str, str]]:
    """Names inside -> names outside, of inputs (and targets) and of outputs."""
    pairs = {}
    for key in ("in", "in_y", "out"):
        inside = pipes.names(group.get(key), key)
        outside = pipes.names(entry[key], f"{where}.{key}") if key in entry else []
        if len(inside) != len(outside):
            raise ConfigError(
                f"{where}.{key}: the nested configuration has {inside}; "
                f"expected {len(inside)} names, received {outside}"
            )
        pairs[key] = dict(zip(inside, outside, strict=True))
    return {"in": {**pairs["in"], **pairs["in_y"]}, "out": pairs["out"]}


def _renamed(
    group: Mapping[str, Any], mapping: Mapping[str, Mapping[str, str]], prefix: str, where: str
) -> list[dict[str, Any]]:
    # A name may be given anew: it stands for the latest of its values, and outside for the last.
    current = dict(mapping["in"])
    last = {name: i for i, item in enumerate(group["pipe"]) for name in pipes.outputs(item)}
    for name in mapping["out"]:
        if name not in last:
            raise ConfigError(
                f"{where}.out: {name!r} is an input of the nested configuration, not made by it"
            )

    def variable(name: str) -> str:
        return current.get(name, f"{prefix}{name}")

    def value(item: Any) -> Any:
        if isinstance(item, Mapping):
            return {
                key: f"{prefix}{nested}" if key == "ref" else value(nested)
                for key, nested in item.items()
            }
        if isinstance(item, list):
            return [value(nested) for nested in item]
        if isinstance(item, str) and item.startswith("#"):
            return f"#{prefix}{item[1:]}"
        return item

    entries = []
    for index, item in enumerate(group["pipe"]):
        renamed = {}
        for key, setting in item.items():
            if key in ("in", "in_y", "fit_on"):
                if isinstance(setting, Mapping):
                    renamed[key] = {name: variable(source) for name, source in setting.items()}
                else:
                    renamed[key] = [variable(name) for name in pipes.names(setting, key)]
            elif key in ("id", "ref"):
                renamed[key] = f"{prefix}{setting}"
            elif key != "out":
                renamed[key] = value(setting)
        for name in pipes.outputs(item):
            outside = mapping["out"].get(name) if last[name] == index else None
            current[name] = outside or f"{prefix}{index}_{name}"
        if "out" in item:
            renamed["out"] = [current[name] for name in pipes.outputs(item)]
        entries.append(renamed)
    return entries
