"""Every command of the README, as a user would run it."""

import json
import re
import shutil
from pathlib import Path

import pytest
from shell import run

ROOT = Path(__file__).parents[1]
# Installing is what CI does before any test.
INSTALLATION = "pip install "


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def commands() -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    lines = [line.removeprefix("pip install . && ") for line in lines]
    return [line for line in lines if line and not line.startswith(INSTALLATION)]


@pytest.fixture(scope="module")
def place(data_folder, vector_file, tmp_path_factory) -> Path:
    """A folder with what the README's commands name; they run there in their order."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(data_folder, folder / "conll2003")
    shutil.copy(vector_file, folder / "glove.6B.100d.txt")
    shutil.copytree(ROOT / "examples", folder / "examples")
    (folder / "texts.txt").write_text("Anna Berg lives in Paris.\n\nNobody came.\n")
    return folder


def test_first_command_prints_what_is_shown(place):
    shown, printed = json.loads(blocks("json")[0]), json.loads(run(commands()[0], place))
    scores = [entity.pop("score") for entity in printed]
    assert scores == pytest.approx([entity.pop("score") for entity in shown], abs=0.001)
    assert printed == shown


def test_commands_in_their_order(place):
    """One test, for a command needs what those before it made."""
    for command in commands()[1:]:
        run(command, place)


def test_python(place):
    (place / "all.py").write_text("\n".join(blocks("python")))
    assert "Bernhard Riemann PER 0 16" in run("python all.py", place)
