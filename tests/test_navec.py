import gzip
import io
import json
import struct
import tarfile

import numpy as np
import pytest

from kerasner.errors import DataError
from kerasner.navec import read_navec

WORDS = ["а", "б", "в г", "<unk>", "<pad>"]
COUNTS = [7, 2, 9, 50, 0]
CODES = np.uint8([[0, 1], [2, 2], [1, 0], [2, 0], [0, 0]])
CODEBOOK = np.arange(18, dtype="<f4").reshape(2, 3, 3)  # 2 pieces, 3 centroids, 3 numbers each


def vocabulary(words=WORDS, counts=COUNTS):
    text = "\n".join(words).encode("utf-8")
    return gzip.compress(struct.pack("<I", len(words)) + np.array(counts, "<u4").tobytes() + text)


def pq(codes=CODES, codebook=CODEBOOK, header=None):
    header = header or (len(codes), codebook.shape[0] * codebook.shape[2], *codebook.shape[:2])
    return struct.pack("<4I", *header) + codes.tobytes() + codebook.tobytes()


def packed(mode="w", **parts):
    """A file of navec, with other contents for some of its parts; None: without the part."""
    content = {
        "meta.json": json.dumps({"id": "tiny", "protocol": 1}).encode(),
        "vocab.bin": vocabulary(),
        "pq.bin": pq(),
    } | {name.replace("_", "."): part for name, part in parts.items()}
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:
        for name, part in content.items():
            entry = tarfile.TarInfo(name)
            if isinstance(part, bytes):
                entry.size = len(part)
                tar.addfile(entry, io.BytesIO(part))
            elif part:
                entry.type, entry.linkname = tarfile.SYMTYPE, part
                tar.addfile(entry)
    return file.getvalue()


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "navec.tar"
        path.write_bytes(content)
        return path

    return write


def test_reads_words_by_falling_frequency(write):
    vectors, unknown = read_navec(write(packed()))
    assert vectors.words == ["в г", "а", "б"]
    np.testing.assert_array_equal(
        vectors.rows(), [[3, 4, 5, 9, 10, 11], [0, 1, 2, 12, 13, 14], [6, 7, 8, 15, 16, 17]]
    )
    assert vectors.codes.dtype == np.uint8 and vectors.codebook.dtype == np.float32
    np.testing.assert_array_equal(unknown, np.float32([6, 7, 8, 9, 10, 11]))


def test_max_words_keeps_the_most_frequent(write):
    vectors, unknown = read_navec(write(packed()), max_words=2)
    assert vectors.words == ["в г", "а"] and vectors.codes.shape == (2, 2)
    assert unknown[0] == 6  # <unk> counts as no word
    with pytest.raises(ValueError, match="at least 1. Received: 0"):
        read_navec(write(packed()), max_words=0)


def test_other_files_in_the_tar_are_not_looked_at(write):
    assert read_navec(write(packed(readme_txt=b"..."))) is not None


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "cannot be read as a tar"),
        (b"word 1 2 3\n" * 100, "cannot be read as a tar"),
        (packed("w:gz"), "cannot be read as a tar"),
        (packed(pq_bin=None), "missing: pq.bin"),
        (packed(pq_bin="/etc/passwd"), "expected pq.bin to be an ordinary file"),
        (packed(meta_json=b"{"), "meta.json is no JSON"),
        (packed(meta_json=b"[" * 100_000), "meta.json is no JSON"),
        (packed(meta_json=b"\xff"), "meta.json is no JSON"),
        (packed(meta_json=b"[1]"), "expected protocol 1, found None"),
        (packed(meta_json=b'{"protocol": 2}'), "expected protocol 1, found 2"),
        (packed(pq_bin=b"short"), "at least 16 bytes, found 5"),
        (packed(pq_bin=pq()[:-1]), r"expected 98 bytes, found 97 \(found 5 vectors of 6"),
        (packed(pq_bin=pq() + b"0"), "expected 98 bytes, found 99"),
        (packed(pq_bin=pq(header=(5, 6, 0, 3))), "equal pieces .* in 0 pieces"),
        (packed(pq_bin=pq(header=(5, 7, 2, 3))), "equal pieces .* vectors of 7 in 2"),
        (packed(pq_bin=pq(header=(5, 6, 2, 257))), "at most 256 centroids, .* 257 centroids"),
        (packed(pq_bin=pq(header=(2**32 - 1, 6, 2, 3))), "expected 8589934678 bytes, found 98"),
        (packed(pq_bin=pq(np.full((5, 2), 3, np.uint8))), "codes below 3. Received: 3"),
        (packed(pq_bin=pq(codebook=CODEBOOK * np.float32("nan"))), "finite codebook"),
        (packed(vocab_bin=b"not gzip"), "cannot be read"),
        (packed(vocab_bin=vocabulary()[:-12]), "cannot be read"),
        (packed(vocab_bin=gzip.compress(b"")), "expected 5 words as in pq.bin, found 0"),
        (packed(vocab_bin=vocabulary(WORDS[1:], COUNTS[1:])), "5 words as in pq.bin, found 4 w"),
        (packed(vocab_bin=vocabulary(["а\nб", *WORDS[1:]])), "5 words, none empty, found 6"),
        (packed(vocab_bin=vocabulary(["", *WORDS[1:]])), "none empty"),
        (packed(vocab_bin=vocabulary(["б", *WORDS[1:]])), "distinct words"),
        (packed(vocab_bin=vocabulary(["а", "б", "в", "г", "<pad>"])), "the word '<unk>'"),
        (
            packed(vocab_bin=gzip.compress(gzip.decompress(vocabulary()) + b"\xff")),
            "not UTF-8 text: byte 47",
        ),
    ],
)  # fmt: skip
def test_refuses_and_names_the_file(write, content, message):
    path = write(content)
    with pytest.raises(DataError, match=message) as caught:
        read_navec(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DataError, match="absent.tar: no such file, expected a tar of navec"):
        read_navec(tmp_path / "absent.tar")
    with pytest.raises(DataError, match="cannot be read"):
        read_navec(tmp_path)


def test_a_vocabulary_that_unpacks_to_too_much(write, monkeypatch):
    monkeypatch.setattr("kerasner.navec._MAX_VOCABULARY", 40)
    with pytest.raises(DataError, match="at most 40 bytes when unpacked"):
        read_navec(write(packed()))


def test_every_cut_is_refused(write):
    whole = packed()
    last = whole.index(pq()) + len(pq())  # only zeros follow
    for size in range(0, last, 41):
        with pytest.raises(DataError, match="navec.tar: "):
            read_navec(write(whole[:size]))
    assert read_navec(write(whole[:last]))[0].words == ["в г", "а", "б"]


def test_altered_headers_give_the_same_words_or_an_error(write):
    whole = packed()
    starts = [i for i in range(0, len(whole), 512) if whole[i + 257 : i + 262] == b"ustar"]
    assert len(starts) == 3
    refused = 0
    for i in [start + offset for start in starts for offset in [*range(0, 160, 3), 156, 257, 345]]:
        for value in (0x00, 0x37, 0x80, 0xFF):
            altered = bytearray(whole)
            altered[i] = value
            start = i - i % 512
            # With the right checksum, so that more than the checksum is put to the test.
            altered[start + 148 : start + 156] = b" " * 8
            total = sum(altered[start : start + 512])
            altered[start + 148 : start + 156] = b"%06o\0 " % total
            try:
                vectors, _ = read_navec(write(bytes(altered)))
            except DataError:
                refused += 1
            else:
                assert vectors.words == ["в г", "а", "б"]
    assert refused > 100
