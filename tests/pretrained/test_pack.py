import json
import shutil

from kerasner import Tagger, pretrained
from kerasner.pretrained import archives
from kerasner.pretrained.pack import pack_model

TEXTS = ["Abel Arnstad lives in Avalund .", "Nobody knows why ."]


def test_a_packed_model_is_one_that_comes_with_kerasner(trained_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "FOLDER", tmp_path)
    (tmp_path / archives.REGISTRY).write_text("{}")
    pack_model(trained_folder, "one")
    copy = shutil.copytree(trained_folder, tmp_path / "copy")
    pack_model(copy, "two", version=3)

    registry = json.loads((tmp_path / archives.REGISTRY).read_text())
    assert registry["two"]["version"] == 3
    # The vectors are stored once.
    assert registry["one"]["archives"][1] == registry["two"]["archives"][1]
    assert len(list(tmp_path.glob("*.zip"))) == 3
    assert pretrained("two")(TEXTS) == Tagger.load(trained_folder)(TEXTS)
