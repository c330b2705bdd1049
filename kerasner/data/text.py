"""Raw text for a language model: files of lines to sentences of tokens, and these as numbers."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from kerasner.data.conll import Conll2003Reader
from kerasner.errors import DataError
from kerasner.layers import SentenceSplitter, Tokenizer

_OPENERS = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
_LINES_AT_ONCE = 2_000
_LEAST_TOKENS = 3  # of a sentence that teaches anything


class Splitter(Protocol):
    """What makes sentences of tokens of a text, such as the component `lazy_tokenizer`."""

    tokenizer: Tokenizer
    sentence_splitter: SentenceSplitter


class Corpus(NamedTuple):
    """Sentences as numbers of words, the words being sorted by falling frequency.

    Attributes:
        words: distinct tokens, each with its letter case, strings [V].
        counts: how often each occurs, int64 [V].
        tokens: of all sentences, int32 [N].
        splits: where sentences begin and end in these, int64 [S + 1].
    """

    words: list[bytes]
    counts: np.ndarray
    tokens: np.ndarray
    splits: np.ndarray

    @classmethod
    def of(cls, sentences: Iterable[Sequence[bytes]], max_tokens: int) -> "Corpus":
        number_of: dict[bytes, int] = {}
        tokens: list[np.ndarray] = []
        for sentence in sentences:
            for start in range(0, len(sentence), max_tokens):
                piece = sentence[start : start + max_tokens]
                if len(piece) >= _LEAST_TOKENS:
                    numbers = [number_of.setdefault(word, len(number_of)) for word in piece]
                    tokens.append(np.array(numbers, np.int32))
        if not tokens:
            raise DataError(f"expected text, found no sentence of {_LEAST_TOKENS} tokens or more")
        flat = np.concatenate(tokens)
        counts = np.bincount(flat, minlength=len(number_of))
        order = np.argsort(-counts, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        words = list(number_of)
        return cls(
            [words[number] for number in order],
            counts[order],
            rank[flat].astype(np.int32),
            np.cumsum([0, *map(len, tokens)]),
        )

    def batches(
        self, sentences: np.ndarray, batch_tokens: int, rng: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Sentences of like length together, in a random order: int32 [B, T], padded with -1."""
        lengths = np.diff(self.splits)[sentences]
        order = np.argsort(lengths + 4 * rng.random(len(lengths)), kind="stable")
        groups: list[list[int]] = []
        longest = 0
        for place in order:
            longest = max(longest, lengths[place])
            if not groups or (len(groups[-1]) + 1) * longest > batch_tokens:
                groups.append([])
                longest = lengths[place]
            groups[-1].append(sentences[place])
        for index in rng.permutation(len(groups)):
            rows = [self.tokens[self.splits[i] : self.splits[i + 1]] for i in groups[index]]
            batch = np.full((len(rows), max(map(len, rows))), -1, np.int32)
            for row, numbers in zip(batch, rows, strict=True):
                row[: len(numbers)] = numbers
            yield batch


def read_texts(texts: Sequence[str | Path], splitter: Splitter) -> Iterator[list[bytes]]:
    """Sentences of tokens, from files of lines or folders of tagged sentences."""
    for path in map(Path, texts):
        if path.is_dir():
            for tokens, _ in Conll2003Reader().read(path, unescape=True)["train"]:
                yield [token.encode() for token in tokens]
            continue
        try:
            with _OPENERS.get(path.suffix, open)(path, "rt", encoding="utf-8") as file:
                while lines := [line for line, _ in zip(file, range(_LINES_AT_ONCE), strict=False)]:
                    yield from _sentences(lines, splitter)
        except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError, zlib.error) as error:
            raise DataError(f"{path}: cannot be read as text: {error}") from error


def _sentences(lines: list[str], splitter: Splitter) -> Iterator[list[bytes]]:
    tokenized = splitter.tokenizer(tf.constant(lines))
    tokens = tokenized["tokens"]
    is_first = splitter.sentence_splitter(tokens, tokenized["paragraph_starts"])
    starts = np.flatnonzero(is_first.values.numpy())
    for sentence in np.split(tokens.values.numpy(), starts[1:]):
        yield sentence.tolist()
