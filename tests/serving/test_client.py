"""The clients, beside the local tagger and against servers that fail."""

import asyncio
import contextlib
import pickle
import re
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from prediction_server import PredictionServer

from kerasner import Entity
from kerasner.errors import ConfigError, DataError, ServiceError
from kerasner.serving import AsyncClient, Client
from kerasner.serving.protocol import MAX_MESSAGE_BYTES, OUTPUTS, _pieces

TEXTS = ["Abel Falk left Avalund . Hilda left Axonix .", "", "Nobody knows why .", "\U0001f600 é"]
TOKENS = [["Abel", "Falk", "left", "Axonix"], [], ["Lund"]]
INPUTS = {"serving_default": ["text"], "entities": ["text"], "tokens": ["tokens"]}


class AsyncClientInALoop:
    """An AsyncClient that is used like a Client."""

    def __init__(self, *args, **options):
        self._loop = asyncio.new_event_loop()
        self._client = AsyncClient(*args, **options)

    def __call__(self, *args):
        return self._loop.run_until_complete(self._client(*args))

    def __getattr__(self, name):
        return lambda *args: self._loop.run_until_complete(getattr(self._client, name)(*args))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()
        self._loop.close()


@pytest.fixture(params=[Client, AsyncClientInALoop], ids=["sync", "async"])
def connect(request):
    """Both clients, used alike."""
    return request.param


def signatures_of(tagger):
    def answering(function):
        def answer(inputs):
            tensors = {name: tf.constant(value, tf.string) for name, value in inputs.items()}
            return {name: value.numpy() for name, value in function(*tensors.values()).items()}

        return answer

    functions = tagger.graph.signatures
    return {n: (INPUTS[n], list(OUTPUTS[n]), answering(functions[n])) for n in INPUTS}


@pytest.fixture
def server(tagger):
    """A server of the trained model."""
    with PredictionServer(signatures_of(tagger)) as server:
        yield server


def two_inputs(**inputs):
    """Tags each token with what stands beside it."""
    tokens = inputs.pop("tokens")
    tags = np.empty(tokens.shape, object)
    for place in np.ndindex(*tokens.shape):
        tags[place] = b"-".join(inputs[name][place] for name in sorted(inputs))
    places = np.arange(1, tokens.shape[1] + 1)  # the length counts up to the last token
    lengths = (places * (tokens != b"")).max(axis=1, initial=0)
    return {"tags": tags, "lengths": lengths.astype(np.int32)}


def served(*names, **further):
    """A server of a model of made-up functions with these inputs."""
    signature = (["tokens", *names], ["tags", "scores", "lengths"], lambda i: two_inputs(**i))
    return PredictionServer({"tokens": signature, **further})


def test_it_gives_what_the_tagger_gives(server, tagger, connect):
    with connect(server.address, "ner") as ner:
        assert ner(TEXTS) == tagger(TEXTS)
        assert ner(TOKENS) == tagger(TOKENS)
        assert ner(tuple(map(tuple, TOKENS))) == (TOKENS, tagger(TOKENS)[1])
        assert ner([np.array(["Abel", "Falk"])]) == tagger([["Abel", "Falk"]])
        found = ner.entities(TEXTS)
    assert [len(row) for row in found[:3]] == [4, 0, 0]
    assert all(isinstance(entity, Entity) for entity in found[0])
    assert_entities(found, tagger.entities(TEXTS))


def assert_entities(found, expected):
    assert [[e[:4] for e in row] for row in found] == [[e[:4] for e in row] for row in expected]
    for ours, theirs in zip(sum(found, []), sum(expected, []), strict=True):
        assert type(ours.start) is int and type(ours.score) is float
        assert ours.score == pytest.approx(theirs.score, abs=1e-5)


def test_odd_texts(server, tagger, connect):
    texts = ["\ud800 Hilda left Axonix .", "\x00", "a\u0301 \u200f\u05d0", " ", "Hilda  left\tit"]
    with connect(server.address, "ner") as ner:
        assert ner(texts) == tagger(texts)
        assert_entities(ner.entities(texts), tagger.entities(texts))


def test_empty_batches(server, connect):
    with connect(server.address, "ner") as ner:
        assert ner([]) == ([], [])
        assert ner.entities([]) == []
        assert ner([[], []]) == ([[], []], [[], []])


@pytest.mark.parametrize(
    "batch", ["Abel", 5, ["Abel", ["Falk"]], [["Abel", ""]], [["Abel", 1]], [None], [b"A"]]
)
def test_what_is_no_batch_is_refused_as_the_tagger_does(server, tagger, connect, batch):
    with pytest.raises(TypeError) as expected:
        tagger(batch)
    with connect(server.address, "ner") as ner, pytest.raises(TypeError) as error:
        ner(batch)
    assert str(error.value) == str(expected.value)
    assert not server.requests


@pytest.mark.parametrize("texts", ["Abel", 5, [["Abel"]], [None]])
def test_what_are_no_texts_is_refused_as_the_tagger_does(server, tagger, connect, texts):
    with pytest.raises(TypeError) as expected:
        tagger.entities(texts)
    with connect(server.address, "ner") as ner, pytest.raises(TypeError) as error:
        ner.entities(texts)
    assert str(error.value) == str(expected.value)


def test_inputs_of_another_number(server, connect):
    with connect(server.address, "ner") as ner:
        with pytest.raises(TypeError, match=r"inputs \['tokens'\], received 2 of them"):
            ner([["a"]], [["b"]])


def test_a_further_input(connect):
    with served("pos") as server, connect(server.address, "ner") as ner:
        tokens, tags = ner([["a", "b"], ["c"]], [["x", "y"], ["z"]])
        assert (tokens, tags) == ([["a", "b"], ["c"]], [["x", "y"], ["z"]])
        with pytest.raises(TypeError, match=r"inputs \['tokens', 'pos'\], received 1 of them"):
            ner(["a b"])
        with pytest.raises(TypeError, match="takes no raw text"):
            ner.entities(["a b"])
        with pytest.raises(DataError, match="sentence 1.*same length"):
            ner([["a"], ["b"]], [["x"], ["y", "z"]])
        with pytest.raises(TypeError, match="lists of non-empty tokens"):
            ner([["a"]], ["x"])


def test_more_inputs_need_their_order(connect):
    with served("chunk", "pos") as server:
        with connect(server.address, "ner") as ner, pytest.raises(ConfigError, match="inputs:"):
            ner([["a"]], [["x"]], [["y"]])
        names = ["tokens", "pos", "chunk"]
        with connect(server.address, "ner", inputs=names) as ner:
            assert ner([["a"]], [["NN"]], [["B"]])[1] == [["B-NN"]]
        with connect(server.address, "ner", inputs=["tokens", "pos"]) as ner:
            with pytest.raises(ConfigError, match=r"\['tokens', 'chunk', 'pos'\]"):
                ner([["a"]], [["x"]])


def test_a_call_of_many_texts_is_split(server, tagger, connect):
    texts = [f"Hilda left Axonix {number} ." for number in range(50)]
    with connect(server.address, "ner", batch_size=8, concurrency=3) as ner:
        assert ner(texts) == tagger(texts)
        assert_entities(ner.entities(texts), tagger.entities(texts))
    sizes = [r.inputs["text"].tensor_shape.dim[0].size for r in server.requests]
    assert sorted(sizes) == [2, 2, *[8] * 12]
    assert 1 < server.most_at_once <= 3


def test_a_call_of_many_bytes_is_split(server, tagger, connect):
    texts = [f"{'Hilda ' * 200}{number}" for number in range(20)]
    tokens = [["Hilda"] * 200, *[["e" * 50]] * 40]
    with connect(server.address, "ner", max_message_bytes=8000) as ner:
        assert ner(texts) == tagger(texts)
        assert ner(tokens) == tagger(tokens)
    assert len(server.requests) == 6  # 4 of texts, 2 of tokens
    assert max(request.ByteSize() for request in server.requests) <= 8000


def test_a_text_beyond_the_limit_of_the_server(server, connect):
    with connect(server.address, "ner") as ner:
        with pytest.raises(ServiceError, match="larger than max") as error:
            ner(["a" * (MAX_MESSAGE_BYTES + 1)])
        assert error.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert ner(["Hilda"])[0] == [["Hilda"]]


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.lists(st.integers(0, 30)), st.integers(1, 5), st.integers(1, 60))
def test_pieces(sizes, most, most_bytes):
    pieces = list(_pieces(sizes, most, most_bytes))
    assert [i for piece in pieces for i in range(len(sizes))[piece]] == list(range(len(sizes)))
    for piece in pieces:
        count, longest = piece.stop - piece.start, max(sizes[piece])
        assert 1 <= count <= most
        assert count == 1 or count * longest <= most_bytes


def test_unavailable_twice(server, tagger, connect):
    with connect(server.address, "ner", attempts=3) as ner:
        ner.ready()
        server.faults.extend([grpc.StatusCode.UNAVAILABLE] * 2)
        assert ner(TEXTS) == tagger(TEXTS)
    assert len(server.requests) == 3


@pytest.mark.parametrize(("attempts", "sent"), [(1, 1), (2, 2)])
def test_unavailable_too_often(server, connect, attempts, sent):
    with connect(server.address, "ner", attempts=attempts) as ner:
        ner.ready()
        server.faults.extend([grpc.StatusCode.UNAVAILABLE] * 2)
        with pytest.raises(ServiceError, match="UNAVAILABLE: as ordered") as error:
            ner(TEXTS)
    assert error.value.code is grpc.StatusCode.UNAVAILABLE
    assert error.value.address == server.address
    assert server.address in str(error.value)
    assert len(server.requests) == sent


def test_other_errors_are_not_retried(server, connect):
    with connect(server.address, "ner") as ner:
        ner.ready()
        server.faults.append(grpc.StatusCode.RESOURCE_EXHAUSTED)
        with pytest.raises(ServiceError, match="RESOURCE_EXHAUSTED: as ordered"):
            ner(TEXTS)
    assert len(server.requests) == 1


def test_an_error_of_one_piece_ends_the_call(server, connect):
    with connect(server.address, "ner", batch_size=1, concurrency=2) as ner:
        ner.ready()
        server.faults.extend([0.0, grpc.StatusCode.INTERNAL])
        with pytest.raises(ServiceError, match="INTERNAL"):
            ner(["Hilda"] * 30)
    assert len(server.requests) < 30


def test_the_deadline(server, connect):
    with connect(server.address, "ner", timeout=0.5) as ner:
        ner.ready()
        server.faults.append(2.0)
        with pytest.raises(ServiceError, match="no answer in time") as error:
            ner(TEXTS)
    assert error.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_no_retry_beyond_the_deadline(server, connect):
    with connect(server.address, "ner", timeout=0.5, attempts=5) as ner:
        ner.ready()
        server.faults.extend([0.0, *[grpc.StatusCode.UNAVAILABLE] * 5])
        started = time.monotonic()
        with pytest.raises(ServiceError):
            [ner(["Hilda"]) for _ in range(2)]
        assert time.monotonic() - started < 3


def test_a_server_that_is_started_again(server, tagger, connect):
    signatures = signatures_of(tagger)
    with PredictionServer(signatures) as first:
        ner = connect(first.address, "ner")
        assert ner(["Hilda"]) == tagger(["Hilda"])
    with ner:
        with pytest.raises(ServiceError) as error:
            ner(["Hilda"])
        assert error.value.code is grpc.StatusCode.UNAVAILABLE
        with PredictionServer(signatures, first.port):
            ner.wait_until_ready(30)
            assert ner(["Hilda"]) == tagger(["Hilda"])


def test_waiting_for_a_server(tagger, connect):
    with PredictionServer(signatures_of(tagger)) as closed:
        pass
    with connect(closed.address, "ner", attempts=1) as ner:
        assert not ner.ready()
        with pytest.raises(ServiceError, match="not ready in time") as error:
            ner.wait_until_ready(0.3)
        assert error.value.code is grpc.StatusCode.DEADLINE_EXCEEDED

        def start():
            time.sleep(0.5)
            server.__enter__()

        server = PredictionServer(signatures_of(tagger), closed.port)
        server.faults.extend([grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE])
        starting = threading.Thread(target=start)
        starting.start()
        ner.wait_until_ready(30)
        starting.join()
        assert ner.ready()
        server.__exit__()


def test_waiting_tells_what_it_waited_for(server, connect):
    """Also where what was met first is not what ends the time."""
    with connect(server.address, "ner") as ner:
        server.faults.extend([grpc.StatusCode.NOT_FOUND, 2.0])
        with pytest.raises(ServiceError) as error:
            ner.wait_until_ready(1)
    expected = "not ready in time: no model 'ner' is served: NOT_FOUND: as ordered"
    assert str(error.value) == f"{server.address}: {expected}"
    assert error.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_waiting_for_what_is_no_server_of_this_kind(connect):
    with PredictionServer({}) as closed:
        pass
    with connect(closed.address, "ner", attempts=1) as ner:
        with pytest.raises(ServiceError, match="time: no server answers: .*refused") as error:
            ner.wait_until_ready(0.3)
        assert str(error.value).count(closed.address) == 1
    with serving_http() as address, connect(address, "ner", attempts=1) as ner:
        with pytest.raises(ServiceError, match="time: no server answers: .*HTTP/2"):
            ner.wait_until_ready(0.3)


@contextlib.contextmanager
def serving_http():
    """What answers every request in HTTP/1, like a REST port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_label_that_is_not_set_yet(server, connect):
    with connect(server.address, "ner", version_label="canary") as ner:
        server.faults.extend([grpc.StatusCode.INVALID_ARGUMENT] * 2)
        assert not ner.ready()
        ner.wait_until_ready()
        ner(["Hilda"])
    assert server.requests[0].model_spec.version_label == "canary"


def test_an_error_that_waiting_does_not_cure(server, connect):
    with connect(server.address, "ner") as ner:
        server.faults.extend([grpc.StatusCode.PERMISSION_DENIED] * 2)
        with pytest.raises(ServiceError, match="PERMISSION_DENIED"):
            ner.ready()
        with pytest.raises(ServiceError, match="PERMISSION_DENIED"):
            ner.wait_until_ready()


def test_another_name(server, connect):
    with connect(server.address, "nar", version=3) as ner:
        with pytest.raises(ServiceError, match="no model 'nar' of version 3 is served") as error:
            ner(TEXTS)
        assert error.value.code is grpc.StatusCode.NOT_FOUND
        assert not ner.ready()
    with connect(server.address, "nar", version_label="stable") as ner:
        with pytest.raises(ServiceError, match="no model 'nar' of label 'stable' is served"):
            ner(TEXTS)


def test_what_is_asked_for(server, connect):
    options = {"version": 0, "metadata": [("authorization", "Bearer x")]}
    with connect(server.address, "ner", **options) as ner:
        ner(TEXTS)
    (request,) = server.requests
    assert request.model_spec.HasField("version")
    assert request.model_spec.version.value == 0
    assert request.model_spec.signature_name == "serving_default"
    assert list(request.output_filter) == ["tokens", "tags", "lengths"]
    assert server.headers[0]["authorization"] == "Bearer x"


def test_a_model_of_somebody_else(connect):
    signature = (["x"], ["y"], None)
    with PredictionServer({"serving_default": signature}) as server:
        with connect(server.address, "ner") as ner:
            for call in (ner, ner.entities):
                with pytest.raises(ServiceError, match="expected a model that kerasner exported"):
                    call(TEXTS)


def test_a_model_without_a_signature_of_raw_text(connect):
    with served() as server, connect(server.address, "ner") as ner:
        assert ner([["a"]]) == ([["a"]], [[""]])
        with pytest.raises(ServiceError, match="'serving_default': 'ner' has none") as error:
            ner(TEXTS)
        assert error.value.code is grpc.StatusCode.FAILED_PRECONDITION


def test_a_damaged_answer(tagger, connect):
    signatures = signatures_of(tagger)
    signatures["tokens"] = (
        ["tokens"],
        ["tags", "lengths"],
        lambda _: {"tags": np.zeros([0, 0], object), "lengths": np.int32([1])},
    )
    with PredictionServer(signatures) as server, connect(server.address, "ner") as ner:
        with pytest.raises(ServiceError, match="damaged answer") as error:
            ner([["a"]])
    assert error.value.code is grpc.StatusCode.INTERNAL


def test_no_server_of_this_protocol(connect):
    empty = grpc.server(ThreadPoolExecutor(1))
    port = empty.add_insecure_port("localhost:0")
    empty.start()
    with connect(f"localhost:{port}", "ner") as ner:
        with pytest.raises(ServiceError, match="no server of TensorFlow Serving's protocol"):
            ner(TEXTS)
    empty.stop(None).wait()


def test_threads_share_a_client(server, tagger):
    batches = [[f"Hilda left Axonix {number} ."] * (1 + number % 5) for number in range(40)]
    expected = [tagger(batch) for batch in batches]
    with Client(server.address, "ner", batch_size=2) as ner, ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ner, batches)) == expected


def test_tasks_share_a_client(server, tagger):
    batches = [[f"Hilda left Axonix {number} ."] * (1 + number % 5) for number in range(40)]

    async def main():
        async with AsyncClient(server.address, "ner", batch_size=2) as ner:
            return await asyncio.gather(*map(ner, batches))

    assert asyncio.run(main()) == [tagger(batch) for batch in batches]


def test_a_task_that_is_cancelled(server):
    async def main():
        async with AsyncClient(server.address, "ner") as ner:
            await ner.ready()
            server.faults.append(2.0)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(ner(["Hilda"]), 0.3)
            return await ner(["Hilda"])

    assert asyncio.run(main())[0] == [["Hilda"]]


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
def test_tls(tagger, connect, tmp_path):
    for name in ("server", "client", "stranger"):
        subprocess.run(
            "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext "
            f"subjectAltName=DNS:localhost -keyout {name}.key -out {name}.pem".split(),
            cwd=tmp_path,
            check=True,
            stderr=subprocess.DEVNULL,
        )
    pair = [((tmp_path / "server.key").read_bytes(), (tmp_path / "server.pem").read_bytes())]
    roots = (tmp_path / "client.pem").read_bytes()
    credentials = grpc.ssl_server_credentials(pair, roots, require_client_auth=True)
    trusted = {"tls": True, "root_certificates": tmp_path / "server.pem"}

    def options(name):
        return {**trusted, "certificate": tmp_path / f"{name}.pem", "key": tmp_path / f"{name}.key"}

    with PredictionServer(signatures_of(tagger), credentials=credentials) as server:
        with connect(server.address, "ner", **options("client")) as ner:
            assert ner(["Hilda"]) == tagger(["Hilda"])
        for refused in ({}, trusted, options("stranger")):
            with connect(server.address, "ner", attempts=1, timeout=5, **refused) as ner:
                with pytest.raises(ServiceError) as error:
                    ner(["Hilda"])
                assert error.value.code is grpc.StatusCode.UNAVAILABLE
        with connect(server.address, "ner", attempts=1, tls=True) as ner:
            with pytest.raises(ServiceError, match="not ready in time: .*VERIFY_FAILED"):
                ner.wait_until_ready(0.5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"address": ""}, "address: expected a text, received ''"),
        (
            {"address": "http://localhost:8500"},
            "address: give host:port, without http://; received 'http://localhost:8500'",
        ),
        ({"address": "HTTPS://ner.example"}, "give host:port, without HTTPS://"),
        ({"model": None}, "model: expected a text, received None"),
        ({"version": -1}, "version: expected 0 or more"),
        ({"version": 1, "version_label": "a"}, "received both"),
        ({"timeout": -1}, "timeout"),
        ({"attempts": 6}, "attempts: expected 1 to 5"),
        ({"batch_size": 0}, "batch_size"),
        ({"max_message_bytes": 10}, "max_message_bytes"),
        ({"concurrency": 0}, "concurrency"),
        ({"root_certificates": "ca.pem"}, "root_certificates: expected only with tls=True"),
        ({"tls": True, "key": "x"}, "expected both or neither"),
        ({"tls": True, "root_certificates": "nowhere.pem"}, "cannot read nowhere.pem"),
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_wrong_arguments(kind, options, expected):
    with pytest.raises(ConfigError, match=re.escape(expected)):
        kind(**{"address": "localhost:1", "model": "ner", **options})


def test_an_unknown_argument():
    with pytest.raises(TypeError, match="retries"):
        Client("localhost:1", "ner", retries=3)


def test_the_error_crosses_processes():
    error = ServiceError("a: b", "a", grpc.StatusCode.NOT_FOUND)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.address, copy.code) == ("a: b", "a", grpc.StatusCode.NOT_FOUND)
