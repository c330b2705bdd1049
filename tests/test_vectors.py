import gzip
import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kerasner.errors import ArchiveError, DataError
from kerasner.vectors import QuantizedVectors, quantize_rows, read_glove

GLOVE = "the 0.5 -1 2e-1\nGöttingen 1 2 3\n, 0 0 0\n"


def write(tmp_path, text, name="vectors.txt"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


def assert_is_glove(words, matrix):
    assert words == ["the", "Göttingen", ","]
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, np.float32([[0.5, -1, 0.2], [1, 2, 3], [0, 0, 0]]))


@pytest.mark.parametrize(
    "text",
    [
        GLOVE,
        "3 3\n" + GLOVE,  # word2vec's header
        GLOVE.replace("\n", " \n"),  # word2vec ends its lines with a space
        GLOVE.replace("\n", "\r\n"),
        GLOVE.rstrip("\n") + "\n\n\n",
        GLOVE + "the 9 9 9\n",  # the first vector of a word counts
        "4 3\n" + GLOVE + "the 9 9 9\n",
    ],
)
def test_read_glove(tmp_path, text):
    assert_is_glove(*read_glove(write(tmp_path, text)))


def test_read_glove_gzip_whatever_its_name(tmp_path):
    path = write(tmp_path, gzip.compress(GLOVE.encode("utf-8")), "vectors.txt")
    assert_is_glove(*read_glove(path))


def test_words_with_spaces_separators_and_bad_utf8(tmp_path):
    text = b"the 1 2\n. . . 3 4\na\xc2\xa0b 5 6\n\xff 7 8\nx\xe2\x80\xa8y 9 10\n"
    words, matrix = read_glove(write(tmp_path, text))
    assert words == ["the", ". . .", "a\u00a0b", "\ufffd", "x\u2028y"]
    np.testing.assert_array_equal(matrix, np.arange(1, 11).reshape(5, 2))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_read_fasttext_text(tmp_path, pack):
    """A header, a space after each vector, `</s>` first, and words of blanks beyond ASCII."""
    text = "4 2\n</s> 0.1 -0.25 \n\u3000 1 2 \nNew\u00a0York 3 4 \n1e5 5e-3 -6 \n"
    words, matrix = read_glove(write(tmp_path, pack(text.encode("utf-8")), "cc.vec"))
    assert words == ["</s>", "\u3000", "New\u00a0York", "1e5"]
    np.testing.assert_array_equal(matrix, np.float32([[0.1, -0.25], [1, 2], [3, 4], [5e-3, -6]]))


def test_a_number_is_a_word_too(tmp_path):
    words, matrix = read_glove(write(tmp_path, "1996 0.5 1.5\n7 2 3\n"))
    assert words == ["1996", "7"]
    np.testing.assert_array_equal(matrix, [[0.5, 1.5], [2, 3]])


def test_max_words_counts_distinct_words_and_stops_there(tmp_path):
    path = write(tmp_path, "9 2\na 1 2\na 3 4\nb 5 6\nbroken\n")
    words, matrix = read_glove(path, max_words=2)
    assert words == ["a", "b"]
    np.testing.assert_array_equal(matrix, [[1, 2], [5, 6]])
    with pytest.raises(ValueError, match="Received: 0"):
        read_glove(path, max_words=0)


@pytest.mark.parametrize(
    "text, message",
    [
        ("a 1 2\nb 1\n", r":2: expected a word and 2 numbers, found 2 columns"),
        ("a 1 2\n\nb 1 2 3\n", r":3: expected a word and 2 numbers, found 4 columns"),
        ("a 1 2\nb 1 x2\n", r":2: expected a number, found 'x2'"),
        ("a 1 2\nb 1  2\n", r":2: expected a number, found ''"),
        ("a 1 2\nb 1 \n", r":2: .*found 2 columns"),
        ("a 1 2\n 1 2\n", r":2: expected a word first"),
        ("a 1 2\nb\t1\t2\n", r":2: .*found 1 columns"),
        ("a\nb\n", r":1: .*found 1 columns"),
        ("a 1 2\nb 1 nan\n", r":2: expected finite numbers"),
        ("a 1 2\na 1 2\nb 1e60 1\n", r":3: expected finite numbers"),
        ("3 2\na 1 2\nb 1 2\n", r":1: the header announces 3 words, the file holds 2"),
        ("5 3\n", r": expected a word and its vector"),
        ("", r": expected a word and its vector"),
        ("\n \n", r": expected a word and its vector"),
    ],
)
def test_read_glove_names_file_and_line(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        read_glove(path)
    assert str(caught.value).startswith(str(path))


def test_read_glove_missing_folder_and_damaged_gzip(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_glove(tmp_path / "absent.txt")
    with pytest.raises(DataError, match="cannot be read"):
        read_glove(tmp_path)
    packed = gzip.compress(GLOVE.encode("utf-8") * 50)
    with pytest.raises(DataError, match="cannot be read"):
        read_glove(write(tmp_path, packed[:-10]))
    flipped = bytearray(packed)
    flipped[12] ^= 0xFF
    with pytest.raises(DataError):
        read_glove(write(tmp_path, bytes(flipped)))


def test_quantize_rows_by_hand():
    codes, scales = quantize_rows(np.array([[254.0, -254.0, 2.9], [0, 0, 0], [0.0, -1e-44, 0]]))
    assert codes.dtype == np.int8 and scales.dtype == np.float32
    np.testing.assert_array_equal(codes[:2], [[127, -127, 1], [0, 0, 0]])
    np.testing.assert_array_equal(scales[:2], [2, 0])
    assert np.isfinite(codes[2] * scales[2]).all()


def test_quantize_rows_refuses():
    with pytest.raises(ValueError, match=r"\[V, D\].*\(3,\)"):
        quantize_rows(np.zeros(3))
    with pytest.raises(ValueError, match="in row 1"):
        quantize_rows(np.array([[0.0], [np.inf]]))


def test_quantize_rows_of_nothing():
    codes, scales = quantize_rows(np.zeros((0, 4)))
    assert codes.shape == (0, 4) and scales.shape == (0,)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.floats(-(2.0**99), 2.0**99, width=32),
    )
)
def test_quantisation_error_is_at_most_half_a_scale(matrix):
    codes, scales = quantize_rows(matrix)
    error = np.abs(codes.astype(np.float64) * scales[:, None] - matrix)
    # A subnormal scale is itself rounded: to a multiple of 1.4e-45, 127 times.
    assert (error <= 0.5001 * scales[:, None] + 1e-42).all()


WORDS = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n")),
    unique=True,
    max_size=5,
)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(WORDS, st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_quantized_vectors_round_trip(tmp_path_factory, words, dim, seed):
    path = tmp_path_factory.mktemp("vectors") / "vectors.npz"
    matrix = np.random.default_rng(seed).normal(size=(len(words), dim))
    saved = QuantizedVectors.from_float(words, matrix)
    saved.save(path)
    loaded = QuantizedVectors.load(path)
    assert loaded.words == words
    assert loaded.codes.dtype == np.int8 and loaded.scales.dtype == np.float32
    np.testing.assert_array_equal(loaded.codes, saved.codes)
    np.testing.assert_array_equal(loaded.scales, saved.scales)
    np.testing.assert_allclose(loaded.codes * loaded.scales[:, None], matrix, atol=0.03)
    assert [file.name for file in path.parent.iterdir()] == ["vectors.npz"]


def small():
    return QuantizedVectors.from_float(["a", "b"], np.array([[1.0, -2.0, 0.5], [0, 0, 0]]))


def test_rows_and_subset():
    vectors = QuantizedVectors(
        ["a", "b", "c"], np.int8([[1, 2], [-3, 0], [5, 6]]), np.float32([2, 0.5, 1])
    )
    rows = np.float32([[2, 4], [-1.5, 0], [5, 6]])
    assert vectors.dim == 2 and vectors.rows().dtype == np.float32
    np.testing.assert_array_equal(vectors.rows(), rows)
    np.testing.assert_array_equal(vectors.rows([2, 0, 2]), rows[[2, 0, 2]])
    assert vectors.rows([]).shape == (0, 2)
    part = vectors.subset([2, 0])
    assert part.words == ["c", "a"]
    np.testing.assert_array_equal(part.rows(), rows[[2, 0]])
    assert vectors.subset([]).rows().shape == (0, 2)


def test_saving_is_reproducible_and_replaces(tmp_path):
    path = write(tmp_path, "something older")
    small().save(path)
    first = path.read_bytes()
    small().save(path)
    assert path.read_bytes() == first
    assert QuantizedVectors.load(path).words == ["a", "b"]


def test_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = write(tmp_path, "old")

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        small().save(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "words, codes, scales, message",
    [
        (["a"], np.zeros((2, 3), np.int8), np.zeros(1, np.float32), r"int8 \[1, D\].*\[2, 3\]"),
        (["a"], np.zeros((1, 3)), np.zeros(1, np.float32), "Received: float64"),
        (["a"], np.zeros((1, 3), np.int8), np.zeros(2, np.float32), r"float32 \[1\].*\[2\]"),
        (["a"], np.zeros((1, 3), np.int8), np.float32([np.nan]), "finite"),
        (["a", "a"], np.zeros((2, 3), np.int8), np.zeros(2, np.float32), "distinct"),
    ],
)
def test_parts_that_do_not_fit(words, codes, scales, message):
    with pytest.raises(DataError, match=message):
        QuantizedVectors(words, codes, scales)


def test_save_refuses_a_line_break(tmp_path):
    with pytest.raises(DataError, match=r"'a\\nb'"):
        QuantizedVectors.from_float(["a\nb"], np.ones((1, 2))).save(tmp_path / "v.npz")
    assert list(tmp_path.iterdir()) == []


def saved_bytes(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def huge():
    """An archive whose codes claim 10^15 rows."""
    file = io.BytesIO(saved_bytes(words=np.zeros(0, np.uint8), scales=np.zeros(0, np.float32)))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|i1", "fortran_order": False, "shape": (10**15, 100)}
    )
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("codes.npy", header.getvalue())
    return file.getvalue()


def npy():
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an archive",
        npy(),
        saved_bytes(words=np.zeros(1, np.uint8)),
        saved_bytes(
            words=np.array(["a"], object),
            codes=np.zeros((1, 1), np.int8),
            scales=np.zeros(1, np.float32),
        ),  # needs pickle
        saved_bytes(
            words=np.uint8([255]), codes=np.zeros((1, 1), np.int8), scales=np.zeros(1, np.float32)
        ),  # not UTF-8
        saved_bytes(
            words=np.uint8([97]), codes=np.zeros((2, 1), np.int8), scales=np.zeros(2, np.float32)
        ),  # one word, two vectors
        saved_bytes(words=np.uint8([97]), codes=np.int8(1), scales=np.zeros(1, np.float32)),
        huge(),
    ],
)
def test_load_refuses_other_files(tmp_path, content):
    path = write(tmp_path, content)
    with pytest.raises(ArchiveError, match="damaged, or not a file of quantised word vectors") as e:
        QuantizedVectors.load(path)
    assert str(path) in str(e.value)


def test_load_missing(tmp_path):
    with pytest.raises(ArchiveError, match="no such file"):
        QuantizedVectors.load(tmp_path / "absent.npz")


def test_load_of_a_truncated_or_altered_file(tmp_path):
    """Every cut and every altered byte gives the same vectors or an ArchiveError."""
    path = tmp_path / "vectors.npz"
    small().save(path)
    whole = path.read_bytes()
    refused = 0
    for i in range(0, len(whole), 3):
        altered = bytearray(whole)
        altered[i] ^= 0x55
        for content in (whole[:i], bytes(altered)):
            path.write_bytes(content)
            try:
                loaded = QuantizedVectors.load(path)
            except ArchiveError:
                refused += 1
            else:
                assert loaded.words == ["a", "b"]
                np.testing.assert_array_equal(loaded.codes, small().codes)
    assert refused > len(whole) / 3  # all cuts, and most alterations
