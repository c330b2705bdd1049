"""What a configuration needs besides kerasner."""

import subprocess
import sys

import pytest

from kerasner import requirements
from kerasner.errors import ConfigError

REQUIRED = [
    "tensorflow>=2.15",
    "tensorboard; extra == 'tensorboard'",
    'pytest>=7; extra == "test"',
    'hypothesis; (python_version > "3") and extra == "test"',
]


@pytest.fixture(autouse=True)
def metadata(monkeypatch):
    monkeypatch.setattr(requirements.importlib.metadata, "requires", lambda name: REQUIRED)
    monkeypatch.delenv("KERASNER_OFFLINE", raising=False)


def lines(*entries):
    return requirements.lines({"metadata": {"requirements": list(entries)}})


def test_extras_stand_for_what_they_require():
    assert lines("test", "tensorboard") == ["pytest>=7", "hypothesis", "tensorboard"]
    assert lines("kerasner[test]") == ["pytest>=7", "hypothesis"]


@pytest.mark.parametrize(
    "line", ["razdel", "razdel==0.5.0", "a[b,c]>=1,<2", "x ~= 1.0", "x>=1; python_version < '3.12'"]
)
def test_requirements_pass_as_they_are(line):
    assert lines(line, line) == [line]


def test_nothing_is_needed():
    assert lines() == requirements.lines({}) == []


@pytest.mark.parametrize(
    "entry",
    ["-r evil.txt", "--index-url=http://x", "../x", "x @ http://y/x.whl", "git+https://x/y", "", 5],
)
def test_what_is_no_requirement(entry):
    with pytest.raises(ConfigError, match=r"metadata.requirements\[1\]: expected a requirement"):
        lines("razdel", entry)


def test_wrong_lists_and_extras():
    with pytest.raises(ConfigError, match="expected a list of requirements, received 'razdel'"):
        requirements.lines({"metadata": {"requirements": "razdel"}})
    with pytest.raises(ConfigError, match="unknown extra 'tets': did you mean 'test'"):
        lines("kerasner[tets]")


def test_without_an_installation_names_are_requirements(monkeypatch):
    def requires(name):
        raise requirements.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(requirements.importlib.metadata, "requires", requires)
    assert lines("tensorboard") == ["tensorboard"]


def test_pip_is_called(monkeypatch):
    calls = []

    def run(command, **options):
        calls.append(command)
        return subprocess.CompletedProcess(command, len(calls) - 1)

    monkeypatch.setattr(requirements.subprocess, "run", run)
    requirements.install(["a", "b>=1"])
    assert calls == [[sys.executable, "-m", "pip", "install", "a", "b>=1"]]
    with pytest.raises(ConfigError, match="pip install a ended with 1"):
        requirements.install(["a"])


def test_offline(monkeypatch):
    monkeypatch.setenv("KERASNER_OFFLINE", "1")
    monkeypatch.setattr(requirements.subprocess, "run", None)  # it must not be called
    with pytest.raises(ConfigError, match="KERASNER_OFFLINE is set; needed are a, b"):
        requirements.install(["a", "b"])
