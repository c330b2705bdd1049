"""Reading binary models of fastText (https://github.com/facebookresearch/fastText). NumPy only."""

import mmap
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kerasner.errors import DataError

_MAGIC = 793712314
_SETTINGS = struct.Struct("<12id")
_SIZES = struct.Struct("<3iq")
_PRUNED = struct.Struct("<q")
_QUANTIZED = struct.Struct("<?")
_SHAPE = struct.Struct("<2q")
_AFTER_WORD = 9  # bytes: a count and a type
_CLASSIFIER = 3
_END_OF_SENTENCE = b"</s>"
_BLOCK = 1_000  # words whose n-grams are in memory at a time


class FastTextModel:
    """Word vectors of a binary model: of its words, and of any other word by its n-grams.

    The file is mapped into memory: only the rows in use are read. Files of all versions are read,
    those from before there were version numbers included.

    Args:
        path: The file. Classifiers and quantised models are not read.

    Attributes:
        words: All words by falling frequency; bytes that are not UTF-8 as U+FFFD.
        dim: Size D of a vector.

    Raises:
        DataError: A missing, truncated or damaged file, or one of another format. The message
            names the file.

    Example:
        >>> model = FastTextModel("lenta_lower_100.bin")
        >>> vectors, known = model.vectors(model.words[:10_000])  # float32 [10000, 100]
    """

    def __init__(self, path: str | os.PathLike) -> None:
        path = Path(path)
        try:
            with open(path, "rb") as file:
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._parse(content)
        except FileNotFoundError:
            raise DataError(f"{path}: no such file, expected a binary model of fastText") from None
        except (OSError, ValueError, OverflowError, MemoryError, struct.error) as error:
            raise DataError(f"{path}: cannot be read as a model of fastText: {error}") from error
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    def _parse(self, content: mmap.mmap) -> None:
        with_version = content[:4] == struct.pack("<i", _MAGIC)
        offset = 8 if with_version else 0
        settings = _SETTINGS.unpack_from(content, offset)
        self.dim, model = settings[0], settings[7]
        self._buckets, self._shortest, self._longest = settings[8:11]
        offset += _SETTINGS.size
        size, n_words, n_labels, _ = _SIZES.unpack_from(content, offset)
        offset += _SIZES.size
        if n_labels or model == _CLASSIFIER:
            raise DataError("expected word vectors, found a classifier")
        if self.dim < 1 or n_words < 1 or n_words != size or self._buckets < 0:
            raise DataError("damaged, or not a binary model of fastText")
        if with_version:
            if _PRUNED.unpack_from(content, offset)[0] >= 0:
                raise DataError("expected a model that is not quantised, found a pruned one")
            offset += _PRUNED.size
        self._row_of: dict[bytes, int] = {}
        for row in range(n_words):
            end = content.find(b"\0", offset)
            if end < 0:
                raise DataError(f"expected {n_words} words, found {row}: the file is cut off")
            self._row_of[content[offset:end]] = row
            offset = end + 1 + _AFTER_WORD
        if with_version:
            if _QUANTIZED.unpack_from(content, offset)[0]:
                raise DataError("expected a model that is not quantised (.bin, not .ftz)")
            offset += _QUANTIZED.size
        rows, dim = _SHAPE.unpack_from(content, offset)
        offset += _SHAPE.size
        if (rows, dim) != (n_words + self._buckets, self.dim):
            raise DataError(
                f"expected {n_words + self._buckets} rows of {self.dim}, found {rows} of {dim}"
            )
        if (found := len(content) - offset) < 4 * rows * dim:
            raise DataError(f"expected {4 * rows * dim} bytes of vectors, found {found}")
        self._rows = np.frombuffer(content, "<f4", rows * dim, offset).reshape(rows, dim)
        self._n_words = n_words
        # Different bytes may be read as the same text.
        self.words = list(dict.fromkeys(raw.decode("utf-8", "replace") for raw in self._row_of))

    def vectors(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of any words, float32 [N, D], and which words have one, bool [N].

        The vector of a word is the mean of its own, where the model knows it, and those of its
        n-grams. Zeros for a word that has neither.
        """
        blocks = [
            self._block([word.encode("utf-8", "replace") for word in words[start : start + _BLOCK]])
            for start in range(0, len(words), _BLOCK)
        ]
        sums = np.concatenate([block[0] for block in blocks] or [np.zeros((0, self.dim), "f4")])
        counts = np.concatenate([block[1] for block in blocks] or [np.zeros(0, np.intp)])
        return sums / np.maximum(counts, 1).astype(np.float32)[:, None], counts > 0

    def _block(self, words: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Sums of the rows of each word, and their numbers."""
        known = [(i, self._row_of[word]) for i, word in enumerate(words) if word in self._row_of]
        owners, rows = np.array(known, np.intp).reshape(-1, 2).T
        # The mark of a sentence's end has no n-grams.
        spelt = [b"" if word == _END_OF_SENTENCE else b"<%s>" % word for word in words]
        of_ngrams, buckets = _ngrams(spelt, self._shortest, self._longest, self._buckets)
        owners = np.concatenate([owners, of_ngrams])
        rows = np.concatenate([rows, self._n_words + buckets])
        order = np.argsort(owners, kind="stable")
        present, first = np.unique(owners[order], return_index=True)
        sums = np.zeros((len(words), self.dim), np.float32)
        if len(present):
            sums[present] = np.add.reduceat(self._rows[rows[order]], first, axis=0)
        return sums, np.bincount(owners, minlength=len(words))


def _ngrams(
    words: list[bytes], shortest: int, longest: int, buckets: int
) -> tuple[np.ndarray, np.ndarray]:
    """All n-grams of characters: numbers of their words [K], and their buckets [K].

    A bucket is the hash FNV-1a of the bytes, each taken as a signed number, as fastText does.
    """
    text = np.frombuffer(b"".join(words), np.uint8)
    word_of = np.repeat(np.arange(len(words)), [len(word) for word in words])
    (starts,) = np.nonzero((text & 0xC0) != 0x80)  # of characters
    if not len(starts) or not buckets:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    word_of = word_of[starts]
    widths = np.diff(starts, append=len(text))
    signed = text.astype(np.int8).astype(np.uint32)
    is_first = np.diff(word_of, prepend=-1) > 0
    is_last = np.append(is_first[1:], True)
    first = np.arange(len(starts))  # characters with which the n-grams begin
    hashes = np.full(len(starts), 2166136261, np.uint32)
    owners, found = [], []
    for n in range(1, longest + 1):
        last = first + n - 1
        within = last < len(starts)
        within[within] = word_of[last[within]] == word_of[first[within]]
        first, last, hashes = first[within], last[within], hashes[within]
        if not len(first):
            break
        for byte in range(int(widths[last].max())):
            longer = widths[last] > byte
            mixed = hashes[longer] ^ signed[starts[last[longer]] + byte]
            hashes[longer] = mixed * np.uint32(16777619)
        if n < shortest:
            continue
        # The marks of a word's borders are no n-grams by themselves.
        counted = ~(is_first[first] | is_last[first]) if n == 1 else np.ones(len(first), bool)
        owners.append(word_of[first[counted]])
        found.append((hashes[counted] % np.uint32(buckets)).astype(np.intp))
    return np.concatenate(owners or [first[:0]]), np.concatenate(found or [first[:0]])
