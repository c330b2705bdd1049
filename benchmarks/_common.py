"""What the benchmarks share: data, machine, results."""

import json
import platform
import random
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def sentences(
    data_path: str, part: str = "test", unescape: bool = False
) -> list[tuple[list[str], list[str]]]:
    """(tokens, tags) of a part of a data set in CoNLL-2003's format; unescape: of OntoNotes."""
    from kerasner.data.conll import read_conll

    return read_conll(Path(data_path) / f"{part}.txt", unescape=unescape)


def texts(data_path: str) -> list[str]:
    """Sentences of the test part as text, tokens joined by single spaces, sorted by length."""
    rows = [tokens for tokens, _ in sentences(data_path)]
    return [" ".join(tokens) for tokens in sorted(rows, key=len)]


def shuffled(items: list) -> list:
    items = list(items)
    random.Random(0).shuffle(items)
    return items


def machine() -> str:
    """Processor and number of cores."""
    model = platform.processor() or platform.machine()
    cores = 0
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model, cores = line.split(":", 1)[1].strip(), cores + 1
    return f"{model}, {cores} cores, {platform.system()}, Python {platform.python_version()}"


def status(key: str) -> int:
    """A memory figure of this process in kB: VmRSS (now) or VmHWM (peak)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise KeyError(key)


def write(name: str, result: dict) -> None:
    """Prints a result and keeps it beside the benchmarks, with the command and the machine."""
    RESULTS.mkdir(exist_ok=True)
    command = ["python", *map(_shortened, sys.argv)]
    about = {"command": " ".join(command), "machine": machine()}
    text = json.dumps({**about, **result}, indent=2, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(text)


def _shortened(argument: str) -> str:
    """An argument, perhaps of the form key=path. Of paths the last part tells enough."""
    key, equals, value = argument.rpartition("=")
    return f"{key}{equals}{Path(value).name or value}"
