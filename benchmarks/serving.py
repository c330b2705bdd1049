"""Speed, memory and correctness of `kerasner serve` under load, beside the model in this process.

    python benchmarks/serving.py MODEL --data CONLL2003 [--seconds 60]

MODEL is the name of a model that comes with kerasner, or a folder of a trained one. Server and
clients are processes of one machine and share its cores. Clients send the sentences of
CoNLL-2003's test part; every answer is compared with the tagger's. Words are CoNLL-2003's tokens.
"""

import argparse
import math
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import _common
import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

import kerasner
from kerasner.serving import Client, tensors

HERE = Path(__file__).parent
PASSES = 5
SENTENCES = 1000  # that one client sends
ROUNDS = 10  # in which the process itself and the server take turns
PROCESSES = 2  # of clients
WARM_UP = 5.0  # seconds of load before those that count
FIELDS = ("tokens", "tags", "scores", "starts", "ends")


class Server:
    """`kerasner serve` in a process of its own, from its start to the end of a `with` block.

    Attributes:
        address: of gRPC.
        seconds_to_ready: from the start of the process to its answers.
    """

    def __init__(self, folder: Path, *options: str):
        started = time.perf_counter()
        command = [sys.executable, "-m", "kerasner", "serve", f"{folder.name}={folder}"]
        self._process = subprocess.Popen(
            [*command, "--port", "0", *options], stdout=subprocess.PIPE, text=True
        )
        ready = self._process.stdout.readline()
        if not ready.startswith("ready: "):
            raise SystemExit(f"the server did not start: {ready}")
        self.address = ready.split("gRPC on ")[1].split(": ")[0].split(",")[0]
        with Client(self.address, folder.name) as client:
            client(["Ready ?"])
        self.seconds_to_ready = time.perf_counter() - started

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait()

    def cpu(self) -> float:
        """Seconds of all its threads."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """MB in use."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise KeyError("VmRSS")


def message(name: str, signature: str, texts: list[str]) -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    request.inputs["text"].CopyFrom(tensors.strings([text.encode() for text in texts]))
    return request.SerializeToString()


def milliseconds(times: Iterable[float]) -> dict[str, float]:
    times = sorted(times)
    rank = math.ceil(0.99 * len(times)) - 1
    return {
        "median": round(1000 * statistics.median(times), 2),
        "p99": round(1000 * times[rank], 2),
    }


def timed(function: Callable, arguments: Iterable) -> list[float]:
    times = []
    for argument in arguments:
        started = time.perf_counter()
        function(argument)
        times.append(time.perf_counter() - started)
    return times


def one_client(model, server: Server, name: str, texts: list[str]) -> dict:
    """Times of one sentence a call, in this process and over gRPC, in turns."""
    result = {}
    for signature in ("serving_default", "entities"):
        function = model.signatures[signature]

        def in_process(text: str, function=function) -> None:
            for value in function(text=tf.constant([text])).values():
                value.numpy()

        with grpc.insecure_channel(server.address) as channel, Client(server.address, name) as own:
            predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            client = own.entities if signature == "entities" else own
            runs = {
                "in process": (in_process, texts),
                "gRPC": (predict, [message(name, signature, [text]) for text in texts]),
                "kerasner.serving.Client": (client, [[text] for text in texts]),
            }
            times = {kind: [] for kind in runs}
            for function, arguments in runs.values():
                timed(function, arguments[:50])
            size = len(texts) // ROUNDS
            for start in range(0, len(texts), size):
                for kind, (function, arguments) in runs.items():
                    times[kind] += timed(function, arguments[start : start + size])
        found = {kind: milliseconds(values) for kind, values in times.items()}
        found["gRPC above in process, median"] = round(
            found["gRPC"]["median"] - found["in process"]["median"], 2
        )
        found["gRPC, p99 / median"] = round(found["gRPC"]["p99"] / found["gRPC"]["median"], 2)
        result[signature] = found
    return result


def expected_rows(tagger: kerasner.Tagger, texts: list[str]) -> list[dict[str, np.ndarray]]:
    rows = []
    for start in range(0, len(texts), 256):
        values = tf.constant(texts[start : start + 256])
        answer = {name: value.numpy() for name, value in tagger.graph.text(values).items()}
        rows += trimmed(answer)
    return rows


def trimmed(answer: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    return [
        {name: answer[name][row, :length] for name in FIELDS}
        for row, length in enumerate(answer["lengths"])
    ]


def is_same(found: list[dict[str, np.ndarray]], expected: list[dict[str, np.ndarray]]) -> bool:
    return len(found) == len(expected) and all(
        np.allclose(ours[name], theirs[name], rtol=0, atol=1e-5)
        if name == "scores"
        else np.array_equal(ours[name], theirs[name])
        for ours, theirs in zip(found, expected, strict=True)
        for name in FIELDS
    )


def load(
    server: Server,
    name: str,
    texts: list[str],
    expected: list[dict[str, np.ndarray]],
    size: int,
    clients: int,
    seconds: float,
) -> dict:
    """Clients that send `size` sentences a request without pause."""
    groups = [slice(start, start + size) for start in range(0, len(texts), size)]
    memory: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        requests = [message(name, "serving_default", texts[group]) for group in groups]
        Path(folder, "requests").write_bytes(pickle.dumps(requests))
        share = clients // PROCESSES

        def run(seconds: float, watch: Callable[[float, threading.Event], None]) -> list[tuple]:
            start = time.time() + 4.0  # by then all have started and connected
            processes = [
                subprocess.Popen(
                    [sys.executable, HERE / "_load_client.py", server.address]
                    + [f"{folder}/requests", f"{folder}/answers{number}"]
                    + list(map(str, (share, number * share, seconds, start)))
                )
                for number in range(PROCESSES)
            ]
            ended = threading.Event()
            watching = threading.Thread(target=watch, args=(start, ended))
            watching.start()
            codes = [process.wait() for process in processes]
            ended.set()
            watching.join()
            if any(codes):
                raise SystemExit(f"the clients ended with {codes}")
            paths = [Path(folder, f"answers{number}") for number in range(PROCESSES)]
            return [pickle.loads(path.read_bytes()) for path in paths]

        def watch(start: float, ended: threading.Event) -> None:
            while not ended.wait(1.0):
                now = time.time() - start
                if 0 <= now <= seconds:
                    memory.append((now, server.memory()))

        run(WARM_UP, lambda *_: None)
        before = server.cpu()
        outcomes = run(seconds, watch)
        server_cpu = server.cpu() - before

    count = words = different = wrong = 0
    for answers, *_ in outcomes:
        for group, found in zip(groups, answers, strict=True):
            group_words = sum(len(text.split(" ")) for text in texts[group])
            for answer, times in found.items():
                count += times
                words += times * group_words
                different += 1
                response = predict_pb2.PredictResponse.FromString(answer)
                arrays = {key: tensors.to_array(value) for key, value in response.outputs.items()}
                if not is_same(trimmed(arrays), expected[group]):
                    wrong += times
    errors = [error for _, _, found, _ in outcomes for error in found]
    first = [used for when, used in memory if when <= 60]
    last = [used for when, used in memory if when > seconds - 10]
    return {
        "requests per second": round(count / seconds),
        "words per second": round(words / seconds),
        "latency, ms": milliseconds(time for _, times, *_ in outcomes for time in times),
        "CPU, ms a request": {
            "server": round(1000 * server_cpu / count, 2),
            "clients": round(1000 * sum(cpu for *_, cpu in outcomes) / count, 2),
        },
        "answers": count,
        "answers that differ from the tagger's": wrong,
        "errors": len(errors),
        **({"first error": errors[0]} if errors else {}),
        "memory, MB": {
            "mean of the first minute": round(statistics.mean(first)),
            "mean of the last 10 s": round(statistics.mean(last)),
            "last / first": round(statistics.mean(last) / statistics.mean(first), 3),
        },
    }


def in_process_speed(model, texts: list[str]) -> float:
    """Words per second, the best pass, in batches of 256."""
    function = model.signatures["serving_default"]
    words = sum(len(text.split(" ")) for text in texts)

    def tag_all(texts: list[str]) -> None:
        for start in range(0, len(texts), 256):
            function(text=tf.constant(texts[start : start + 256]))["tags"].numpy()

    return words / min(timed(tag_all, [texts] * PASSES))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", required=True, help="folder of CoNLL-2003")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each load")
    parser.add_argument("--clients", type=int, default=64)
    arguments = parser.parse_args()

    by_length = _common.texts(arguments.data)
    texts = _common.shuffled(by_length)
    is_folder = Path(arguments.model).is_dir()
    tagger = (kerasner.Tagger.load if is_folder else kerasner.pretrained)(arguments.model)
    expected = expected_rows(tagger, texts)
    name = Path(arguments.model).name
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, name)
        tagger.export(folder, 1)
        model = tf.saved_model.load(str(folder / "1"))
        speed = {
            "sorted": in_process_speed(model, by_length),
            "random order": in_process_speed(model, texts),
        }
        with Server(folder) as server:
            starts = [server.seconds_to_ready]
            latency = one_client(model, server, name, texts[:SENTENCES])
        loads = {}
        for kind, size, options in (
            ("one sentence a request", 1, []),
            ("32 sentences a request", 32, []),
            ("one sentence a request, no batching", 1, ["--no-batching"]),
        ):
            with Server(folder, *options) as server:
                starts.append(server.seconds_to_ready)
                loads[kind] = load(
                    server, name, texts, expected, size, arguments.clients, arguments.seconds
                )
    batched = max(speed.values())
    for found in loads.values():
        found["share of in process"] = round(found["words per second"] / batched, 3)
    one, _, serial = loads.values()
    result = {
        "tensorflow": tf.__version__,
        "in process, batches of 256, words per second": {n: round(v) for n, v in speed.items()},
        "one client, one sentence, ms": latency,
        f"{arguments.clients} clients, {arguments.seconds:g} s": loads,
        "batching / no batching": round(one["words per second"] / serial["words per second"], 2),
        "start to ready, s": [round(seconds, 2) for seconds in starts],
    }
    _common.write(f"serving-{name}", result)


if __name__ == "__main__":
    main()
