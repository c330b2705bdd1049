"""From a resolved configuration to a text pipeline and a network."""

import contextlib
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from kerasner import registry
from kerasner.components import Glove, Ner, SimpleVocab, TextSplitter
from kerasner.config import COMPONENT_KEYS
from kerasner.errors import ConfigError
from kerasner.network import NerNetwork
from kerasner.storage import WEIGHTS_FILE

# An id is the name of a file too.
_ID = re.compile(rf"(?!{Path(WEIGHTS_FILE).stem}$)[A-Za-z_][A-Za-z0-9_]*")


@dataclass
class _Step:
    """One entry of the pipe."""

    where: str
    name: str
    component: Any
    inputs: list[str]
    targets: list[str]
    outputs: list[str]
    fit_on: list[str] = field(default_factory=list)


class Chainer:
    """A pipeline: named variables, and the components that compute one from another.

    Everything before the network works on single tokens, so a batch is a flat tensor of them, and
    in serving of the distinct ones alone.

    Args:
        config: the "chainer" group of a resolved configuration.
        data: "x" and "y" of the training part, flat string tensors [N]; fits the vocabularies.
        folder: of a saved pipeline; loads the vocabularies. One of the two has to be given.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        data: Mapping[str, tf.Tensor] | None = None,
        folder: Path | None = None,
    ):
        if (data is None) == (folder is None):
            raise ValueError("Chainer takes either data to fit on or a folder to load from")
        self._inputs = _names(config.get("in"), "chainer.in")
        self._targets = _names(config.get("in_y"), "chainer.in_y")
        self._outputs = _names(config.get("out"), "chainer.out")
        self._by_id: dict[str, Any] = {}
        self._steps: list[_Step] = []
        pipe = config.get("pipe")
        if not isinstance(pipe, list) or not all(isinstance(entry, Mapping) for entry in pipe):
            raise ConfigError(f"chainer.pipe: expected a list of objects, received {pipe!r:.200}")
        memory = {}
        if data is not None:
            memory = {self._inputs[0]: data["x"], self._targets[0]: data["y"]}
        for index, entry in enumerate(pipe):
            step = self._build(entry, f"chainer.pipe[{index}]")
            with _config_errors(step.where):
                if hasattr(step.component, "fit") and "ref" not in entry:
                    if folder is not None:
                        step.component.load(folder, step.name)
                    elif step.fit_on and step.fit_on[0] in memory:
                        step.component.fit(memory[step.fit_on[0]])
                    else:
                        raise ConfigError(
                            f"{step.where}: needs fit_on, the variable to be fitted on"
                        )
                self._steps.append(step)
                if data is not None:
                    self._run(step, memory)
        for name in self._outputs:
            self._check_known(name, "chainer.out")
        self.text_splitter = self._one(TextSplitter, "lazy_tokenizer")
        self.tag_vocab: SimpleVocab = self._one(SimpleVocab, "simple_vocab", of_targets=True)
        self.ner: Ner = self._one(Ner, "ner")
        step = next(step for step in self._steps if step.component is self.ner)
        with _config_errors(step.where):
            self.network = self._network(step)
            example = self.encode(tf.constant(["a"]))
            self.network({name: value[None] for name, value in example.items()})

    @property
    def text_layers(self) -> list[keras.layers.Layer]:
        """The layers that `encode` uses."""
        components = [step.component for step in self._text_steps]
        layers = [getattr(component, "lookup", component) for component in components]
        return [layer for layer in layers if isinstance(layer, keras.layers.Layer)]

    @property
    def _text_steps(self) -> list[_Step]:
        """What can be computed from the text alone."""
        known, steps = {self._inputs[0]}, []
        for step in self._steps:
            trained_on = step.targets or isinstance(step.component, Ner)
            if not trained_on and known.issuperset(step.inputs):
                steps.append(step)
                known.update(step.outputs)
        return steps

    def encode(self, tokens: tf.Tensor) -> dict[str, tf.Tensor]:
        """Tokens, strings [N] -> the network's inputs, a dict of tensors [N, ...]."""
        memory = {self._inputs[0]: tokens}
        for step in self._text_steps:
            self._run(step, memory)
        return {key: memory[name] for key, name in self._network_inputs.items()}

    def save(self, folder: Path) -> None:
        """Writes the fitted vocabularies into an existing folder."""
        saved = set()
        for step in self._steps:
            if hasattr(step.component, "save") and id(step.component) not in saved:
                saved.add(id(step.component))
                step.component.save(folder, step.name)

    def _build(self, entry: Mapping[str, Any], where: str) -> _Step:
        inputs = _names(entry.get("in"), f"{where}.in")
        targets = _names(entry["in_y"], f"{where}.in_y") if "in_y" in entry else []
        for name in inputs:
            self._check_known(name, f"{where}.in")
        of_targets = self._derives_from_targets(inputs)
        if "ref" in entry:
            if str(entry["ref"]) not in self._by_id:
                hint = registry.unknown(entry["ref"], self._by_id, "ids")
                raise ConfigError(f"{where}.ref: unknown id {hint}")
            component = self._by_id[str(entry["ref"])]
        else:
            if "class_name" not in entry:
                raise ConfigError(f"{where}: expected class_name or ref")
            component_class = registry.get(entry["class_name"], f"{where}.class_name")
            registry.check_parameters(component_class, entry, where, also=COMPONENT_KEYS)
            settings = {
                key: self._resolve(value, f"{where}.{key}")
                for key, value in entry.items()
                if key not in COMPONENT_KEYS
            }
            if of_targets and "targets" in inspect.signature(component_class).parameters:
                settings["targets"] = True
            with _config_errors(f"{where} ({entry['class_name']})"):
                component = component_class(**settings)
        name = entry.get("id", f"{entry.get('class_name')}_{len(self._steps)}")
        if "id" in entry:
            if not isinstance(name, str) or not _ID.fullmatch(name) or name in self._by_id:
                raise ConfigError(
                    f"{where}.id: expected a name of its own of letters, digits and '_', "
                    f"received {name!r}"
                )
            self._by_id[name] = component
        fit_on = _names(entry["fit_on"], f"{where}.fit_on") if "fit_on" in entry else []
        for variable in fit_on:
            self._check_known(variable, f"{where}.fit_on")
        outputs = _names(entry.get("out"), f"{where}.out")
        if len(outputs) != 1:
            raise ConfigError(f"{where}.out: expected one name, received {outputs!r:.200}")
        return _Step(where, name, component, inputs, targets, outputs, fit_on)

    def _resolve(self, value: Any, where: str) -> Any:
        """`#id.attribute` -> that attribute of the component."""
        if isinstance(value, list):
            return [self._resolve(item, where) for item in value]
        if not (isinstance(value, str) and value.startswith("#")):
            return value
        name, *attributes = value[1:].split(".")
        if name not in self._by_id:
            raise ConfigError(f"{where}: unknown id {registry.unknown(name, self._by_id, 'ids')}")
        found = self._by_id[name]
        for attribute in attributes:
            if attribute.startswith("_") or not hasattr(found, attribute):
                raise ConfigError(f"{where}: {name!r} has no attribute {attribute!r}")
            found = getattr(found, attribute)
        return found

    def _check_known(self, name: str, where: str) -> None:
        known = [*self._inputs, *self._targets]
        known += [out for step in self._steps for out in step.outputs]
        if name not in known:
            raise ConfigError(
                f"{where}: nothing before it produces {registry.unknown(name, known, 'variables')}"
            )

    def _derives_from_targets(self, names: list[str]) -> bool:
        derived = set(self._targets)
        for step in self._steps:
            if derived & set(step.inputs):
                derived.update(step.outputs)
        return bool(derived & set(names))

    def _run(self, step: _Step, memory: dict[str, tf.Tensor]) -> None:
        if isinstance(step.component, TextSplitter):
            memory[step.outputs[0]] = memory[step.inputs[0]]  # tokens already
        elif not isinstance(step.component, Ner) and all(i in memory for i in step.inputs):
            memory[step.outputs[0]] = step.component(*(memory[name] for name in step.inputs))

    def _one(self, kind: type, class_name: str, of_targets: bool | None = None) -> Any:
        found = {
            id(step.component): step.component
            for step in self._steps
            if isinstance(step.component, kind)
            and (of_targets is None or step.component.targets == of_targets)
        }
        if len(found) != 1:
            what = f"{class_name} over {self._targets}" if of_targets else class_name
            raise ConfigError(f"chainer.pipe: expected one {what}, found {len(found)}")
        return next(iter(found.values()))

    def _network(self, step: _Step) -> NerNetwork:
        producers = {out: s.component for s in self._steps for out in s.outputs}
        self._network_inputs: dict[str, str] = {}
        self.embedder: Glove | None = None  # the component of the word vectors
        n_chars = None
        for name in step.inputs:
            component = producers.get(name)
            if isinstance(component, Glove):
                self.embedder = component
                self._network_inputs["words"] = name
            elif isinstance(component, SimpleVocab):
                n_chars = component.len
                self._network_inputs["chars"] = name
            else:
                self._network_inputs[name] = name
        if self.embedder is None:
            raise ConfigError(f"{step.where}.in: expected an output of a component of word vectors")
        return self.ner.network(self.tag_vocab.items, self.embedder.embedding, n_chars)


def _names(value: Any, where: str) -> list[str]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise ConfigError(f"{where}: expected a name or a list of names, received {value!r}")
    return names


@contextlib.contextmanager
def _config_errors(where: str) -> Iterator[None]:
    """Says which entry it is whose settings a component or a layer does not accept."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, tf.errors.OpError) as error:
        raise ConfigError(f"{where}: {error}") from error
