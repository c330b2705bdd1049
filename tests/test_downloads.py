"""Fetching and unpacking, from a server on this machine."""

import hashlib
import http.server
import io
import json
import os
import tarfile
import threading
import zipfile

import pytest

from kerasner import downloads
from kerasner.downloads import DownloadError, download, sources
from kerasner.errors import ConfigError


class Server:
    """Serves what is in `files`, and counts what is asked for."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.length_off_by = 0
        self.redirect = None

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(handler):
                self.asked.append(handler.path)
                content = self.files.get(handler.path.split("?")[0])
                if self.redirect:
                    handler.send_response(302)
                    handler.send_header("Location", self.redirect)
                    handler.end_headers()
                elif content is None:
                    handler.send_error(404)
                else:
                    handler.send_response(200)
                    handler.send_header("Content-Length", str(len(content) + self.length_off_by))
                    handler.end_headers()
                    handler.wfile.write(content)

            def log_message(self, *arguments):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    yield server
    server.close()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The folder of downloads; it is not there yet."""
    monkeypatch.setenv("KERASNER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KERASNER_OFFLINE", raising=False)
    return tmp_path / "home" / "downloads"


def config(*entries):
    return {"metadata": {"download": list(entries)}}


def files(folder):
    """Content by name; names that start with a dot are no user's business."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in found
        if not path.name.startswith(".")
    }


def packed_zip(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in content.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def packed_tar(content, mode="w:gz", kind=tarfile.REGTYPE):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, text in content.items():
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(text), kind, "/etc/passwd"
            archive.addfile(info, io.BytesIO(text))
    return buffer.getvalue()


def test_files_go_into_their_folders(server, home, tmp_path):
    server.files = {"/a/v.txt": b"vectors", "/w.bin": b"\x00\xff", "/x.tar": b"no archive to us"}
    (tmp_path / "own.txt").write_bytes(b"of this machine")
    entries = [
        f"{server.url}/a/v.txt",
        {"url": f"{server.url}/w.bin?version=1", "subdir": "embeddings/small"},
        {"url": f"{server.url}/x.tar", "subdir": str(tmp_path / "models")},
        (tmp_path / "own.txt").as_uri(),
    ]
    places = download(config(*entries))
    assert places == [
        home / "v.txt",
        home / "embeddings" / "small" / "w.bin",
        tmp_path / "models" / "x.tar",
        home / "own.txt",
    ]
    assert files(home) == {
        "v.txt": b"vectors",
        "embeddings/small/w.bin": b"\x00\xff",
        "own.txt": b"of this machine",
    }
    assert sorted(path.name for path in home.iterdir()) == ["embeddings", "own.txt", "v.txt"]
    assert server.asked == ["/a/v.txt", "/w.bin?version=1", "/x.tar"]
    server.files = {}
    assert download(config(*entries)) == places  # there already
    assert len(server.asked) == 3


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_hashes(server, home, algorithm, caplog):
    server.files = {"/v.txt": b"vectors"}
    right, wrong = (hashlib.new(algorithm, x).hexdigest() for x in (b"vectors", b"others"))
    url = f"{server.url}/v.txt"
    with pytest.raises(DownloadError, match=f"expected {algorithm} {wrong}, received {right}"):
        download(config({"url": url, algorithm: wrong}))
    assert files(home) == {}
    download(config({"url": url, algorithm: right.upper()}))
    download(config({"url": url, algorithm: right}))
    assert len(server.asked) == 2
    server.files = {"/v.txt": b"others"}
    download(config({"url": url, algorithm: wrong}))  # a newer file of that name
    assert f"has another {algorithm} than the configuration says" in caplog.text
    assert files(home) == {"v.txt": b"others"}


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("m.zip", packed_zip),
        ("m.tar.gz", packed_tar),
        ("m.tgz", packed_tar),
        ("m.tar", lambda content: packed_tar(content, "w")),
        ("m.tar.xz", lambda content: packed_tar(content, "w:xz")),
    ],
)
def test_archives_are_unpacked_once(server, home, name, pack):
    content = {"ner/weights.npz": b"w", "./ner/config.json": b"{}", "top": b""}
    archive = pack(content)
    server.files = {f"/{name}": archive}
    entry = {
        "url": f"{server.url}/{name}",
        "subdir": "models",
        "unpack": True,
        "sha256": hashlib.sha256(archive).hexdigest(),
    }
    for _ in range(2):
        places = download(config(entry))
        assert files(home) == {
            "models/ner/weights.npz": b"w",
            "models/ner/config.json": b"{}",
            "models/top": b"",
        }
        assert sorted(places) == sorted(home / path for path in files(home))
    assert len(server.asked) == 1
    (home / "models" / "ner" / "weights.npz").write_bytes(b"trained since")
    download(config(entry))
    assert files(home)["models/ner/weights.npz"] == b"trained since"
    (home / "models" / "top").unlink()
    (home / "models" / "ner" / "weights.npz").unlink()
    download(config(entry))
    assert files(home)["models/ner/weights.npz"] == b"w"
    assert len(server.asked) == 2


def test_some_files_of_an_archive(server, home):
    server.files = {"/m.zip": packed_zip({"v/50.txt": b"50", "v/100.txt": b"100"})}
    entry = {"url": f"{server.url}/m.zip", "files": ["v/100.txt"]}
    for _ in range(2):
        assert download(config(entry)) == [home / "v" / "100.txt"]
        assert files(home) == {"v/100.txt": b"100"}
    assert len(server.asked) == 1
    more = {**entry, "files": ["v/100.txt", "v/50.txt"]}
    assert len(download(config(more))) == len(files(home)) == 2
    with pytest.raises(DownloadError, match="cannot unpack .*: it holds no v/200.txt"):
        download(config({**entry, "files": ["v/200.txt"]}))


def test_wanted_files_that_somebody_put_there(home, monkeypatch):
    monkeypatch.setenv("KERASNER_OFFLINE", "1")
    home.mkdir(parents=True)
    (home / "a").write_bytes(b"a")
    assert download(config({"url": "http://x/m.zip", "files": ["a"]})) == [home / "a"]


def test_what_is_unpacked_by_default(home):
    urls = [f"http://x/{name}" for name in ("a.zip", "a.tar.gz", "a.tgz", "a.tar", "a.gz", "a")]
    assert [s.is_archive for s in sources(config(*urls))] == [True] * 3 + [False] * 3
    assert [s.is_archive for s in sources(config({"url": urls[0], "unpack": False}))] == [False]


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "a\\..\\evil", "C:evil"])
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_stays_in_its_folder(server, home, tmp_path, name, kind):
    pack = packed_zip if kind == "zip" else packed_tar
    server.files = {f"/m.{kind}": pack({"good": b"g", name: b"e"})}
    with pytest.raises(DownloadError, match="expected files below its folder"):
        download(config({"url": f"{server.url}/m.{kind}", "subdir": "models"}))
    assert files(tmp_path) == {}
    assert list((home / "models").iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_an_archive_with_links_or_devices(server, home, kind):
    server.files = {"/m.tgz": packed_tar({"link": b""}, kind=kind)}
    with pytest.raises(DownloadError, match="'link', a link or device"):
        download(config(f"{server.url}/m.tgz"))
    assert files(home) == {}


def test_a_zip_archive_with_a_link(server, home):
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    server.files = {"/m.zip": buffer.getvalue()}
    with pytest.raises(DownloadError, match="it holds the link 'link'"):
        download(config(f"{server.url}/m.zip"))
    assert files(home) == {}


def test_limits_of_an_archive(server, home, monkeypatch):
    server.files = {"/m.zip": packed_zip({"a": b"x" * 60, "b": b"x" * 60})}
    monkeypatch.setattr(downloads, "_MAX_UNPACKED", 100)
    with pytest.raises(DownloadError, match="it unpacks to more than 100 bytes"):
        download(config(f"{server.url}/m.zip"))
    monkeypatch.setattr(downloads, "_MAX_UNPACKED", 120)
    monkeypatch.setattr(downloads, "_MAX_FILES", 1)
    with pytest.raises(DownloadError, match="it holds more than 1 files"):
        download(config(f"{server.url}/m.zip"))
    assert files(home) == {}
    monkeypatch.setattr(downloads, "_MAX_FILES", 2)
    assert len(download(config(f"{server.url}/m.zip"))) == 2


def test_a_file_elsewhere_is_not_overwritten(server, home, tmp_path):
    server.files = {"/v.txt": b"vectors"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "v.txt").write_bytes(b"mine")
    digest = hashlib.sha256(b"vectors").hexdigest()
    entry = {"url": f"{server.url}/v.txt", "subdir": str(tmp_path / "mine"), "sha256": digest}
    with pytest.raises(DownloadError, match="v.txt has another sha256 than .*: move it away"):
        download(config(entry))
    assert (tmp_path / "mine" / "v.txt").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["m.zip", "m.tar.gz"])
@pytest.mark.parametrize("cut", [0, 40, 200])
def test_a_damaged_archive(server, home, name, cut):
    pack = packed_zip if name == "m.zip" else packed_tar
    server.files = {f"/{name}": pack({"a": os.urandom(500)})[:cut]}
    with pytest.raises(DownloadError, match=f"cannot unpack {server.url}/{name}"):
        download(config(f"{server.url}/{name}"))
    assert list(home.iterdir()) == []


def test_another_file_in_the_place_of_an_archives(server, home):
    server.files = {"/m.zip": packed_zip({"a": b"new", "b": b"same"})}
    home.mkdir(parents=True)
    (home / "a").write_bytes(b"mine")
    (home / "b").write_bytes(b"same")
    with pytest.raises(DownloadError, match=f"{home / 'a'} exists and is another file; move it"):
        download(config(f"{server.url}/m.zip"))
    assert files(home) == {"a": b"mine", "b": b"same"}
    (home / "a").unlink()
    download(config(f"{server.url}/m.zip"))
    assert files(home) == {"a": b"new", "b": b"same"}


@pytest.mark.parametrize("value", ["1", "yes"])
def test_offline(server, home, tmp_path, monkeypatch, value):
    monkeypatch.setenv("KERASNER_OFFLINE", value)
    server.files = {"/v.txt": b"v", "/m.zip": packed_zip({"a": b"new"})}
    for name in ("v.txt", "m.zip"):
        with pytest.raises(DownloadError) as caught:
            download(config(f"{server.url}/{name}"))
        for part in (str(home / name), f"{server.url}/{name}", "KERASNER_OFFLINE is set"):
            assert part in str(caught.value)
    assert not home.exists()
    # What the message says helps.
    home.mkdir(parents=True)
    for name in ("v.txt", "m.zip"):
        (home / name).write_bytes(server.files[f"/{name}"])
        download(config(f"{server.url}/{name}"))
    assert files(home) == {"v.txt": b"v", "a": b"new", "m.zip": server.files["/m.zip"]}
    assert server.asked == []
    (tmp_path / "own.txt").write_bytes(b"of this machine")
    download(config((tmp_path / "own.txt").as_uri()))  # that is no network
    assert files(home)["own.txt"] == b"of this machine"


def test_offline_0_is_online(server, home, monkeypatch):
    monkeypatch.setenv("KERASNER_OFFLINE", "0")
    server.files = {"/v.txt": b"v"}
    download(config(f"{server.url}/v.txt"))
    assert server.asked == ["/v.txt"]


def test_what_cannot_be_fetched(server, home, tmp_path, monkeypatch):
    with pytest.raises(DownloadError, match=f"cannot fetch {server.url}/v.txt to .*: Not Found"):
        download(config(f"{server.url}/v.txt"))
    with pytest.raises(DownloadError, match="cannot fetch file:///none/v.txt"):
        download(config("file:///none/v.txt"))
    with pytest.raises(DownloadError, match="cannot fetch http://127.0.0.1:1/v.txt.*refused"):
        download(config("http://127.0.0.1:1/v.txt"))
    server.redirect = "ftp://127.0.0.1/v.txt"
    with pytest.raises(DownloadError, match="ftp"):
        download(config(f"{server.url}/v.txt"))
    server.redirect = (tmp_path / "secret").as_uri()
    (tmp_path / "secret").write_text("mine")
    with pytest.raises(DownloadError, match=f"cannot fetch {server.url}/v.txt"):
        download(config(f"{server.url}/v.txt"))
    assert not home.exists()


def test_a_connection_that_ends_early(server, home):
    server.files, server.length_off_by = {"/v.txt": b"vectors"}, 5
    with pytest.raises(DownloadError, match="v.txt"):
        download(config(f"{server.url}/v.txt"))
    assert list(home.iterdir()) == []


def test_a_folder_that_cannot_be_written(server, home):
    home.parent.mkdir()
    home.write_text("a file")
    server.files = {"/v.txt": b"vectors"}
    with pytest.raises(DownloadError, match=f"cannot fetch {server.url}/v.txt to {home}"):
        download(config(f"{server.url}/v.txt"))


def test_files_of_nested_configurations(server, home, tmp_path):
    inner, outer = tmp_path / "inner.json", tmp_path / "outer.json"
    inner.write_text(
        json.dumps(
            {
                "metadata": {
                    "variables": {"S": "sub"},
                    "download": {"url": f"{server.url}/i.txt", "subdir": "{S}"},
                },
                "chainer": {"pipe": [{"config_path": str(inner)}]},
            }
        )
    )
    outer = {
        "metadata": {"download": f"{server.url}/o.txt"},
        "chainer": {"pipe": [{"config_path": str(inner)}, {"config_path": str(inner)}]},
    }
    server.files = {"/i.txt": b"i", "/o.txt": b"o"}
    assert download(outer) == [home / "o.txt", home / "sub" / "i.txt"]
    assert sorted(server.asked) == ["/i.txt", "/o.txt"]


def test_nothing_to_download(home):
    assert download({}) == download(config()) == []


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (3, r"metadata.download\[0\]: expected a URL or an object, received 3"),
        ({"uri": "http://x/a"}, "unknown key 'uri': did you mean 'url'"),
        ("ftp://x/a", r"\[0\].url: expected an http, https or file URL .* received 'ftp://x/a'"),
        ("http://x/", "that ends in a file's name, received 'http://x/'"),
        ("http://x/.bashrc", "that ends in a file's name"),
        ("http://x/a%2F..", "that ends in a file's name"),
        ("http://[x/a", "expected an http, https or file URL"),
        ({"url": None}, "received None"),
        ({"url": "http://x/a", "subdir": "a\0b"}, "subdir: expected a folder without '..'"),
        ({"url": "http://x/a", "subdir": "../up"}, "subdir: expected a folder without '..'"),
        ({"url": "http://x/a", "subdir": 5}, "subdir: expected a folder without '..', received 5"),
        ({"url": "http://x/a", "unpack": "yes"}, "unpack: expected true or false, received 'yes'"),
        (
            {"url": "http://x/a", "md5": "abc"},
            "md5: expected 32 hexadecimal digits, received 'abc'",
        ),
        ({"url": "http://x/a", "sha256": 5}, "sha256: expected 64 hexadecimal digits, received 5"),
    ],
)
def test_wrong_entries(home, entry, expected):
    for function in (sources, download):
        with pytest.raises(ConfigError, match=expected):
            function(config(entry))
    assert not home.exists()


def test_a_wrong_list(home):
    with pytest.raises(ConfigError, match="metadata.download: expected a list of URLs, received 5"):
        sources({"metadata": {"download": 5}})
