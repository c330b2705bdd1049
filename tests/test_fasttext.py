"""Binary models of fastText, written here by hand and, where it is installed, by fastText."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner.errors import DataError
from kerasner.fasttext import FastTextModel

MAGIC = struct.pack("<2i", 793712314, 12)
DIM, BUCKETS = 3, 7


def model_bytes(
    words, rows, shortest=2, longest=3, buckets=BUCKETS, old=False, kind=2, pruned=-1, quantised=0
):
    """A model file, field by field as fastText's sources write it."""
    dim = rows.shape[1]
    parts = [b"" if old else MAGIC]
    parts += [struct.pack("<12id", dim, 5, 5, 1, 5, 1, 2, kind, buckets, shortest, longest, 100, 1)]
    parts += [struct.pack("<3iq", len(words), len(words), 0, 9)]
    parts += [b"" if old else struct.pack("<q", pruned)]
    parts += [word.encode() + b"\0" + struct.pack("<qb", 1, 0) for word in words]
    parts += [b"" if old else struct.pack("<?", quantised)]
    parts += [struct.pack("<2q", *rows.shape), rows.astype("<f4").tobytes()]
    return b"".join(parts) + b"output matrix"


def bucket(ngram: str, buckets: int) -> int:
    value = 2166136261
    for byte in ngram.encode():
        signed = byte - 256 if byte > 127 else byte
        value = ((value ^ (signed & 0xFFFFFFFF)) * 16777619) & 0xFFFFFFFF
    return value % buckets


def expected_vector(word, words, rows, shortest, longest, buckets=BUCKETS):
    """The definition, n-gram by n-gram."""
    found = [rows[words.index(word)]] if word in words else []
    spelt = f"<{word}>"
    for start in range(len(spelt) if word != "</s>" else 0):
        for n in range(max(shortest, 1), longest + 1):
            if start + n > len(spelt) or (n == 1 and (start == 0 or start + n == len(spelt))):
                continue
            found.append(rows[len(words) + bucket(spelt[start : start + n], buckets)])
    return np.mean(found, axis=0) if found else np.zeros(rows.shape[1])


WORDS = ["</s>", "дом", "a", "naïve"]
ROWS = np.random.default_rng(0).normal(size=(len(WORDS) + BUCKETS, DIM)).astype("float32")


@pytest.mark.parametrize("old", [False, True])
def test_words_and_vectors(tmp_path, old):
    path = tmp_path / "model.bin"
    path.write_bytes(model_bytes(WORDS, ROWS, old=old))
    model = FastTextModel(path)
    assert (model.words, model.dim) == (WORDS, DIM)
    vectors, known = model.vectors([*WORDS, "дома"])
    assert vectors.dtype == np.float32 and known.all()
    np.testing.assert_array_equal(vectors[0], ROWS[0])  # the mark of an end has no n-grams
    for word, vector in zip([*WORDS, "дома"], vectors, strict=True):
        np.testing.assert_allclose(vector, expected_vector(word, WORDS, ROWS, 2, 3), atol=1e-6)


def test_words_without_a_vector(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(model_bytes(WORDS, ROWS, shortest=0, longest=0))
    vectors, known = FastTextModel(path).vectors(["a", "b", ""])
    assert known.tolist() == [True, False, False]
    np.testing.assert_array_equal(vectors, [ROWS[2], np.zeros(DIM), np.zeros(DIM)])
    vectors, known = FastTextModel(path).vectors([])
    assert vectors.shape == (0, DIM) and known.shape == (0,)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), max_size=6),
    st.integers(0, 3),
    st.integers(0, 5),
)
def test_any_words(tmp_path_factory, words, shortest, longest):
    path = tmp_path_factory.mktemp("model") / "model.bin"
    path.write_bytes(model_bytes(WORDS, ROWS, shortest, longest))
    vectors, _ = FastTextModel(path).vectors(words)
    for word, vector in zip(words, vectors, strict=True):
        expected = expected_vector(word, WORDS, ROWS, shortest, longest)
        np.testing.assert_allclose(vector, expected, atol=1e-6)


def test_many_words_at_once(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(model_bytes(WORDS, ROWS))
    words = [str(number) for number in range(2_500)]
    vectors, _ = FastTextModel(path).vectors(words)
    for index in (0, 999, 1_000, 2_499):
        alone, _ = FastTextModel(path).vectors([words[index]])
        np.testing.assert_array_equal(vectors[index], alone[0])


GOOD = model_bytes(WORDS, ROWS)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "cannot be read as a model of fastText"),
        (GOOD[:40], "cannot be read as a model of fastText"),
        (GOOD[:100], "expected 4 words, found 1: the file is cut off"),
        (GOOD[:200], r"expected 132 bytes of vectors, found \d+"),
        (b"3000000 300\n" + bytes(100), "not a binary model of fastText"),
        (model_bytes(WORDS, ROWS, kind=3), "expected word vectors, found a classifier"),
        (model_bytes(WORDS, ROWS, quantised=1), "not quantised"),
        (model_bytes(WORDS, ROWS, pruned=0), "found a pruned one"),
        (model_bytes(WORDS, ROWS[:-1]), "expected 11 rows of 3, found 10 of 3"),
    ],
    ids=range(9),
)
def test_what_is_no_such_file(tmp_path, content, expected):
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"model.bin: .*{expected}"):
        FastTextModel(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="none.bin: no such file"):
        FastTextModel(tmp_path / "none.bin")


@pytest.mark.parametrize("shortest, longest", [(3, 6), (1, 2), (0, 0)])
def test_as_fasttext_itself(tmp_path, shortest, longest):
    fasttext = pytest.importorskip("fasttext")
    words = ["дом", "ёлка", "naïve", "a", "cat", "日本語", "x" * 30]
    (tmp_path / "text.txt").write_text(f"{' '.join(words)}\n" * 20, encoding="utf-8")
    trained = fasttext.train_unsupervised(
        str(tmp_path / "text.txt"), dim=8, bucket=50, epoch=1, minCount=1, thread=1, verbose=0,
        minn=shortest, maxn=longest,
    )  # fmt: skip
    trained.save_model(str(tmp_path / "model.bin"))
    model = FastTextModel(tmp_path / "model.bin")
    assert model.words == trained.get_words()
    others = [*model.words, "дома", "日本", "cats"]
    expected = [trained.get_word_vector(word) for word in others]
    np.testing.assert_allclose(model.vectors(others)[0], expected, atol=1e-6)
