"""docs/serving.md: its commands and its Python in their order, against `kerasner serve`."""

import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from shell import run

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "serving.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.M)

PORTS = r"\b8[56]0[01]\b"


def free_port() -> str:
    with socket.create_server(("localhost", 0)) as taken:
        return str(taken.getsockname()[1])


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> dict[str, str]:
    """What the commands print that are run, and the Python at the end of all."""
    folder = tmp_path_factory.mktemp("guide")
    (folder / "serving").symlink_to(ROOT / "serving")
    ports = {port: free_port() for port in ("8500", "8501", "8600", "8601")}
    path = f"PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; set -e; "
    printed, servers = {}, []

    try:
        for kind, block in BLOCKS:
            block = re.sub(PORTS, lambda match: ports[match[0]], block)
            if kind == "bash" and block.startswith("kerasner serve"):
                with (folder / "server.log").open("w") as log:
                    command = ["bash", "-c", path + "exec " + block]
                    servers.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log))
            elif kind == "bash":
                if block.startswith("curl"):
                    block = block.replace(
                        "--fail-with-body",
                        "--fail-with-body --retry 60 --retry-delay 1 --retry-all-errors",
                    )  # the server is still starting
                first = block.split()[0]
                printed[first] = printed.get(first, "") + run(block, folder)
        script = "\n".join(block for kind, block in BLOCKS if kind == "python")
        script = re.sub(PORTS, lambda match: ports[match[0]], script)
        (folder / "guide.py").write_text(script, encoding="utf-8")
        printed["guide.py"] = run("python guide.py", folder)
    finally:
        for server in servers:
            server.terminate()
            server.wait(60)
    assert [server.returncode for server in servers] == [0, 0]
    return printed


@pytest.mark.slow
def test_commands(outputs):
    assert outputs["kerasner"].strip().endswith("models/ner_conll2003/1")
    assert re.findall(r"Bernhard Riemann|Göttingen", outputs["curl"]) == [
        "Bernhard Riemann", "Göttingen",
    ]  # fmt: skip
    assert '"version": "1"' in outputs["curl"]  # by TLS


@pytest.mark.slow
def test_python(outputs):
    lines = outputs["guide.py"].splitlines()
    assert lines[:2] == ["Bernhard Riemann PER 0 16", "Göttingen LOC 26 35"]
    assert re.fullmatch(r"\d+ texts a second", lines[2])


def test_links_lead_somewhere():
    targets = re.findall(r"\]\((.*?)\)", GUIDE.read_text(encoding="utf-8"))
    assert len(targets) > 10
    for target in targets:
        path, _, anchor = target.partition("#")
        page = (GUIDE.parent / path).resolve() if path else GUIDE
        assert page.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert anchor in slugs, target


def test_what_is_not_run_says_so():
    """Only what needs Docker, a cluster or a tool that is not here, and a server of other paths."""
    assert {kind for kind, _ in BLOCKS} == {"bash", "python", "console"}
    shown = {block.split()[0] for kind, block in BLOCKS if kind == "console"}
    known = {"docker", "tensorflow_model_server", "serving/clients/grpcurl.sh", "kerasner"}
    assert shown == known
