"""docs/few_shot.md: its commands and its Python, as a user with a few sentences would run them."""

import json
import re
import shutil
from pathlib import Path

import pytest
import shell

pytest.importorskip("sklearn")

HERE = Path(__file__).parent
ROOT = HERE.parent
GUIDE = (ROOT / "docs" / "few_shot.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    (\S.*)$", GUIDE, re.MULTILINE)


@pytest.fixture(scope="module")
def place(tmp_path_factory, data_folder) -> Path:
    folder = tmp_path_factory.mktemp("guide")
    shutil.copytree(HERE / "corpora" / "collection3", folder / "my_data")
    shutil.copytree(HERE / "corpora" / "collection3", folder / "collection3")
    shutil.copytree(data_folder, folder / "conll2003")
    shutil.copytree(ROOT / "examples", folder / "examples")
    (folder / "sentences.txt").write_text("Анна Берг живёт в Казани.\nМост открыт.\n", "utf-8")
    return folder


def run(command: str, place: Path, answers: str = "") -> str:
    return shell.run(command, place, answers, KERASNER_HOME=str(place / "home"))


def command(start: str) -> str:
    """The only command of the guide that starts so."""
    (found,) = [line for line in COMMANDS if line.startswith(start)]
    return found


@pytest.mark.slow
def test_trains_and_predicts(place):
    run(command("python -m kerasner train ner_few_shot_ru"), place)
    for entity in json.loads(run(command("echo"), place)):
        assert entity["label"] in {"PER", "LOC", "ORG"}


@pytest.mark.slow
def test_python(place):
    (block,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    (place / "guide.py").write_text(block, encoding="utf-8")
    run("python guide.py", place)
    assert (place / "models" / "ner_few_shot_en" / "1" / "saved_model.pb").exists()


@pytest.mark.slow
def test_simulates(place):
    printed = run(command("python -m kerasner train ner_few_shot_en_simulate"), place)
    assert '"ner_f1"' in printed


@pytest.mark.slow
def test_annotates(place):
    """What is annotated in the terminal is added to the sentences that are there."""
    before = (place / "my_data" / "train.txt").read_text(encoding="utf-8")
    given = command("python examples/active_learning.py my_data")
    run(given, place, answers="1-2 PER, 5 LOC\nq\n")
    after = (place / "my_data" / "train.txt").read_text(encoding="utf-8")
    assert after.startswith(before.rstrip()) and len(after) > len(before)
