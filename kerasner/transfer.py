"""Starting a network from the weights of another one that was trained."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kerasner.network import TaggingNetwork
from kerasner.storage import layer_weights

_LOG = logging.getLogger(__name__)
# Axes of weights that count tags.
_TAG_AXES = {
    "crf/kernel": (1,),
    "crf/bias": (0,),
    "crf/transitions": (0, 1),
    "crf/left_boundary": (0,),
    "crf/right_boundary": (0,),
}
_TABLE = "embeddings"  # weight of a layer of words or characters whose rows have names

_Places = dict[int, tuple[list[int], list[int]]]  # per axis, of the source and of the target


class Pipeline(Protocol):
    """What is known of a network and its ids; `kerasner.chainer.Chainer` is one.

    Attributes:
        network: built.
        row_names: words or characters that the last rows of a table of trained vectors stand for,
            by the name of the layer, "token_embedding" or "char_features". The row before them is
            that of the unknown.
    """

    network: TaggingNetwork
    row_names: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Report:
    """What a network took from another.

    Attributes:
        taken: names of weights that were taken as a whole.
        in_part: names of weights that were taken for the words, characters or tags that both know.
        fresh: names of weights that stayed as they were.
    """

    taken: list[str]
    in_part: list[str]
    fresh: list[str]

    def __str__(self) -> str:
        groups = (
            ("taken", self.taken),
            ("taken in part", self.in_part),
            ("not taken", self.fresh),
        )
        return "; ".join(f"{title}: {', '.join(names) or 'nothing'}" for title, names in groups)


def transfer(source: Pipeline, target: Pipeline) -> Report:
    """Copies weights from one network into another, as far as they mean the same.

    Word and character vectors go by word and character, what belongs to a tag goes by the tag's
    name, and all else goes where name and shape are the same. What the target knows and the source
    does not stays as it was; another set of tags is no error. One log line says what was done.

    Args:
        source: trained.
        target: changed in place.

    Returns:
        What was taken.
    """
    ours, theirs = layer_weights(target.network), layer_weights(source.network)
    report = Report([], [], [])
    for name, weight in ours.items():
        if name not in theirs:
            report.fresh.append(name)
            continue
        old, new = np.asarray(theirs[name]), np.asarray(weight).copy()
        places = _places(name, source, target, old.shape, new.shape)
        if places is None or _sizes(old, places) != _sizes(new, places):
            report.fresh.append(name)
            continue
        everywhere = [(range(size), range(size)) for size in new.shape]
        from_, to = zip(*(places.get(i, pair) for i, pair in enumerate(everywhere)), strict=True)
        new[np.ix_(*to)] = old[np.ix_(*from_)]
        weight.assign(new)
        is_whole = all(len(rows) == new.shape[axis] for axis, (_, rows) in places.items())
        (report.taken if is_whole else report.in_part).append(name)
    _LOG.info("weights of another model: %s", report)
    return report


def _sizes(weight: np.ndarray, places: _Places) -> list[int]:
    """Of the axes that are copied as a whole."""
    return [size for axis, size in enumerate(weight.shape) if axis not in places]


def _places(
    name: str,
    source: Pipeline,
    target: Pipeline,
    old: tuple[int, ...],
    new: tuple[int, ...],
) -> _Places | None:
    """Where on the axes that have names stands what both know; None: the names are not known."""
    if name in _TAG_AXES:
        names = source.network.tags, target.network.tags
        return {axis: _shared(*names, old[axis], new[axis]) for axis in _TAG_AXES[name]}
    layer, weight = name.split("/", 1)
    known = layer in source.row_names, layer in target.row_names
    if weight != _TABLE or not any(known):
        return {}
    if not all(known):
        return None
    return {0: _shared(source.row_names[layer], target.row_names[layer], old[0], new[0])}


def _shared(
    old_names: Sequence[str], new_names: Sequence[str], old_size: int, new_size: int
) -> tuple[list[int], list[int]]:
    """Places of the shared names; those before the first name are matched from the last one on."""
    first_old, first_new = old_size - len(old_names), new_size - len(new_names)
    place_of = {name: place for place, name in enumerate(old_names, first_old)}
    pairs = [(first_old - i, first_new - i) for i in range(1, min(first_old, first_new) + 1)]
    pairs += [
        (place_of[name], place)
        for place, name in enumerate(new_names, first_new)
        if name in place_of
    ]
    return [old for old, _ in pairs], [new for _, new in pairs]
