"""Archives of trained models: the same bytes each time, checked before anything is unpacked."""

import json
import zipfile

import numpy as np
import pytest

from kerasner import storage
from kerasner.errors import ArchiveError
from kerasner.pretrained import archives, names, pretrained


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "b.txt").write_bytes(b"second" * 1000)
    (folder / "a.bin").write_bytes(bytes(range(256)))
    return sorted(folder.iterdir())


@pytest.fixture
def place(tmp_path):
    """An empty folder to unpack into."""
    folder = tmp_path / "inner" / "place"
    folder.mkdir(parents=True)
    return folder


def zipped(path, entries) -> str:
    with zipfile.ZipFile(path, "w") as target:
        for name, content in entries:
            target.writestr(name, content)
    return archives.sha256(path)


def test_an_archive_is_reproducible(files, tmp_path):
    first = archives.pack(files, tmp_path / "one.zip")
    for path in files:
        path.touch()
    second = archives.pack(files[::-1], tmp_path / "two.zip")
    assert first == second
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "one.zip", "two.zip"]


def test_files_come_back(files, tmp_path, place):
    checksum = archives.pack(files, tmp_path / "one.zip")
    archives.unpack(tmp_path / "one.zip", checksum, place)
    assert {p.name: p.read_bytes() for p in place.iterdir()} == {
        p.name: p.read_bytes() for p in files
    }


def test_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert archives.sha256(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_a_changed_byte_is_noticed(files, tmp_path, place):
    archive = tmp_path / "one.zip"
    checksum = archives.pack(files, archive)
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    with pytest.raises(ArchiveError, match="one.zip is damaged: SHA-256"):
        archives.unpack(archive, checksum, place)
    assert not list(place.iterdir())


def test_a_missing_archive(tmp_path, place):
    with pytest.raises(ArchiveError, match="cannot read .*none.zip: No such file"):
        archives.unpack(tmp_path / "none.zip", "0" * 64, place)


def test_a_truncated_archive(files, tmp_path, place):
    archive = tmp_path / "one.zip"
    archives.pack(files, archive)
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(ArchiveError, match="damaged"):
        archives.unpack(archive, archives.sha256(archive), place)


def test_a_damaged_entry(files, tmp_path, place):
    archive = tmp_path / "one.zip"
    archives.pack(files, archive)
    content = bytearray(archive.read_bytes())
    content[40:60] = b"\xff" * 20  # in the first file's compressed bytes
    archive.write_bytes(content)
    with pytest.raises(ArchiveError, match="damaged"):
        archives.unpack(archive, archives.sha256(archive), place)


@pytest.mark.parametrize(
    "name",
    ["../evil", "/evil", "..", ".", "a/b", "a/", "..\\evil", "C:evil", ".hidden", "a\nb"],
)
def test_only_plain_names_are_unpacked(tmp_path, place, name):
    archive = tmp_path / "one.zip"
    checksum = zipped(archive, [(name, "x")])
    with pytest.raises(ArchiveError, match="expected plain files"):
        archives.unpack(archive, checksum, place)
    assert not list(place.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inner", "one.zip"]
    assert [path.name for path in place.parent.iterdir()] == ["place"]


def test_an_archive_that_unpacks_to_too_much(tmp_path, place, monkeypatch):
    monkeypatch.setattr(archives, "_MAX_UNPACKED", 1000)
    archive = tmp_path / "one.zip"
    checksum = zipped(archive, [("a", b"0" * 600), ("b", b"0" * 600)])
    with pytest.raises(ArchiveError, match="unpacks to more than 1000 bytes"):
        archives.unpack(archive, checksum, place)
    assert not list(place.iterdir())


@pytest.fixture
def registered(trained_folder, tmp_path, monkeypatch):
    """The small model as one that comes with kerasner, "small", of two archives."""
    folder = tmp_path / "archives"
    folder.mkdir()
    vectors = [trained_folder / "glove_emb.npz"]
    others = [path for path in trained_folder.iterdir() if path not in vectors]
    entries = [
        {"file": name, "sha256": archives.pack(packed, folder / name)}
        for name, packed in (("model.zip", others), ("vectors.zip", vectors))
    ]
    (folder / "registry.json").write_text(json.dumps({"small": {"archives": entries}}))
    monkeypatch.setattr(archives, "FOLDER", folder)
    return folder


def test_a_model_that_comes_along(registered, tagger):
    assert names() == ["small"]
    loaded = pretrained("small")
    text = tagger.chainer.encode(np.array(["Abel", "nowhere", "3.5"]))
    for name, ids in loaded.chainer.encode(np.array(["Abel", "nowhere", "3.5"])).items():
        np.testing.assert_array_equal(ids, text[name])
    expected = storage.layer_weights(tagger.model)
    for name, weight in storage.layer_weights(loaded.model).items():
        np.testing.assert_array_equal(np.asarray(weight), np.asarray(expected[name]))


def test_an_unknown_name(registered):
    with pytest.raises(ArchiveError, match="no model is called 'smal': did you mean 'small'?"):
        pretrained("smal")


def test_a_damaged_model_that_comes_along(registered):
    (registered / "vectors.zip").write_bytes(b"PK")
    with pytest.raises(ArchiveError, match="vectors.zip is damaged"):
        pretrained("small")
