"""Raw text: files of all kinds, sentences as numbers, batches."""

import bz2
import gzip
import lzma

import numpy as np
import pytest

from kerasner.components import TextSplitter
from kerasner.data.text import Corpus, read_texts
from kerasner.errors import DataError


def test_texts_of_all_kinds(tmp_path, data_folder):
    lines = "One two three four. Five six seven.\n"
    for suffix, opener in (
        (".txt", open),
        (".gz", gzip.open),
        (".xz", lzma.open),
        (".bz2", bz2.open),
    ):
        with opener(tmp_path / f"text{suffix}", "wt", encoding="utf-8") as file:
            file.write(lines)
        found = list(read_texts([tmp_path / f"text{suffix}"], TextSplitter()))
        assert [len(sentence) for sentence in found] == [5, 4]
    assert len(list(read_texts([data_folder], TextSplitter()))) == 60


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"one\ntwo\n"])
def test_no_text(tmp_path, content):
    (tmp_path / "text.txt").write_bytes(content)
    with pytest.raises(DataError, match="text"):
        Corpus.of(read_texts([tmp_path / "text.txt"], TextSplitter()), 80)


def test_each_sentence_is_in_one_batch():
    rng = np.random.default_rng(0)
    rows = [[b"w%d" % n for n in rng.integers(0, 50, length)] for length in rng.integers(3, 30, 99)]
    corpus = Corpus.of(rows, 80)
    assert (np.diff(corpus.counts) <= 0).all()
    found = []
    for batch in corpus.batches(np.arange(99), 120, np.random.default_rng(1)):
        assert batch.size <= 120
        found += [[corpus.words[n] for n in row if n >= 0] for row in batch]
    assert sorted(found) == sorted(rows)
