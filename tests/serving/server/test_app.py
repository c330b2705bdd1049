"""The server as a whole: over its ports, and as a process."""

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from model_server import ModelServer, code_of, request, strings
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from kerasner.errors import ConfigError
from kerasner.serving import tensors
from kerasner.serving.server.app import Server, Settings
from kerasner.serving.server.export_cache import base_folder

CODES = grpc.StatusCode
TEXTS = [b"Abel Falk lives in Avalund .", b"", b"Nobody knows why .", b"\xff Hilda", b"Gorm " * 90]


@pytest.fixture(scope="module")
def base(versions, tmp_path_factory):
    """A folder with version 1 alone, to which tests may add."""
    folder = tmp_path_factory.mktemp("base") / "small"
    shutil.copytree(versions / "1", folder / "1")
    return folder


@pytest.fixture(scope="module")
def small(base):
    server = ModelServer(models={"small": base}, rest_port=0, poll_seconds=0.1)
    yield server
    server.stop()


def arrays(response):
    return {name: tensors.to_array(proto) for name, proto in response.outputs.items()}


def health(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    statuses = health_pb2.HealthCheckResponse.ServingStatus
    return {
        service: statuses.Name(stub.Check(health_pb2.HealthCheckRequest(service=service)).status)
        for service in ("", "tensorflow.serving.PredictionService")
    }


def metric(server, line):
    url = f"http://localhost:{server.server.rest_port}/metrics"
    with urllib.request.urlopen(url) as answer:
        values = dict(row.rsplit(" ", 1) for row in answer.read().decode().splitlines())
    return float(values.get(line, 0))


def test_concurrent_requests_get_the_serial_answers(small):
    requests = []
    for turn in range(40):
        texts = [TEXTS[(turn * step) % len(TEXTS)] for step in range(turn % 4)]
        requests.append(request(("", "entities")[turn % 2], text=strings(texts)))
        rows = [text.split()[:turn] for text in texts if text]
        width = max(map(len, rows), default=0)
        padded = [row + [b""] * (width - len(row)) for row in rows]
        table = np.array(padded, object).reshape(len(rows), width)
        requests.append(request("tokens", tokens=table))
    serial = [small.predict(message) for message in requests]
    name = 'kerasner_batch_rows_count{model="small",signature="tokens"}'
    calls = metric(small, name)
    with ThreadPoolExecutor(32) as threads:
        together = list(threads.map(small.predict, requests))
    assert metric(small, name) - calls < 40
    for one, other in zip(serial, together, strict=True):
        assert one.model_spec == other.model_spec
        expected = arrays(one)
        received = arrays(other)
        assert received.keys() == expected.keys()
        for key, values in expected.items():
            assert (received[key].dtype, received[key].shape) == (values.dtype, values.shape)
            if values.dtype == np.float32:
                np.testing.assert_allclose(received[key], values, atol=1e-5)
            else:
                np.testing.assert_array_equal(received[key], values)


def test_health_and_reflection(small):
    assert set(health(small.channel).values()) == {"SERVING"}
    stub = reflection_pb2_grpc.ServerReflectionStub(small.channel)
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(
            file_containing_symbol="tensorflow.serving.PredictionService"
        ),
        reflection_pb2.ServerReflectionRequest(
            file_containing_symbol="tensorflow.serving.ModelService"
        ),
    ]
    listed, *files = stub.ServerReflectionInfo(iter(requests))
    assert {service.name for service in listed.list_services_response.service} == {
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "tensorflow.serving.ModelService",
        "tensorflow.serving.PredictionService",
    }
    assert all(file.file_descriptor_response.file_descriptor_proto for file in files)


def test_methods_that_take_no_text(small):
    stub = small.predictions
    for method, message in (
        (stub.Classify, classification_pb2.ClassificationRequest()),
        (stub.Regress, regression_pb2.RegressionRequest()),
        (stub.MultiInference, inference_pb2.MultiInferenceRequest()),
    ):
        assert code_of(method, message)[0] == CODES.UNIMPLEMENTED


def test_limits(small):
    text = b"a" * 2**20
    assert code_of(small.predictions.Predict, request(text=strings([text])))[0] == CODES.OK
    for texts, code, words in (
        ([text] * 5, CODES.RESOURCE_EXHAUSTED, "larger than max"),  # 4 MB a message
        ([b""] * 4097, CODES.INVALID_ARGUMENT, "at most 4096 rows"),
        ([text, *[b""] * 16], CODES.INVALID_ARGUMENT, "send long rows on their own"),
    ):
        received = code_of(small.predictions.Predict, request(text=strings(texts)))
        assert received[0] == code
        assert words in received[1]
    row = request("tokens", tokens=np.full([1, 20_001], b"a", object))
    received = code_of(small.predictions.Predict, row)
    assert received[0] == CODES.INVALID_ARGUMENT
    assert "at most 20000 tokens a row, received 20001" in received[1]
    assert small.predict(request(text=strings([b"Hilda"]))).outputs["lengths"].int_val == [1]


def test_no_message_of_this_service(small):
    call = small.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    assert code_of(call, b"\xff\xff\xff")[0] == CODES.INTERNAL
    assert code_of(small.predictions.Predict, predict_pb2.PredictRequest()) == (
        CODES.INVALID_ARGUMENT,
        "Missing ModelSpec",
    )


def test_clients_that_go(small):
    with grpc.insecure_channel(f"localhost:{small.server.port}") as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        message = request(text=strings([b"Abel " * 20_000])).SerializeToString()
        calls = [call.future(message) for _ in range(4)]
        calls[0].cancel()
    with socket.create_connection(("localhost", small.server.port)) as peer:
        peer.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff")
    assert small.predict(request(text=strings([b"Hilda"]))).outputs["lengths"].int_val == [1]


def test_metrics(small):
    labels = 'code="OK",model="small",protocol="grpc",signature="entities"'
    before = metric(small, f"kerasner_requests_total{{{labels}}}")
    small.predict(request("entities", text=strings([b"Hilda"])))
    code_of(small.predictions.Predict, request("secret", "unheard-of", text=strings([b"a"])))
    code_of(small.predictions.Predict, request("secret", text=strings([b"a"])))
    assert metric(small, f"kerasner_requests_total{{{labels}}}") == before + 1
    for labels in (
        'code="NOT_FOUND",model="",protocol="grpc",signature=""',
        'code="FAILED_PRECONDITION",model="small",protocol="grpc",signature=""',
    ):
        assert metric(small, f"kerasner_requests_total{{{labels}}}") >= 1
    assert metric(small, 'kerasner_model_version_available{model="small",version="1"}') == 1
    assert metric(small, "kerasner_queue_requests") == 0


def test_reload_over_grpc(small, base):
    message = model_management_pb2.ReloadConfigRequest()
    assert code_of(small.models.HandleReloadConfigRequest, message)[0] == CODES.INVALID_ARGUMENT
    config = message.config.model_config_list.config.add()
    config.name, config.model_platform = "small", "tensorflow"
    config.base_path = "/etc"
    assert code_of(small.models.HandleReloadConfigRequest, message)[0] == CODES.PERMISSION_DENIED
    config.base_path = str(base)
    config.version_labels["stable"] = 1
    assert small.models.HandleReloadConfigRequest(message, timeout=60).status.error_code == 0
    labelled = request(text=strings([b"Hilda"]))
    labelled.model_spec.version_label = "stable"
    assert small.predict(labelled).model_spec.version.value == 1


def test_versions_change_under_load(small, base):
    """No request fails while a version takes over and the old one goes."""
    shutil.copytree(base / "1", base / "part")
    ends = time.monotonic() + 60

    def client(_):
        seen = set()
        while 2 not in seen and time.monotonic() < ends:
            seen.add(small.predict(request(text=strings(TEXTS[:1]))).model_spec.version.value)
        return seen

    with ThreadPoolExecutor(4) as threads:
        clients = threads.map(client, range(4))
        (base / "part").rename(base / "2")
        assert all(2 in seen for seen in clients)
    message = get_model_status_pb2.GetModelStatusRequest()
    message.model_spec.name = "small"
    while time.monotonic() < ends:
        status = small.models.GetModelStatus(message).model_version_status
        states = {one.version: one.state for one in status}
        if states[1] == get_model_status_pb2.ModelVersionStatus.END:
            break
        time.sleep(0.05)
    assert states == {1: 50, 2: 30}  # END, AVAILABLE


def test_a_configuration_that_changes(base, tmp_path, caplog):
    path = tmp_path / "models.config"
    model = 'name: "{}" base_path: "{}" model_platform: "tensorflow"'

    def config(model):
        return f"model_config_list {{ config {{ {model} }} }}"

    def wait(condition):
        ends = time.monotonic() + 30
        while not condition() and time.monotonic() < ends:
            time.sleep(0.02)
        assert condition()

    path.write_text(config(model.format("small", base)))
    server = ModelServer(model_config_file=path, poll_seconds=0.05)
    with caplog.at_level("INFO", "kerasner"):
        path.write_text("garbage {")
        wait(lambda: "is not in effect" in caplog.text)
        assert server.server.models.names == ["small"]
        elsewhere = tmp_path / "elsewhere"
        shutil.copytree(base / "1", elsewhere / "7")
        path.write_text(config(model.format("other", elsewhere)))
        wait(lambda: "was read again" in caplog.text)
    assert server.server.models.available == {"other": [7]}
    server.stop()


def test_draining(base):
    """What is under way is answered, what comes then is refused."""
    server = ModelServer(models={"small": base})
    signature = server.server.models.find("small").signatures["serving_default"]
    run = signature.run

    def slowly(*arguments):
        time.sleep(1)
        return run(*arguments)

    signature.run = slowly
    with ThreadPoolExecutor(2) as threads:
        under_way = threads.submit(server.predict, request(text=strings(TEXTS[:1])))
        while not server.server._predictor.active:
            time.sleep(0.01)
        stopping = threads.submit(server.stop, 10.0)
        while not server.server._predictor.draining:
            time.sleep(0.01)
        assert set(health(server.channel).values()) == {"NOT_SERVING"}
        late = code_of(server.predictions.Predict, request(text=strings(TEXTS[:1])))
        assert late == (CODES.UNAVAILABLE, "the server is shutting down")
        assert under_way.result().outputs["lengths"].int_val == [6]
        stopping.result()


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
def test_tls(base, tmp_path):
    """Both ports speak it, to clients with a certificate of the authority only."""
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, *files]
    subprocess.run(command, check=True, capture_output=True)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    server = ModelServer(
        models={"small": base}, rest_port=0, tls_cert=cert, tls_key=key, tls_client_ca=cert
    )
    message = request(text=strings([b"Hilda"]))
    own = (key.read_bytes(), cert.read_bytes())
    for pair, expected in (((None, None), CODES.UNAVAILABLE), (own, CODES.OK)):
        credentials = grpc.ssl_channel_credentials(cert.read_bytes(), *pair)
        with grpc.secure_channel(f"localhost:{server.server.port}", credentials) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            assert code_of(stub.Predict, message)[0] == expected
    url = f"https://localhost:{server.server.rest_port}/v1/models/small"
    context = ssl.create_default_context(cafile=cert)
    with pytest.raises(OSError):
        urllib.request.urlopen(url, context=context).read()
    context.load_cert_chain(cert, key)
    with urllib.request.urlopen(url, context=context) as answer:
        assert b"AVAILABLE" in answer.read()
    server.stop()


def test_what_cannot_be_started(base, tmp_path):
    (tmp_path / "broken" / "1").mkdir(parents=True)
    for models, expected in (
        ({"broken": tmp_path / "broken"}, "cannot serve broken: version 1: "),
        ({"empty": tmp_path}, "cannot serve empty: .* holds no folder of a version"),
    ):
        with pytest.raises(ConfigError, match=expected):
            ModelServer(models=models)
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on port {port}"):
            ModelServer(models={"small": base}, rest_port=port)
    for settings in ({"tls_cert": tmp_path / "a"}, {"tls_cert": tmp_path, "tls_key": tmp_path}):
        with pytest.raises(ConfigError, match="TLS"):
            Server(Settings(**settings))


def test_a_trained_model_is_exported_once(trained_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("KERASNER_HOME", str(tmp_path / "home"))
    own = tmp_path / "own"
    shutil.copytree(trained_folder, own)
    base = base_folder(own)
    assert base.name == "own"
    assert base.is_relative_to(tmp_path / "home" / "cache")
    written = (base / "1" / "saved_model.pb").stat()
    assert base_folder(own) == base
    assert (base / "1" / "saved_model.pb").stat() == written
    assert len(list((tmp_path / "home" / "cache" / "serving").iterdir())) == 1
    copy = tmp_path / "copy"
    shutil.copytree(own, copy)
    assert base_folder(copy).name == "copy"
    with (own / "config.json").open("a") as file:
        file.write("\n")
    assert base_folder(own) != base
    assert base_folder(tmp_path) == tmp_path  # no trained model: served as it is


def test_the_process(trained_folder, tmp_path):
    """From the command line to the end by SIGTERM."""
    command = [sys.executable, "-m", "kerasner", "serve", f"ner={trained_folder}"]
    environment = {**os.environ, "KERASNER_HOME": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    with subprocess.Popen(
        [*command, "--port", "0", "--rest-port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            ready = process.stdout.readline()
            ports = re.fullmatch(
                r"ready: gRPC on localhost:(\d+), REST on http://localhost:(\d+): ner version 1\n",
                ready,
            )
            assert ports, process.stderr.read()
            with grpc.insecure_channel(f"localhost:{ports[1]}") as channel:
                call = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
                message = request("entities", "ner", text=strings([b"Abel Falk left Avalund ."]))
                assert call(message, timeout=60).outputs["counts"].int_val == [2]
            with urllib.request.urlopen(f"http://localhost:{ports[2]}/v1/models/ner") as answer:
                assert b"AVAILABLE" in answer.read()
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
