"""The entries of a pipe: checked as they are written, then built one after another."""

import contextlib
import functools
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf

from kerasner import registry
from kerasner.config import COMPONENT_KEYS
from kerasner.errors import ConfigError
from kerasner.storage import WEIGHTS_FILE

# An id is the name of a file too.
_ID = re.compile(rf"(?!{Path(WEIGHTS_FILE).stem}$)[A-Za-z_][A-Za-z0-9_]*")


@dataclass
class Step:
    """One entry of the pipe.

    Attributes:
        where: config path.
        name: id, or a name made up.
        component: what computes the outputs.
        inputs, targets, outputs, fit_on: names of variables.
        keywords: names of the component's arguments for the inputs; None: by position.
        is_ref: whether the component is that of an earlier entry.
    """

    where: str
    name: str
    component: Any
    inputs: list[str]
    targets: list[str]
    outputs: list[str]
    fit_on: list[str] = field(default_factory=list)
    keywords: list[str] | None = None
    is_ref: bool = False

    def run(self, memory: dict[str, tf.Tensor]) -> None:
        """Computes the outputs from variables in memory."""
        values = [memory[name] for name in self.inputs]
        with config_errors(self.where):
            if self.keywords is None:
                result = self.component(*values)
            else:
                result = self.component(**dict(zip(self.keywords, values, strict=True)))
        results = list(result) if isinstance(result, (list, tuple)) else [result]
        if len(results) != len(self.outputs):
            raise ConfigError(
                f"{self.where}.out: the component returns {len(results)} values; "
                f"received {len(self.outputs)} names: {self.outputs!r:.200}"
            )
        memory.update(zip(self.outputs, results, strict=True))


def variables(config: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Names of the inputs and of the targets of a "chainer" group."""
    inputs = names(config.get("in"), "chainer.in")
    return inputs, names(config.get("in_y"), "chainer.in_y")


def check(config: Mapping[str, Any]) -> None:
    """Raises ConfigError for what is wrong with a "chainer" group as it is written."""
    pipe = config.get("pipe")
    if not isinstance(pipe, list) or not all(isinstance(entry, Mapping) for entry in pipe):
        raise ConfigError(f"chainer.pipe: expected a list of objects, received {pipe!r:.200}")
    for index, entry in enumerate(pipe):
        _check_outputs(entry, f"chainer.pipe[{index}].out")
    inputs, targets = variables(config)
    known, ids = [*inputs, *targets], []
    for index, entry in enumerate(pipe):
        where = f"chainer.pipe[{index}]"
        _check_component(entry, where)
        later = {out: i for i in range(len(pipe) - 1, index - 1, -1) for out in outputs(pipe[i])}
        for key in ("in", "in_y", "fit_on"):
            for name in names(entry[key], f"{where}.{key}") if key in entry else ():
                if name in known:
                    continue
                if name in later:
                    raise ConfigError(
                        f"{where}.{key}: {name!r} is produced only by chainer.pipe[{later[name]}]; "
                        "a variable has to be produced before it is used"
                    )
                tail = registry.unknown(name, known, "variables")
                raise ConfigError(f"{where}.{key}: nothing before it produces {tail}")
        for place, name in _references(entry, where):
            if name not in ids:
                _complain_of_reference(pipe, index, place, name, ids)
        if "id" in entry:
            name = entry["id"]
            if not isinstance(name, str) or not _ID.fullmatch(name) or name in ids:
                raise ConfigError(
                    f"{where}.id: expected a name of its own of letters, digits and '_', "
                    f"received {name!r}"
                )
            ids.append(name)
        known += outputs(entry)
    for name in names(config.get("out"), "chainer.out"):
        if name not in known:
            tail = registry.unknown(name, known, "variables")
            raise ConfigError(f"chainer.out: nothing produces {tail}")


def _check_component(entry: Mapping[str, Any], where: str) -> None:
    if "ref" in entry:
        registry.check_keys(entry, COMPONENT_KEYS, f"{where} (ref)")
    elif "class_name" in entry:
        component = registry.get(entry["class_name"], f"{where}.class_name")
        if inspect.isclass(component):
            registry.check_parameters(component, entry, where, also=COMPONENT_KEYS)
        else:  # its other parameters are the inputs
            valid = [*registry.parameters(component), *COMPONENT_KEYS]
            registry.check_keys(entry, valid, f"{where} ({entry['class_name']})")
    else:
        raise ConfigError(f"{where}: expected class_name, ref or config_path")
    for key, other in (("in", "out"), ("out", "in")):
        if other in entry:
            names(entry.get(key), f"{where}.{key}")


def _check_outputs(entry: Mapping[str, Any], where: str) -> None:
    found = names(entry["out"], where) if "out" in entry else []
    if isinstance(entry.get("out"), Mapping) or len(set(found)) < len(found):
        raise ConfigError(
            f"{where}: expected a name or a list of different names, received {entry['out']!r:.200}"
        )


def outputs(entry: Mapping[str, Any]) -> list[str]:
    """Names of what a checked entry produces."""
    found = entry.get("out", [])
    return [found] if isinstance(found, str) else list(found)


def _references(entry: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    """Config path and id of every `ref` and `#id` of an entry."""

    def walk(value: Any, place: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, Mapping):
            for key, item in value.items():
                if key == "ref":
                    yield f"{place}.ref", item
                else:
                    yield from walk(item, f"{place}.{key}")
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from walk(item, f"{place}[{index}]")
        elif isinstance(value, str) and value.startswith("#"):
            yield place, value[1:].split(".")[0]

    return walk(entry, where)


def _complain_of_reference(
    pipe: Sequence[Mapping[str, Any]], index: int, place: str, name: Any, ids: list[str]
) -> None:
    """A reference to nothing, to a later entry, or in a circle."""
    positions = {entry["id"]: i for i, entry in enumerate(pipe) if isinstance(entry.get("id"), str)}
    if not isinstance(name, str) or name not in positions:
        raise ConfigError(f"{place}: unknown id {registry.unknown(name, ids, 'ids')}")
    path, at = [f"chainer.pipe[{index}]"], name
    while at in positions and f"chainer.pipe[{positions[at]}]" not in path:
        path.append(f"chainer.pipe[{positions[at]}]")
        at = next((found for _, found in _references(pipe[positions[at]], "")), None)
        if at in positions and positions[at] == index:
            raise ConfigError(f"{place}: a cycle of references: {' -> '.join([*path, path[0]])}")
    raise ConfigError(
        f"{place}: {name!r} is the id of chainer.pipe[{positions[name]}]; "
        "an entry may only refer to those before it"
    )


class Builder:
    """Builds the entries of a checked pipe."""

    def __init__(self) -> None:
        self._by_id: dict[str, Any] = {}
        self._count = 0

    def build(self, entry: Mapping[str, Any], where: str, of_targets: bool) -> Step:
        """One entry; `of_targets`: its inputs derive from the targets."""
        if "ref" in entry:
            component = self._by_id[entry["ref"]]
        else:
            component = self._component(entry, where, of_targets)
        # No id holds a "-", so that no two components write the same file.
        name = entry.get("id", f"{entry.get('class_name')}-{self._count}")
        self._count += 1
        if "id" in entry:
            self._by_id[name] = component
        given = entry.get("in", [])
        return Step(
            where,
            name,
            component,
            inputs=names(given, f"{where}.in") if given else [],
            targets=names(entry["in_y"], f"{where}.in_y") if "in_y" in entry else [],
            outputs=outputs(entry),
            fit_on=names(entry["fit_on"], f"{where}.fit_on") if "fit_on" in entry else [],
            keywords=list(given) if isinstance(given, Mapping) else None,
            is_ref="ref" in entry,
        )

    def _component(self, entry: Mapping[str, Any], where: str, of_targets: bool = False) -> Any:
        component_class = registry.get(entry["class_name"], f"{where}.class_name")
        settings = {
            key: self._value(value, f"{where}.{key}")
            for key, value in entry.items()
            if key not in COMPONENT_KEYS
        }
        if not inspect.isclass(component_class):
            return functools.partial(component_class, **settings)
        if of_targets and "targets" in inspect.signature(component_class).parameters:
            settings["targets"] = True
        with config_errors(where, entry["class_name"]):
            return component_class(**settings)

    def _value(self, value: Any, where: str) -> Any:
        """A parameter: `#id.attribute` is that of the component, an object with a class_name or a
        ref the component itself."""
        if isinstance(value, list):
            return [self._value(item, where) for item in value]
        if isinstance(value, Mapping):
            if "ref" in value:
                return self._by_id[value["ref"]]
            if "class_name" in value:
                found = registry.get(value["class_name"], f"{where}.class_name")
                registry.check_parameters(found, value, where, also=("class_name",))
                if hasattr(found, "fit"):
                    raise ConfigError(
                        f"{where}: {value['class_name']!r} is fitted to the data; expected an "
                        "entry of its own with an id, and '#id' here"
                    )
                return self._component(value, where)
            return {key: self._value(item, f"{where}.{key}") for key, item in value.items()}
        if not (isinstance(value, str) and value.startswith("#")):
            return value
        name, *attributes = value[1:].split(".")
        found = self._by_id[name]
        for attribute in attributes:
            if attribute.startswith("_") or not hasattr(found, attribute):
                raise ConfigError(f"{where}: {name!r} has no attribute {attribute!r}")
            found = getattr(found, attribute)
        return found


def names(value: Any, where: str) -> list[str]:
    """Names of variables: one, a list, or an object from arguments to variables."""
    found = [value] if isinstance(value, str) else value
    found = list(found.values()) if isinstance(found, Mapping) else found
    if not isinstance(found, list) or not found or not all(isinstance(n, str) for n in found):
        raise ConfigError(f"{where}: expected a name or a list of names, received {value!r}")
    return found


@contextlib.contextmanager
def config_errors(where: str, class_name: str = "") -> Iterator[None]:
    """Says which entry it is whose settings or inputs a component does not accept."""
    named = f"{where} ({class_name})" if class_name else where
    try:
        yield
    except ConfigError as error:
        if str(error).startswith("chainer."):
            raise
        raise ConfigError(f"{where}: {error}") from error
    except (TypeError, ValueError, AttributeError, tf.errors.OpError) as error:
        raise ConfigError(f"{named}: {error}") from error
