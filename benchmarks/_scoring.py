"""Answers of an exported model against the right ones, from tokens and from raw text."""

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import _common
import numpy as np
import tensorflow as tf

from kerasner import bio

BATCH_SIZE = 256
Sample = tuple[Sequence[str], Sequence[str]]  # tokens and tags
Labels = Mapping[str, str] | None  # those that count, and as which; None: all, as they are


class Text(NamedTuple):
    """A text and its right entities: (label, start, end) in characters."""

    text: str
    entities: set[tuple[str, int, int]]


class Found(NamedTuple):
    """An entity that was found, and the probability that the model gives it."""

    label: str
    start: int
    end: int
    score: float


def arguments(description: str, parts: Sequence[str], default: str) -> argparse.Namespace:
    """The options that these benchmarks share; `samples` are those of the part."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("model", help="name of a model of kerasner, or folder of a trained one")
    parser.add_argument("--data", required=True, help="folder of the data set")
    parser.add_argument("--part", default=default, choices=parts)
    parser.add_argument("--unescape", action="store_true", help="tokens are OntoNotes' (-LRB-)")
    parser.add_argument(
        "--labels",
        nargs="+",
        help="score entities of these labels alone; GPE=LOC: those of GPE, as if they were LOC",
    )
    found = parser.parse_args()
    if found.labels:
        pairs = [entry.partition("=") for entry in found.labels]
        if not all(old and (new or not sign) for old, sign, new in pairs):
            parser.error(f"--labels: expected LABEL or LABEL=OTHER, received {found.labels}")
        found.labels = {old: new or old for old, _, new in pairs}
    found.samples = [
        (tokens, of_labels(found.labels, tags))
        for tokens, tags in _common.sentences(found.data, found.part, unescape=found.unescape)
    ]
    return found


def result_name(kind: str, found: argparse.Namespace) -> str:
    """What a result is called: the benchmark, model, data, part, and labels if not all count."""
    names = [kind, Path(found.model).name, Path(found.data).name, found.part]
    return "-".join([*names, *dict.fromkeys((found.labels or {}).values())])


def of_labels(labels: Labels, tags: Sequence[str]) -> list[str]:
    """Tags, those of any label that does not count being O."""
    if labels is None:
        return list(tags)
    return [tag[:2] + labels[tag[2:]] if tag[2:] in labels else "O" for tag in tags]


@contextlib.contextmanager
def exported(model: str) -> Iterator[dict[str, Any]]:
    """The signatures of a model's SavedModel, which another process writes."""
    with tempfile.TemporaryDirectory() as folder:
        export = Path(__file__).parent / "_export.py"
        subprocess.run([sys.executable, export, model, f"{folder}/model"], check=True)
        yield tf.saved_model.load(f"{folder}/model").signatures


def tagged(signature, samples: Sequence[Sample]) -> Iterator[tuple[list[str], np.ndarray]]:
    """Tags and scores that the signature `tokens` gives to each sentence."""
    for batch in _batches([tokens for tokens, _ in samples]):
        width = max(map(len, batch))
        rows = [[*tokens, *[""] * (width - len(tokens))] for tokens in batch]
        answer = signature(tokens=tf.constant(rows))
        tags, scores = answer["tags"].numpy(), answer["scores"].numpy()
        for tokens, row, of_row in zip(batch, tags, scores, strict=True):
            yield [tag.decode() for tag in row[: len(tokens)]], of_row[: len(tokens)]


def from_tokens(signature, samples: Sequence[Sample], labels: Labels = None) -> bio.Report:
    """conlleval's report on the answers of the signature `tokens`."""
    predicted = [of_labels(labels, tags) for tags, _ in tagged(signature, samples)]
    return bio.report([tags for _, tags in samples], predicted)


def text_of(tokens: Sequence[str], tags: Sequence[str], gaps: Sequence[str] | None = None) -> Text:
    """A sentence as text.

    Args:
        tokens, tags: of the sentence.
        gaps: what stands before each token and after the last; None: single spaces between them.
    """
    if gaps is None:
        gaps = ["", *[" "] * (len(tokens) - 1), ""]
    text, offsets = gaps[0], []
    for token, gap in zip(tokens, gaps[1:], strict=True):
        offsets.append((len(text), len(text) + len(token)))
        text += token + gap
    spans = {(label, offsets[a][0], offsets[b - 1][1]) for label, a, b in bio.entities(tags)}
    return Text(text, spans)


def entities(signature, texts: Sequence[Text], labels: Labels = None) -> Iterator[list[Found]]:
    """What the signature `entities` finds in each text, as far as its labels count."""
    for batch in _batches(texts):
        answer = signature(text=tf.constant([text.text.encode() for text in batch]))
        answer = {name: value.numpy() for name, value in answer.items()}
        columns = [answer[name] for name in ("labels", "starts", "ends", "scores")]
        for *row, count in zip(*columns, answer["counts"], strict=True):
            found = [
                Found(label.decode(), int(start), int(end), float(score))
                for label, start, end, score in zip(*(c[:count] for c in row), strict=True)
            ]
            if labels is not None:
                found = [e._replace(label=labels[e.label]) for e in found if e.label in labels]
            yield found


def from_text(signature, texts: Sequence[Text], labels: Labels = None) -> bio.Score:
    """Counts of entities that agree in label and characters."""
    gold = predicted = correct = 0
    for text, row in zip(texts, entities(signature, texts, labels), strict=True):
        found = {entity[:3] for entity in row}
        gold += len(text.entities)
        predicted += len(found)
        correct += len(found & text.entities)
    return bio.Score(gold, predicted, correct)


def _batches(items: Sequence) -> Iterator[Sequence]:
    for start in range(0, len(items), BATCH_SIZE):
        yield items[start : start + BATCH_SIZE]
