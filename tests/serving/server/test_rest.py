"""TensorFlow Serving's REST API over a real port."""

import gzip
import json
import socket
import types

import grpc
import pytest
from http_server import serving
from prometheus_client.parser import text_string_to_metric_families
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from kerasner.serving.server import rest
from kerasner.serving.server.metrics import Metrics
from kerasner.serving.server.models import VersionStatus
from kerasner.serving.server.status import ServingError

MAX_BYTES = 100_000
TIMEOUT = 2.0
SETTINGS = types.SimpleNamespace(
    rest_max_bytes=MAX_BYTES, rest_timeout=TIMEOUT, max_queue_bytes=2 * MAX_BYTES
)
TEXTS = ["Abel Arnstad lives in Avalund .", "", "Axonix Group 🗽 opened an office in Avalund ."]
PREDICT = "/v1/models/echo:predict"


class Echo:
    """A model and what runs it: answers with its input, or fails as the text says."""

    name, version = "echo", 3
    names = ["echo"]

    def __init__(self):
        text = meta_graph_pb2.TensorInfo(dtype=types_pb2.DT_STRING)
        self.definition = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
        self.definition.inputs["text"].CopyFrom(text)
        self.signatures = {
            name: types.SimpleNamespace(inputs=inputs, method_name="tensorflow/serving/predict")
            for name, inputs in (
                ("serving_default", {"text": text}),
                ("entities", {"text": text}),
                ("none", {}),
            )
        }
        self.signature_defs = {"serving_default": self.definition}
        self.calls = []

    def find(self, name, version=None, label=None):
        self.calls.append((name, version, label))
        if name != "echo" or version not in (None, 3):
            raise ServingError(grpc.StatusCode.NOT_FOUND, "Servable not found for request")
        if label not in (None, "stable", "a b"):
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "Unrecognized label")
        return self

    def statuses(self, name, version=None, label=None):
        self.find(name, version, label)
        return [
            VersionStatus(3, "AVAILABLE"),
            VersionStatus(2, "END", grpc.StatusCode.NOT_FOUND.value[0], "gone"),
        ]

    async def predict(self, servable, signature, inputs, output_filter=(), deadline=None):
        assert servable is self
        first = inputs["text"].flat[0] if inputs["text"].size else b""
        if first.startswith(b"fail "):
            raise ServingError(grpc.StatusCode[first[5:].decode()], f"as {first.decode()}")
        if first == b"crash":
            raise ZeroDivisionError("secret")
        return {"text": inputs["text"]}


@pytest.fixture(scope="module")
def echo():
    return Echo()


@pytest.fixture(scope="module")
def metrics():
    return Metrics()


@pytest.fixture(scope="module")
def server(echo, metrics):
    async def build():
        return rest.application(echo, echo, metrics, SETTINGS)

    with serving(build) as running:
        yield running
        answer = running.ask("POST", PREDICT, {"instances": ["still here"]})
        assert answer.json == {"predictions": ["still here"]}


@pytest.mark.parametrize("place", ["small", "small/versions/1", "small/labels/stable"])
def test_rows_are_the_taggers(rest_server, tagger, place):
    answer = rest_server.ask("POST", f"/v1/models/{place}:predict", {"instances": TEXTS})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    tokens, tags = tagger(TEXTS)
    rows = answer.json["predictions"]
    assert [row["tokens"][: row["lengths"]] for row in rows] == tokens
    assert [row["tags"][: row["lengths"]] for row in rows] == tags
    for text, row in zip(TEXTS, rows, strict=True):
        spans = list(zip(row["starts"], row["ends"], strict=True))[: row["lengths"]]
        assert [text[start:end] for start, end in spans] == row["tokens"][: row["lengths"]]
        assert {len(row[name]) for name in row if name != "lengths"} == {max(map(len, tokens))}


def test_entities_in_columns(rest_server, tagger):
    request = {"signature_name": "entities", "inputs": {"text": TEXTS}}
    outputs = rest_server.ask("POST", "/v1/models/small:predict", request).json["outputs"]
    expected = tagger.entities(TEXTS)
    assert outputs["counts"] == [len(found) for found in expected]
    assert sum(outputs["counts"]) > 2
    for index, found in enumerate(expected):
        for place, entity in enumerate(found):
            assert outputs["texts"][index][place] == entity.text
            assert outputs["labels"][index][place] == entity.label
            assert outputs["starts"][index][place] == entity.start
            assert outputs["ends"][index][place] == entity.end
            assert outputs["scores"][index][place] == pytest.approx(entity.score, abs=1e-5)


def test_tokens(rest_server, tagger):
    rows = [["Abel", "Arnstad"], ["Avalund", ""]]
    request = {"signature_name": "tokens", "instances": rows}
    answers = rest_server.ask("POST", "/v1/models/small:predict", request).json["predictions"]
    _, tags = tagger([["Abel", "Arnstad"], ["Avalund"]])
    assert [row["tags"][: row["lengths"]] for row in answers] == tags
    assert [row["lengths"] for row in answers] == [2, 1]


def test_no_text(rest_server):
    outputs = rest_server.ask("POST", "/v1/models/small:predict", {"inputs": []}).json["outputs"]
    assert outputs["lengths"] == [] and outputs["tags"] == []


def test_invalid_bytes_of_a_text(rest_server, tagger):
    body = b'{"instances": ["Abel \xff Arnstad"]}'
    row = rest_server.ask("POST", "/v1/models/small:predict", body).json["predictions"][0]
    assert row["tokens"] == tagger(["Abel \ufffd Arnstad"])[0][0]


@pytest.mark.parametrize("request_", [{"instances": [["a"]]}, {"inputs": "a"}, {"inputs": [["a"]]}])
def test_wrong_rank(rest_server, request_):
    answer = rest_server.ask("POST", "/v1/models/small:predict", request_)
    assert answer.status == 400
    assert "text" in answer.json["error"]


def test_metadata(rest_server):
    answer = rest_server.ask("GET", "/v1/models/small/labels/stable/metadata")
    assert answer.status == 200
    document = answer.json
    assert document["model_spec"] == {"name": "small", "signature_name": "", "version": "1"}
    signatures = document["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "tokens", "entities"} <= signatures.keys()
    text = signatures["serving_default"]["inputs"]["text"]
    assert text["dtype"] == "DT_STRING"
    shape = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    assert text["tensor_shape"] == shape
    assert signatures["entities"]["method_name"] == "tensorflow/serving/predict"


def test_real_statuses(rest_server):
    available = {
        "version": "1",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    for path in ("small", "small/versions/1", "small/labels/stable"):
        answer = rest_server.ask("GET", f"/v1/models/{path}")
        assert answer.json == {"model_version_status": [available]}


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("GET", "/v1/models/nobody", 404),
        ("GET", "/v1/models/small/versions/8", 404),
        ("GET", "/v1/models/small/labels/canary", 400),
        ("GET", "/v1/models/nobody/metadata", 404),
        ("GET", "/v1/models/small/versions/8/metadata", 404),
        ("POST", "/v1/models/nobody:predict", 404),
        ("POST", "/v1/models/small/versions/8:predict", 404),
        ("POST", "/v1/models/small/labels/canary:predict", 400),
    ],
)
def test_unknown(rest_server, method, path, status):
    answer = rest_server.ask(method, path, {"instances": ["a"]} if method == "POST" else None)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json) == ["error"]


def test_status_of_a_version_that_failed(server):
    versions = server.ask("GET", "/v1/models/echo").json["model_version_status"]
    assert [version["version"] for version in versions] == ["3", "2"]
    status = {"error_code": "NOT_FOUND", "error_message": "gone"}
    assert versions[1] == {"version": "2", "state": "END", "status": status}


@pytest.mark.parametrize(
    "path, expected",
    [
        ("/v1/models/echo:predict", ("echo", None, None)),
        ("/V1/MODELS/echo:predict", ("echo", None, None)),  # TensorFlow Serving folds case too
        ("/v1/models/echo/versions/03:predict", ("echo", 3, None)),
        ("/v1/models/ec%68o/labels/a%20b:predict", ("echo", None, "a b")),
        ("/v1/models/..%2F..%2Fetc%2Fpasswd:predict", ("../../etc/passwd", None, None)),
        ("/v1/models/%FF%0A:predict", ("\ufffd\n", None, None)),
    ],
)
def test_paths(server, echo, path, expected):
    answer = server.ask("POST", path, {"instances": ["a"]})
    assert echo.calls[-1] == expected
    assert answer.status == (200 if expected[0] == "echo" else 404)


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", "/v1/models/echo:predict"),
        ("POST", "/v1/models/echo"),
        ("DELETE", "/v1/models/echo"),
        ("OPTIONS", "/v1/models/echo:predict"),
        ("POST", "/v1/models/echo:PREDICT"),
        ("POST", "/v1/models/echo:explain"),
        ("POST", "/v1/models/echo:predict?x=1"),
        ("POST", "/v1/models/echo/versions/x:predict"),
        ("POST", "/v1/models/echo/versions/3/labels/stable:predict"),
        ("POST", "/v1/models/:predict"),
        ("GET", "/v1/models/echo/"),
        ("GET", "/v1/"),
    ],
)
def test_malformed_requests(server, method, path):
    answer = server.ask(method, path, b"{}" if method == "POST" else None)
    assert answer.status == 400
    assert answer.json == {"error": f"Malformed request: {method} {path}"}
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_no_model_name(server):
    answer = server.ask("GET", "/v1/models")
    assert (answer.status, answer.json) == (400, {"error": "Missing model name in request."})


@pytest.mark.parametrize("digits", [str(2**63), "9" * 5000])
def test_version_beyond_int64(server, digits):
    answer = server.ask("POST", f"/v1/models/echo/versions/{digits}:predict", b"{}")
    assert answer.status == 400
    assert "Failed to convert version: 9" in answer.json["error"]


@pytest.mark.parametrize(
    "code, status",
    [
        ("CANCELLED", 499),
        ("UNKNOWN", 500),
        ("INVALID_ARGUMENT", 400),
        ("DEADLINE_EXCEEDED", 504),
        ("NOT_FOUND", 404),
        ("PERMISSION_DENIED", 403),
        ("RESOURCE_EXHAUSTED", 429),
        ("FAILED_PRECONDITION", 400),
        ("UNIMPLEMENTED", 501),
        ("INTERNAL", 500),
        ("UNAVAILABLE", 503),
    ],
)
def test_codes(server, code, status):
    answer = server.ask("POST", PREDICT, {"instances": [f"fail {code}"]})
    assert (answer.status, answer.json) == (status, {"error": f"as fail {code}"})


def test_an_unexpected_error_is_not_shown(server, caplog):
    answer = server.ask("POST", PREDICT, {"instances": ["crash"]})
    assert answer.status == 500
    assert "secret" not in answer.json["error"]
    assert "secret" in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nothing",
        b"\xff\xfe",
        b"[" * 90_000,
        b'{"instances": []}',
        b'{"instances": [NaN]}',
        b'{"instances": [' + b"1" * 50_000 + b"]}",
        b'{"instances": ["\\ud800"]}',
        b'{"instances": ["a"], "signature_name": "x"}',
        b'{"instances": ["a"], "signature_name": "none"}',
        b'{"instances": ["a"], "signature_name": 1}',
    ],
)
def test_bodies_that_are_refused(server, body):
    answer = server.ask("POST", PREDICT, body)
    assert answer.status == 400
    assert list(answer.json) == ["error"]


def test_malformed_json_comes_before_an_unknown_model(server):
    assert server.ask("POST", "/v1/models/nobody:predict", b"{").status == 400
    assert server.ask("POST", "/v1/models/nobody:predict", b"{}").status == 404


@pytest.mark.parametrize(
    "method, kind", [("classify", "classification"), ("regress", "regression")]
)
def test_no_classification(server, method, kind):
    path = f"/v1/models/echo:{method}"
    answer = server.ask("POST", path, {"examples": [{"x": 1}]})
    expected = (
        f"Expected {kind} signature method_name to be tensorflow/serving/{method}. "
        "Was: tensorflow/serving/predict"
    )
    assert (answer.status, answer.json) == (400, {"error": expected})
    assert "examples" in server.ask("POST", path, {"instances": ["a"]}).json["error"]
    answer = server.ask("POST", path, {"examples": [{}], "signature_name": "x"})
    assert answer.json == {"error": "No signature was found with the name: x"}
    assert server.ask("POST", f"/v1/models/no:{method}", {"examples": [{}]}).status == 404


def test_large_bodies(server):
    fits = json.dumps({"instances": ["x" * (MAX_BYTES - 20)]}).encode()
    assert len(fits) < MAX_BYTES
    assert server.ask("POST", PREDICT, fits).status == 200
    for body in (fits + b" " * 100, b"x" * 50 * MAX_BYTES):
        answer = server.ask("POST", PREDICT, body)
        assert answer.status == 413
        assert answer.json == {"error": f"the body is larger than {MAX_BYTES} bytes"}


def test_compressed_bodies(server):
    def ask(body):
        return server.ask("POST", PREDICT, body, Content_Encoding="gzip")

    assert ask(gzip.compress(b'{"instances": ["a"]}')).json == {"predictions": ["a"]}
    assert ask(gzip.compress(b" " * 100 * MAX_BYTES)).status == 413  # what it grows to counts
    assert ask(b'{"instances": ["a"]}').status == 400


def test_a_client_that_hangs(server):
    head = b"POST /v1/models/echo:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(head)
        assert server.ask("POST", PREDICT, {"instances": ["a"]}).status == 200  # others are served
        answer = client.recv(1000)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in answer.lower()


def test_a_client_that_leaves(server, caplog):
    head = b"POST /v1/models/echo:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{"
    for sent in (head, head.replace(b"50", b"1"), b"GET", b""):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
            client.sendall(sent)
    assert server.ask("POST", PREDICT, {"instances": ["a"]}).status == 200
    assert not caplog.records


def test_garbage_instead_of_http(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(b"\x16\x03\x01\x02\x00 garbage\r\n\r\n")
        assert b" 400 " in client.recv(1000)


@pytest.mark.parametrize("path", ["/metrics", "/monitoring/prometheus/metrics"])
def test_metrics(server, path):
    def count(**labels):
        answer = server.ask("GET", path)
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain")
        for family in text_string_to_metric_families(answer.body.decode()):
            for sample in family.samples:
                if sample.name == "kerasner_requests_total" and sample.labels == labels:
                    return sample.value
        return 0

    good = {"model": "echo", "signature": "entities", "protocol": "rest", "code": "OK"}
    bad = {"model": "", "signature": "", "protocol": "rest", "code": "NOT_FOUND"}
    before = count(**good), count(**bad)
    server.ask("POST", PREDICT, {"signature_name": "entities", "instances": ["a"]})
    server.ask("POST", "/v1/models/nobody:predict", {"instances": ["a"]})
    assert (count(**good), count(**bad)) == (before[0] + 1, before[1] + 1)


@pytest.mark.parametrize(
    "path",
    ["/index.html", "/page/index.html", "/page/", "/../rest.py", "/..%2Frest.py", "//etc/passwd"],
)
def test_no_path_is_a_file(server, path):
    answer = server.ask("GET", path)
    assert answer.status == 404
    assert list(answer.json) == ["error"]


def test_many_answers_over_one_connection(server):
    request = b'{"instances": ["a"]}'
    head = b"POST /v1/models/echo:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall((head % len(request) + request) * 3)
        received = b""
        while received.count(b'{"predictions":["a"]}') < 3:
            received += client.recv(10_000)


def test_numbers_of_an_answer(rest_server):
    answer = rest_server.ask("POST", "/v1/models/small:predict", {"instances": TEXTS}).json
    row = answer["predictions"][0]
    assert all(type(value) is int for value in [*row["starts"], row["lengths"]])
    assert all(type(value) is float and 0 <= value <= 1 for value in row["scores"])
    assert max(len(repr(value)) for value in row["scores"]) < 14  # not those of a float64
