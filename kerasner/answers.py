"""What a tagger takes and gives, whether it runs here or behind a server."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kerasner.data.pipeline import columns


class Entity(NamedTuple):
    """A named entity of a text.

    Attributes:
        text: as it stands in the text.
        label: such as "PER".
        start, end: code-point offsets, `text[start:end]` being the entity.
        score: probability of just this span with just this label.
    """

    text: str
    label: str
    start: int
    end: int
    score: float


def check_texts(inputs: Sequence[str], texts: Any) -> None:
    """Raises TypeError unless a model of these inputs takes `texts` as a batch of raw texts."""
    if inputs[1:]:
        raise TypeError(f"a model with the inputs {inputs} takes no raw text")
    if not _is_batch(texts):
        raise TypeError(f"expected a list of texts, received {texts!r:.200}")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"expected a list of texts, received {text!r:.200} at place {place}")


def sentences(inputs: Sequence[str], batch: Any, further: Sequence[Any]) -> list | None:
    """The sentences of a batch, or None where it is one of raw texts.

    Args:
        inputs: names of the model's inputs.
        batch: texts, or lists of tokens.
        further: what was given for the other inputs.

    Returns:
        A list of tokens each, or where there are other inputs a tuple of lists.

    Raises:
        TypeError: it is neither.
        kerasner.errors.DataError: the inputs of a sentence differ in length.
    """
    if len(further) != len(inputs) - 1:
        raise TypeError(f"expected the inputs {inputs}, received {1 + len(further)} of them")
    for rows in (batch, *further):
        if not _is_batch(rows):
            raise TypeError(f"expected a list of texts or of token lists, received {rows!r:.200}")
    if not further and all(isinstance(item, str) for item in batch):
        return None
    are_texts = not further and isinstance(next(iter(batch)), str)
    fits = (lambda item: isinstance(item, str)) if are_texts else _is_token_list
    for rows in (batch, *further):
        for place, row in enumerate(rows):
            if not fits(row):
                raise TypeError(
                    f"expected only {'' if further else 'texts or only '}lists of non-empty "
                    f"tokens, received {row!r:.200} at place {place}"
                )
    tokens = [list(row) for row in batch]
    rows = list(zip(tokens, *further, strict=True)) if further else tokens
    columns(rows, len(inputs))  # checks the lengths
    return rows


def _is_batch(rows: Any) -> bool:
    """Whether it has items, and not for one reading alone."""
    return isinstance(rows, Iterable) and not isinstance(rows, (str, bytes, Mapping, Iterator))


def _is_token_list(item: Any) -> bool:
    is_list = isinstance(item, (list, tuple, np.ndarray))
    return is_list and all(isinstance(token, str) and token for token in item)


def encoded(strings: Sequence[str]) -> list[bytes]:
    """Strings in UTF-8; a lone surrogate becomes "?", so that offsets stay what they are."""
    return [string.encode("utf-8", "replace") for string in strings]


def gathered(
    answers: Iterable[Mapping[str, np.ndarray]], names: Sequence[str], lengths: str
) -> list[list[list]]:
    """The rows of some outputs, without padding, strings decoded.

    Args:
        answers: of a signature to the pieces of a batch, one after the other.
        names: of the outputs, each dense [B, T].
        lengths: name of the output [B] that tells how long each row is.

    Returns:
        For each name a list of all rows.
    """
    columns: list[list[list]] = [[] for _ in names]
    for answer in answers:
        for name, column in zip(names, columns, strict=True):
            column += _unpadded(answer[name], answer[lengths])
    return columns


def entities(answers: Iterable[Mapping[str, np.ndarray]]) -> list[list[Entity]]:
    """Answers of the signature `entities` to the pieces of a batch -> entities of each text."""
    columns = gathered(answers, ("texts", "labels", "starts", "ends", "scores"), "counts")
    return [
        [Entity(*values) for values in zip(*row, strict=True)] for row in zip(*columns, strict=True)
    ]


def _unpadded(values: np.ndarray, lengths: np.ndarray) -> list[list]:
    rows = [row[:length].tolist() for row, length in zip(values, lengths, strict=True)]
    if values.dtype == object:
        rows = [[item.decode("utf-8", "replace") for item in row] for row in rows]
    return rows
