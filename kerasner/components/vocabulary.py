"""Vocabularies: strings to ids and back."""

import os
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from kerasner.components._checks import check_flags, check_strings
from kerasner.components._files import (
    TableFile,
    read_counts,
    read_lines,
    write_counts,
    write_lines,
)
from kerasner.components._strings import counted, is_line
from kerasner.config import check_number, find_file, user_path
from kerasner.errors import ConfigError
from kerasner.layers import CharSplitter
from kerasner.registry import register

_UNKNOWN = "<UNK>"
_LEVELS = ("token", "char")


@register("simple_vocab")
class SimpleVocab:
    """Strings to ids, and ids to strings.

    Id 0 is padding, 1 any unknown string; then come the special tokens, then the strings of the
    data by falling frequency, the first seen first. Over targets (`in_y`) there is neither padding
    nor an unknown tag: ids start at 0. A vocabulary never grows after it is fitted.

    Args:
        special_tokens: get ids whether the data has them or not.
        max_tokens: keep so many of the most frequent strings, special tokens not counted.
        min_freq: keep strings that occur so often.
        pad_with_zeros: no effect: sentences are always padded with zeros.
        unk_token: name of the unknown string; by default the first special token.
        freq_drop_load: read tokens without their counts from `load_path`.
        level: "char": of the characters of tokens, not of tokens.
        save_path: file of `token<TAB>count` lines that is written when the vocabulary is fitted.
        load_path: such a file, read instead of fitting where there is no `fit_on`.
        targets: whether the strings are tags. Set by the chainer.

    Example: `vocab(["the", "zyx"])` -> ids int32 [2]; `vocab([2, 1])` -> strings [2].
    """

    def __init__(
        self,
        special_tokens: list[str] | tuple[str, ...] = (),
        max_tokens: int | None = None,
        min_freq: int = 0,
        pad_with_zeros: bool = False,
        unk_token: str | None = None,
        freq_drop_load: bool | None = None,
        level: str = "token",
        save_path: str | os.PathLike | None = None,
        load_path: str | os.PathLike | None = None,
        targets: bool = False,
    ):
        where = "simple_vocab"
        check_strings(where, special_tokens=special_tokens)
        if unk_token is not None and not (isinstance(unk_token, str) and unk_token):
            raise ConfigError(f"{where}: unk_token: expected a string, received {unk_token!r}")
        check_flags(where, pad_with_zeros=pad_with_zeros)
        if freq_drop_load is not None:
            check_flags(where, freq_drop_load=freq_drop_load)
        if max_tokens is not None:
            check_number(f"{where}: max_tokens", max_tokens, 1, whole=True)
        check_number(f"{where}: min_freq", min_freq, 0, whole=True)
        if level not in _LEVELS:
            raise ConfigError(f"{where}: level: expected 'token' or 'char', received {level!r}")
        self.special_tokens = list(dict.fromkeys(special_tokens))
        self.unk_token = unk_token or next(iter(self.special_tokens), _UNKNOWN)
        self.max_tokens = max_tokens
        self.min_freq = min_freq
        self.freq_drop_load = freq_drop_load
        self.save_path = save_path
        self.load_path = load_path
        self.targets = targets
        self.items: list[str] = []
        self.lookup: keras.layers.Layer | None = None
        self._splitter = CharSplitter(max_chars=None) if level == "char" else None

    @property
    def len(self) -> int:
        """Number of ids."""
        return len(self.keys())

    def keys(self) -> list[str]:
        """The string of each id; "" for padding."""
        return self.items if self.targets else ["", self.unk_token, *self.items]

    @property
    def ready(self) -> bool:
        """Whether it needs no fitting. Reads the file of `load_path`, if there is one."""
        if self.lookup is None and self.load_path:
            path = find_file(self.load_path, "simple_vocab: load_path")
            default = self.min_freq if self.freq_drop_load else None
            self._set(self._chosen(read_counts(path, default)))
        return self.lookup is not None

    def fit(self, *strings: tf.Tensor) -> None:
        """Collects the distinct strings of tensors of any shape."""
        counts = counted(*map(self._units, strings))
        chosen = self._chosen(dict(counts.most_common()))
        self._set(chosen)
        if self.save_path:
            kept = dict.fromkeys(self.special_tokens, 0)
            kept.update({item: counts[item] for item in chosen if item not in kept})
            write_counts(user_path(self.save_path), kept)

    def _chosen(self, counts: dict[str, int]) -> list[str]:
        """Special tokens, then the strings to be kept of those counted."""
        named = {*self.special_tokens, *([] if self.targets else [self.unk_token])}
        special = [
            token for token in self.special_tokens if self.targets or token != self.unk_token
        ]
        others = [string for string in counts if is_line(string) and string not in named]
        others = [string for string in others[: self.max_tokens] if counts[string] >= self.min_freq]
        if not special + others:
            raise ConfigError(
                f"simple_vocab: none of {len(counts)} distinct strings is left with "
                f"min_freq {self.min_freq}; expected one at least"
            )
        return special + others

    def _units(self, strings: tf.Tensor) -> tf.Tensor:
        # Characters may be given as such, [N, C].
        return self._splitter(strings) if self._splitter and strings.shape.rank == 1 else strings

    def _set(self, items: list[str]) -> None:
        self.items = items
        self._table_file = TableFile(items)
        settings: dict[str, Any] = {"vocabulary": self._table_file.path}
        if self.targets:
            self.lookup = keras.layers.StringLookup(num_oov_indices=0, **settings)
        else:
            self.lookup = keras.layers.TextVectorization(standardize=None, split=None, **settings)

    def __call__(self, values: tf.Tensor) -> tf.Tensor:
        values = tf.convert_to_tensor(values)
        if values.dtype.is_integer:
            return tf.gather(tf.constant(self.keys()), values)
        return tf.cast(self.lookup(self._units(values)), tf.int32)

    def save(self, folder: Path, name: str) -> None:
        write_lines(folder / f"{name}.txt", self.items)

    def load(self, folder: Path, name: str) -> None:
        self._set(read_lines(folder / f"{name}.txt"))
