"""What stands beside an exported model for the people who run it."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

import keras
import tensorflow as tf

from kerasner import schemes
from kerasner._version import __version__
from kerasner.tagger import Tagger

LEAST_TENSORFLOW = "2.15"  # knows every operation of the graph, see tests/serving/test_export.py

_MEANINGS = {
    "text": "texts of any length, UTF-8",
    "tokens": 'the words of a sentence or text, padded with ""',
    "tags": "their tags in BIO",
    "scores": "probability of each tag, or of each entity",
    "starts": "offset of the first character, in Unicode code points of the text",
    "ends": "offset after the last character",
    "lengths": "tokens of each row; what follows is padding",
    "labels": "kind of each entity",
    "texts": "each entity as it stands in the text",
    "counts": "entities of each text; what follows is padding",
}
_DIMENSIONS = {"entities": "BE"}  # else batch and tokens
_WIRING = ("class_name", "in", "in_y", "out", "id", "ref", "fit_on", "main", "save_path")


def tags(tagger: Tagger) -> list[str]:
    """Every tag that the model may answer, in BIO."""
    labels = schemes.entity_rules(tagger.tags, tagger.model.scheme).labels
    return ["O", *(f"{prefix}-{label}" for label in labels for prefix in "BI")]


def model_card(tagger: Tagger, name: str) -> str:
    """A description of an exported model, in Markdown.

    Args:
        tagger: what is exported.
        name: under which it is served.
    """
    labels = schemes.entity_rules(tagger.tags, tagger.model.scheme).labels
    splitter = tagger.chainer.text_splitter.sentence_splitter
    parts = [
        f"# {name}",
        "Named entity recognition, written by kerasner.",
        _table(
            ("", ""),
            [
                ("Entities", ", ".join(labels)),
                ("Tags", "BIO, listed in `tags.txt`"),
                ("Language of the sentence splitter", splitter.language),
                ("Made with", f"kerasner {__version__}, TensorFlow {tf.__version__}, "
                 f"Keras {keras.__version__}"),
                ("Needs", f"TensorFlow or TensorFlow Serving {LEAST_TENSORFLOW} or newer, and no "
                 "other library"),
            ],
        ),
        "## Signatures",
        "B: texts or rows; T: tokens of the longest of them; E: entities of the one with the most.",
    ]  # fmt: skip
    for key, function in sorted(tagger.graph.signatures.items()):
        table = _table(("", "name", "dtype and shape", ""), _tensors(key, function))
        parts += [f"### {key}", table]
    parts += ["## How it was made", "\n".join(_settings(tagger.config))]
    return "\n\n".join(parts) + "\n"


def _tensors(key: str, function: Any) -> Iterator[tuple[str, ...]]:
    concrete = function.get_concrete_function()
    inputs = {spec.name: spec for spec in function.input_signature}
    for kind, specs in (("input", inputs), ("output", concrete.structured_outputs)):
        for name, spec in sorted(specs.items()):
            letters = _DIMENSIONS.get(key, "BT")[: spec.shape.rank]
            # What a configuration takes beside the tokens has a name of its own.
            meaning = _MEANINGS.get(name, "a value for each token")
            yield kind, f"`{name}`", f"{spec.dtype.name} [{', '.join(letters)}]", meaning


def _settings(config: Mapping[str, Any]) -> Iterator[str]:
    """Components with their parameters, and how they were trained."""
    for entry in config["chainer"]["pipe"]:
        if "class_name" in entry:
            given = {key: value for key, value in entry.items() if key not in _WIRING}
            yield f"- {entry['class_name']}{_listed(given)}"
    yield f"- training{_listed(config.get('train', {}))}"


def _listed(settings: Mapping[str, Any]) -> str:
    def shown(key: str, value: Any) -> str:
        if key.endswith("_path"):  # where it lay is nobody's business
            value = PurePath(str(value)).name
        return textwrap.shorten(json.dumps(value, ensure_ascii=False), 100)

    listed = ", ".join(f"{key} = {shown(key, value)}" for key, value in settings.items())
    return f": {listed}" if listed else ""


def _table(header: tuple[str, ...], rows: Any) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
