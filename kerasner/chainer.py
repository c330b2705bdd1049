"""From a resolved configuration to a text pipeline and a network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from kerasner import pipe as pipes
from kerasner.components import MAIN, Mask, Ner, NerSvm, SimpleVocab, TextSplitter
from kerasner.errors import ConfigError
from kerasner.network import NO_FEATURES, TaggingNetwork
from kerasner.pipe import Step, config_errors

_MAIN = tuple(MAIN.values())


class Chainer:
    """A pipeline: named variables, and the components that compute one from another.

    Everything before the network works on single tokens, so a batch is a flat tensor of them, and
    in serving of the distinct ones alone.

    Args:
        config: the "chainer" group of a resolved configuration.
        data: the inputs and targets of the training part by their names in the configuration, flat
            string tensors [N]; fits the vocabularies.
        folder: of a saved pipeline; loads the vocabularies. One of the two has to be given.

    Attributes:
        inputs, targets: names of the variables that are there from the start.
        network: the network, untrained where nothing is loaded.
        main: the component that made it.
        embedder: the component of the word vectors; None where a vocabulary is embedded.
        tag_vocab, text_splitter: the components of these tasks.
        row_names: what the last rows of tables of trained vectors stand for, see
            `kerasner.transfer.Pipeline`.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        data: Mapping[str, tf.Tensor] | None = None,
        folder: Path | None = None,
    ):
        if (data is None) == (folder is None):
            raise ValueError("Chainer takes either data to fit on or a folder to load from")
        pipes.check(config)
        self.inputs, self.targets = pipes.variables(config)
        self._steps: list[Step] = []
        memory = dict(data or {})
        builder = pipes.Builder()
        for index, entry in enumerate(config["pipe"]):
            of_targets = self._derives_from_targets(entry)
            step = builder.build(entry, f"chainer.pipe[{index}]", of_targets)
            with config_errors(step.where):
                if folder is not None and hasattr(step.component, "load") and not step.is_ref:
                    step.component.load(folder, step.name)
                elif folder is None and hasattr(step.component, "fit") and not step.is_ref:
                    self._fit(step, memory)
            self._steps.append(step)
            if data is not None and self._is_computed(step) and memory.keys() >= set(step.inputs):
                step.run(memory)
        self.text_splitter: TextSplitter = self._found(TextSplitter, "lazy_tokenizer")[0]
        vocabularies = self._found(SimpleVocab, f"simple_vocab over {self.targets}", targets=True)
        self.tag_vocab: SimpleVocab = vocabularies[0]
        self.main: Ner | NerSvm = self._found(_MAIN, " or ".join(MAIN))[0]
        step = next(step for step in self._steps if step.component is self.main)
        with config_errors(step.where):
            self.network: TaggingNetwork = self._network(step)
            example = self.encode(*(tf.constant(["a"]) for _ in self.inputs))
            self.network({name: value[None] for name, value in example.items()})

    @property
    def text_layers(self) -> list[Any]:
        """The layers, modules and tables that `encode` uses."""
        kinds = (tf.Module, keras.layers.Layer, tf.lookup.StaticHashTable)
        found = []
        for component in (step.component for step in self._text_steps):
            if isinstance(component, kinds):
                found.append(component)
            elif not isinstance(component, TextSplitter):
                held = dict(getattr(component, "__dict__", {}))
                held.pop("embedding", None)  # a part of the network
                found += [item for item in held.values() if isinstance(item, kinds)]
        return found

    def encode(self, *inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Tokens and further inputs, strings [N] -> the network's inputs, a dict of [N, ...]."""
        memory = dict(zip(self.inputs, inputs, strict=True))
        for step in self._text_steps:
            step.run(memory)
        encoded = {key: memory[name] for key, name in self._network_inputs.items()}
        if encoded["words"].shape.rank > 1:  # there is no one id of padding
            encoded["mask"] = tf.ones_like(inputs[0], tf.float32)
        return encoded

    def save(self, folder: Path) -> None:
        """Writes the fitted vocabularies into an existing folder."""
        for step in self._steps:
            if hasattr(step.component, "save") and not step.is_ref:
                step.component.save(folder, step.name)

    @property
    def _text_steps(self) -> list[Step]:
        """What the network needs, and can be computed from the inputs alone."""
        known, steps = set(self.inputs), []
        for step in self._steps:
            if not step.targets and self._is_computed(step) and known.issuperset(step.inputs):
                steps.append(step)
                known.update(step.outputs)
        needed, kept = set(self._network_inputs.values()), []
        for step in reversed(steps):
            if needed & set(step.outputs):
                kept.append(step)
                needed.update(step.inputs)
        return kept[::-1]

    @staticmethod
    def _is_computed(step: Step) -> bool:
        return bool(step.inputs) and not isinstance(step.component, _MAIN)

    @staticmethod
    def _fit(step: Step, memory: Mapping[str, tf.Tensor]) -> None:
        if not step.fit_on and getattr(step.component, "ready", False):
            return
        fit_on = step.fit_on or step.inputs
        if not fit_on or not memory.keys() >= set(fit_on):
            raise ConfigError(
                f"{step.where}: needs fit_on, the variable to be fitted on; received "
                f"{fit_on or 'none'}, of which the data gives no values"
            )
        values = [memory[name] for name in fit_on]
        # There may be tags of more tokens than there are inputs, see `fit_pipeline`.
        count = min(value.shape[0] for value in values)
        step.component.fit(*(value[:count] for value in values))

    def _derives_from_targets(self, entry: Mapping[str, Any]) -> bool:
        derived = set(self.targets)
        for step in self._steps:
            if derived & set(step.inputs):
                derived.update(step.outputs)
        given = entry.get("in", entry.get("fit_on", []))
        return bool(given) and bool(derived & set(pipes.names(given, "")))

    def _found(self, kind: type | tuple[type, ...], what: str, **attributes: Any) -> list[Any]:
        found = {
            id(step.component): step.component
            for step in self._steps
            if isinstance(step.component, kind)
            and all(getattr(step.component, k) == v for k, v in attributes.items())
        }
        # A second tokenizer gets tokens and lets them pass.
        if not found or (len(found) > 1 and kind is not TextSplitter):
            raise ConfigError(f"chainer.pipe: expected one {what}, found {len(found)}")
        return list(found.values())

    def _network(self, step: Step) -> TaggingNetwork:
        producers = {out: s.component for s in self._steps for out in s.outputs}
        words, *others = step.inputs
        component = producers.get(words)
        self.embedder = component if hasattr(component, "embedding") else None
        self._network_inputs = {"words": words}
        self.row_names: dict[str, list[str]] = {}
        n_chars = None
        for name in others:
            component = producers.get(name)
            if isinstance(component, Mask):
                continue  # padding is known from the ids, and in serving from the lengths
            if hasattr(component, "embedding"):
                raise ConfigError(
                    f"{step.where}.in: the word vectors {name!r} have to come first, where now "
                    f"{words!r} is"
                )
            if isinstance(component, SimpleVocab):
                if n_chars is not None:
                    raise ConfigError(
                        f"{step.where}.in: expected one input of character ids, received "
                        f"{self._network_inputs['chars']!r} and {name!r}; other ids go through "
                        "one_hotter"
                    )
                n_chars = component.len
                self.row_names["char_features"] = component.items
                self._network_inputs["chars"] = name
            elif name in NO_FEATURES:
                raise ConfigError(
                    f"{step.where}.in: {name!r} is what the network calls an input of its own; "
                    "expected another name for the variable"
                )
            else:
                self._network_inputs[name] = name
        example = self.encode(*(tf.constant(["a"]) for _ in self.inputs))
        if n_chars is not None and example["chars"].shape.rank != 2:
            raise ConfigError(
                f"{step.where}.in: expected {self._network_inputs['chars']!r} to be ids of "
                f"characters [N, C], received {example['chars'].dtype.name} "
                f"{example['chars'].shape}; other ids go through one_hotter"
            )
        features = self._features(step, example)
        component = producers.get(words)
        embedded: Any = None
        if self.embedder is not None:
            embedded = self.embedder.embedding
            if hasattr(self.embedder, "own"):
                self.row_names["token_embedding"] = self.embedder.own
        elif isinstance(component, SimpleVocab) and example["words"].shape.rank == 1:
            embedded = component.len
            self.row_names["token_embedding"] = component.items
        elif not example["words"].dtype.is_floating:
            raise ConfigError(
                f"{step.where}.in: expected word ids of a vocabulary or word vectors first, "
                f"received {words!r}: {example['words'].dtype.name} {example['words'].shape}"
            )
        return self.main.network(self.tag_vocab.items, embedded, n_chars, features)

    def _features(self, step: Step, example: Mapping[str, tf.Tensor]) -> dict[str, int]:
        """Widths of the inputs that are used as they are."""
        features = {}
        for name in example.keys() - set(NO_FEATURES):
            value = example[name]
            if value.shape.rank != 2 or value.shape[-1] is None or not value.dtype.is_floating:
                raise ConfigError(
                    f"{step.where}.in: expected {name!r} to be floats [N, K], a row a token; "
                    f"received {value.dtype.name} {value.shape}"
                )
            features[name] = int(value.shape[-1])
        return features
