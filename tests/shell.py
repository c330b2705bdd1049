"""Commands of the documentation, run as a user would type them."""

import os
import subprocess
import sys
from pathlib import Path


def run(command: str, folder: Path, answers: str = "", **environment: str) -> str:
    """What a bash command prints in a folder, with the scripts of this Python on its path.

    Args:
        command: one or more lines; the first one that fails ends it and the test.
        folder: where.
        answers: standard input.
        environment: further variables.
    """
    scripts = str(Path(sys.executable).parent)
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", "-c", f"set -eo pipefail; {command}"],
        cwd=folder,
        env={**os.environ, **environment, "PATH": path},
        input=answers,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, f"{command}\n{result.stderr[-3000:]}"
    return result.stdout
