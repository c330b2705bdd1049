"""Word lists as features of tokens: which lists a token is in, and at which place."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerasner import storage
from kerasner.components._files import TableFile, read_lines, write_lines
from kerasner.components._shipped import shipped_or_found
from kerasner.config import check_number
from kerasner.data.lexicon import read_lists
from kerasner.errors import ArchiveError, DataError
from kerasner.registry import register

_LOG = logging.getLogger(__name__)
NAME = "lexicon"
_MOST = 1e3  # that a feature may be
_WHOLE, _FIRST, _LATER = range(3)  # places of a word in an entry of a list


@register(NAME)
class Lexicon:
    """Lists of names, such as gazetteers: strings [N] -> float32 [N, dim].

    There is a feature for each list and each place that a token can have in its entries: the whole
    entry, the first word of a longer one, a later word. A list whose entries are single words has
    the first of these alone. Tokens are looked up as they come: where the lists are in lower case,
    the component goes after `str_lower`.

    Args:
        load_path: a JSON file, an object of lists by their names, each a list of entries (words
            with white space between them) or, as DeepPavlov's `dstc_slot_vals.json`, an object
            of such lists; or the name of a lexicon that comes with kerasner, "names_ru". Of no
            account where a trained tagger is loaded: that has the lists in its own folder.
        value: of a feature where it holds; 0 where not. How much the lists count for `ner_svm`.

    Attributes:
        dim: width of the output.

    References:
        Chiu, Nichols (2016): Named entity recognition with bidirectional LSTM-CNNs.
    """

    def __init__(self, load_path: str | None = None, value: float = 1.0):
        check_number(f"{NAME}: value", value, 0, _MOST)
        self._load_path = load_path
        self._value = value

    @property
    def dim(self) -> int:
        """Width of the output."""
        return self._features.shape[1]

    def fit(self, *tokens: tf.Tensor) -> None:
        """Reads the lists; of the tokens nothing is learnt but that a list has none of them."""
        lists = find_lists(self._load_path, f"{NAME}: load_path")
        known = {
            token.decode("utf-8", "replace")
            for part in tokens
            for token in tf.unique(part)[0].numpy()
        }
        idle = [name for name in lists if known.isdisjoint(" ".join(lists[name]).split())]
        if idle:
            _LOG.warning(
                "%s: no token of the training part is in the lists %s; entries are compared as "
                "they are, capital letters included",
                NAME,
                ", ".join(map(repr, idle)),
            )
        self._set(*_compiled(lists))

    def __call__(self, tokens: tf.Tensor) -> tf.Tensor:
        return tf.gather(tf.constant(self._features), self._table.lookup(tokens))

    def _set(self, columns: list[str], rows: list[list[int]], lines: list[str]) -> None:
        """Names of the features, which of them each kind of word has, `word<TAB>kind` lines."""
        self._columns, self._rows, self._lines = columns, rows, lines
        self._features = np.zeros((len(rows), len(columns)), np.float32)
        for row, ones in enumerate(rows):
            self._features[row, ones] = self._value
        self._file = TableFile(lines)
        source = tf.lookup.TextFileInitializer(
            self._file.path, tf.string, 0, tf.int64, 1, delimiter="\t"
        )
        self._table = tf.lookup.StaticHashTable(source, default_value=0)

    def save(self, folder: Path, name: str) -> None:
        storage.write_json(
            folder / f"{name}.json", {"features": self._columns, "kinds": self._rows}
        )
        write_lines(folder / f"{name}.txt", self._lines)

    def load(self, folder: Path, name: str) -> None:
        path = folder / f"{name}.json"
        content = storage.read_json(path)
        lines = read_lines(folder / f"{name}.txt")
        try:
            self._set(content["features"], content["kinds"], lines)
            kinds = {int(line.rpartition("\t")[2]) for line in lines}
            if not kinds <= set(range(len(self._rows))):
                raise ValueError(f"{name}.txt has kinds of words that are not there")
        except (KeyError, TypeError, ValueError, IndexError, tf.errors.OpError) as error:
            raise ArchiveError(f"{path}: damaged: {error}") from error


def find_lists(load_path: Any, where: str) -> dict[str, list[str]]:
    """The lists of a file, or of a lexicon that comes with kerasner; `where`: for messages."""
    with shipped_or_found(load_path, NAME, where) as (place, is_shipped):
        try:
            return read_lists(place / f"{NAME}.json" if is_shipped else place)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error


def _compiled(lists: Mapping[str, Iterable[str]]) -> tuple[list[str], list[list[int]], list[str]]:
    """What `Lexicon._set` takes."""
    places: dict[str, set[tuple[int, int]]] = {}
    for number, entries in enumerate(lists.values()):
        for entry in entries:
            words = entry.split()
            for index, word in enumerate(words):
                place = _WHOLE if len(words) == 1 else _FIRST if index == 0 else _LATER
                places.setdefault(word, set()).add((number, place))
    used = sorted({place for found in places.values() for place in found})
    column = {place: index for index, place in enumerate(used)}
    kinds: dict[tuple[int, ...], int] = {(): 0}
    lines = []
    for word in sorted(places):
        ones = tuple(sorted(column[place] for place in places[word]))
        lines.append(f"{word}\t{kinds.setdefault(ones, len(kinds))}")
    names = list(lists)
    columns = [f"{names[number]}/{('whole', 'first', 'later')[place]}" for number, place in used]
    return columns, [list(ones) for ones in kinds], lines
