"""What every server of the model answers, asked with nothing but the public stubs and HTTP.

The status codes are TensorFlow Serving's.
"""

import http.client
import json
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from contract import ENTITY_DTYPES, TEXT_DTYPES, TOKEN_DTYPES, assert_table
from google.protobuf import text_format
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from kerasner.serving import Client

MODEL = "small"
CODES = grpc.StatusCode
TEXTS = ["Abel Falk left Avalund . Hilda left Axonix .", "", "Nobody knows why .", " \n"]
TOKENS = [["Abel", "Falk", "left", "Axonix"], ["", "", "", ""], ["Lund", "", "", ""]]


@pytest.fixture
def channel(server):
    with grpc.insecure_channel(
        server.address, [("grpc.max_receive_message_length", -1)]
    ) as channel:
        yield channel


@pytest.fixture
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture
def models(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


def spec(name=MODEL, version=None, **fields):
    found = model_pb2.ModelSpec(name=name, **fields)
    if version is not None:
        found.version.value = version
    return found


def request(signature, inputs, output_filter=(), **fields):
    return predict_pb2.PredictRequest(
        model_spec=spec(signature_name=signature, **fields),
        inputs={name: tf.make_tensor_proto(*value) for name, value in inputs.items()},
        output_filter=output_filter,
    )


def text(values, signature="serving_default", **fields):
    return request(signature, {"text": (values, tf.string, [len(values)])}, **fields)


def arrays(response):
    return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}


def code_of(method, message, timeout=30):
    with pytest.raises(grpc.RpcError) as error:
        method(message, timeout=timeout)
    assert error.value.details()
    return error.value.code()


def in_process(tagger, signature, values):
    """What the graph gives in this process."""
    if signature == "tokens":
        value = tf.constant(values)
    else:
        value = tf.constant([text.encode() for text in values], tf.string, [len(values)])
    answer = tagger.graph.signatures[signature](value)
    return {name: value.numpy() for name, value in answer.items()}


def assert_equal(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        if value.dtype == np.float32:
            np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5)
        else:
            np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("values", [TEXTS, TEXTS[1:2], []])
@pytest.mark.parametrize(
    ("signature", "dtypes", "counts"),
    [("serving_default", TEXT_DTYPES, "lengths"), ("entities", ENTITY_DTYPES, "counts")],
)
def test_raw_text(stub, tagger, signature, dtypes, counts, values):
    response = stub.Predict(text(values, signature))
    assert_table(arrays(response), dtypes, len(values), counts)
    assert_equal(arrays(response), in_process(tagger, signature, values))
    assert response.model_spec.name == MODEL
    assert response.model_spec.version.value == 2
    assert response.model_spec.signature_name == signature


def test_tokens(stub, tagger):
    response = stub.Predict(request("tokens", {"tokens": (TOKENS, tf.string)}))
    # Rows keep the width that they were sent with.
    assert_table(arrays(response), TOKEN_DTYPES, 3, "lengths", width=4)
    assert_equal(arrays(response), in_process(tagger, "tokens", TOKENS))
    empty = stub.Predict(request("tokens", {"tokens": ([], tf.string, [2, 0])}))
    assert_table(arrays(empty), TOKEN_DTYPES, 2, "lengths", width=0)


def test_the_signature_without_a_name(stub):
    response = stub.Predict(text(TEXTS, ""))
    assert response.model_spec.signature_name == "serving_default"
    assert_equal(arrays(response), arrays(stub.Predict(text(TEXTS))))


def test_numbers_come_in_the_field_of_their_type(stub):
    outputs = stub.Predict(text(["Hilda left ."])).outputs
    assert len(outputs["scores"].float_val) == len(outputs["starts"].int_val) == 3
    assert not outputs["scores"].tensor_content


def test_an_answer_is_as_wide_as_its_own_texts(stub, tagger):
    batches = [["Hilda " * length] for length in range(1, 12)] * 4
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda batch: arrays(stub.Predict(text(batch))), batches))
    for batch, answer in zip(batches, answers, strict=True):
        assert_equal(answer, in_process(tagger, "serving_default", batch))


@pytest.mark.parametrize(
    "value", [b"", b"\xff\xfeHilda\x80", b"\x00", "e\u0301 \U0001f600 Hilda".encode()]
)
def test_odd_bytes(stub, tagger, value):
    answer = arrays(stub.Predict(text([value, b"Hilda left ."])))
    decoded = value.decode("utf-8", "replace")
    length = answer["lengths"][0]
    spans = zip(answer["starts"][0, :length], answer["ends"][0, :length], strict=True)
    tokens = [token.decode() for token in answer["tokens"][0, :length]]
    assert tokens == [decoded[start:end] for start, end in spans]
    assert answer["tokens"][1, :3].tolist() == [b"Hilda", b"left", b"."]


def test_a_text_of_a_megabyte(stub):
    answer = arrays(stub.Predict(text([b"Hilda left . " * 80_000], "entities"), timeout=300))
    assert answer["texts"].shape == (1, answer["counts"][0])


def test_a_filter_of_outputs(stub):
    response = stub.Predict(text(TEXTS, output_filter=["tags", "lengths"]))
    assert set(response.outputs) == {"tags", "lengths"}
    assert code_of(stub.Predict, text(TEXTS, output_filter=["x"])) is CODES.INVALID_ARGUMENT
    twice = text(TEXTS, output_filter=["tags", "tags"])
    assert code_of(stub.Predict, twice) is CODES.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({"version": 1}, 1), ({"version_label": "stable"}, 1), ({"version_label": "canary"}, 2)],
)
def test_versions_and_labels(stub, fields, expected):
    assert stub.Predict(text(TEXTS, **fields)).model_spec.version.value == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"name": "large"}, CODES.NOT_FOUND),
        ({"version": 3}, CODES.NOT_FOUND),
        ({"version": 0}, CODES.NOT_FOUND),
        ({"version_label": "gone"}, CODES.INVALID_ARGUMENT),
        ({"signature": "x"}, CODES.FAILED_PRECONDITION),
    ],
)
def test_what_is_not_there(stub, fields, expected):
    assert code_of(stub.Predict, text(TEXTS, **fields)) is expected


def test_no_model_at_all(stub):
    assert code_of(stub.Predict, predict_pb2.PredictRequest()) is CODES.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"x": (["a"], tf.string)},
        {"text": (["a"], tf.string), "x": (["a"], tf.string)},
        {"text": ([1], tf.int32)},
        {"text": ([0.5], tf.float32)},
    ],
)
def test_wrong_inputs(stub, inputs):
    wrong = request("serving_default", inputs)
    assert code_of(stub.Predict, wrong) is CODES.INVALID_ARGUMENT
    assert len(stub.Predict(text(TEXTS)).outputs) == 6


def test_what_is_no_tensor(stub):
    wrong = text(["a"])
    wrong.inputs["text"].tensor_shape.dim[0].size = -1
    assert code_of(stub.Predict, wrong) is CODES.INVALID_ARGUMENT
    wrong.inputs["text"].tensor_shape.dim[0].size = 1
    wrong.inputs["text"].dtype = types_pb2.DT_INVALID
    assert code_of(stub.Predict, wrong) is CODES.INVALID_ARGUMENT


def test_a_deadline(stub):
    long = text([b"Hilda left . " * 80_000])
    assert code_of(stub.Predict, long, timeout=0.05) is CODES.DEADLINE_EXCEEDED
    assert len(stub.Predict(text(TEXTS)).outputs) == 6


def metadata_request(*fields, **model):
    return get_model_metadata_pb2.GetModelMetadataRequest(
        model_spec=spec(**model), metadata_field=fields
    )


def test_metadata(stub):
    response = stub.GetModelMetadata(metadata_request("signature_def"))
    assert response.model_spec.name == MODEL
    assert response.model_spec.version.value == 2
    found = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(found)
    signatures = {name: s for name, s in found.signature_def.items() if not name.startswith("__")}
    expected = {
        "serving_default": ("text", 1, TEXT_DTYPES),
        "entities": ("text", 1, ENTITY_DTYPES),
        "tokens": ("tokens", 2, TOKEN_DTYPES),
    }
    assert set(signatures) == set(expected)
    for name, (input_name, rank, dtypes) in expected.items():
        (info,) = [signatures[name].inputs[input_name]]
        assert list(signatures[name].inputs) == [input_name]
        assert info.dtype == types_pb2.DT_STRING
        assert [dim.size for dim in info.tensor_shape.dim] == [-1] * rank
        outputs = signatures[name].outputs
        found = {key: tf.dtypes.as_dtype(outputs[key].dtype).as_numpy_dtype for key in outputs}
        assert found == dtypes
        assert signatures[name].method_name == "tensorflow/serving/predict"
    labelled = stub.GetModelMetadata(metadata_request("signature_def", version_label="stable"))
    assert labelled.model_spec.version.value == 1


@pytest.mark.parametrize(
    ("fields", "model", "expected"),
    [
        ([], {}, CODES.INVALID_ARGUMENT),
        (["x"], {}, CODES.INVALID_ARGUMENT),
        (["signature_def"], {"name": "large"}, CODES.NOT_FOUND),
        (["signature_def"], {"version": 3}, CODES.NOT_FOUND),
        (["signature_def"], {"version_label": "gone"}, CODES.INVALID_ARGUMENT),
    ],
)
def test_metadata_that_is_not_there(stub, fields, model, expected):
    assert code_of(stub.GetModelMetadata, metadata_request(*fields, **model)) is expected


def status_request(**model):
    return get_model_status_pb2.GetModelStatusRequest(model_spec=spec(**model))


def test_status(models):
    statuses = models.GetModelStatus(status_request()).model_version_status
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    found = sorted((s.version, s.state, s.status.error_code) for s in statuses)
    assert found == [(1, available, 0), (2, available, 0)]
    (only,) = models.GetModelStatus(status_request(version=1)).model_version_status
    assert only.version == 1


def test_status_of_what_is_not_there(models):
    assert code_of(models.GetModelStatus, status_request(name="large")) is CODES.NOT_FOUND
    assert code_of(models.GetModelStatus, status_request(version=3)) is CODES.NOT_FOUND
    empty = get_model_status_pb2.GetModelStatusRequest()
    assert code_of(models.GetModelStatus, empty) is CODES.INVALID_ARGUMENT


def test_labels_move(models, stub, server):
    config = model_server_config_pb2.ModelServerConfig()
    written = server.folder.with_name("models.config").read_text()
    text_format.Parse(written, config)
    (model,) = config.model_config_list.config
    model.version_labels["canary"] = 1
    moved = model_management_pb2.ReloadConfigRequest(config=config)
    assert models.HandleReloadConfigRequest(moved).status.error_code == 0
    try:
        assert stub.Predict(text(TEXTS, version_label="canary")).model_spec.version.value == 1
    finally:
        model.version_labels["canary"] = 2
        back = model_management_pb2.ReloadConfigRequest(config=config)
        models.HandleReloadConfigRequest(back)
    assert stub.Predict(text(TEXTS, version_label="canary")).model_spec.version.value == 2
    nothing = model_management_pb2.ReloadConfigRequest()
    assert code_of(models.HandleReloadConfigRequest, nothing) is CODES.INVALID_ARGUMENT


def test_the_clients(server, tagger):
    expected = tagger(TEXTS)
    with Client(server.address, MODEL) as ner:
        assert ner.ready()
        assert ner(TEXTS) == expected
        assert ner([["Abel", "Falk"], []]) == tagger([["Abel", "Falk"], []])
        found = ner.entities(TEXTS * 100)
    assert [[e[:4] for e in row] for row in found] == [
        [e[:4] for e in row] for row in tagger.entities(TEXTS * 100)
    ]
    for options, ready in (
        ({"version": 1}, True),
        ({"version_label": "canary"}, True),
        ({"version": 3}, False),
        ({"version_label": "gone"}, False),
    ):
        with Client(server.address, MODEL, **options) as ner:
            assert ner.ready() == ready


class Rest:
    def __init__(self, address):
        self._address = address

    def __call__(self, path, body=None):
        connection = http.client.HTTPConnection(self._address, timeout=60)
        try:
            if body is None:
                connection.request("GET", path)
            else:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                connection.request("POST", path, data)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


@pytest.fixture
def rest(server):
    return Rest(server.rest_address)


def written(answer):
    return {
        name: [[v.decode() if isinstance(v, bytes) else v for v in row] for row in value.tolist()]
        if value.ndim == 2
        else value.tolist()
        for name, value in answer.items()
    }


@pytest.mark.parametrize("place", ["", "/versions/2", "/labels/stable"])
def test_rest_rows_and_columns(rest, stub, place):
    expected = written(arrays(stub.Predict(text(TEXTS))))
    path = f"/v1/models/{MODEL}{place}:predict"
    status, answer = rest(path, {"instances": TEXTS})
    assert status == 200
    assert len(answer["predictions"]) == len(TEXTS)
    for index, row in enumerate(answer["predictions"]):
        for name, values in expected.items():
            assert row[name] == pytest.approx(values[index], abs=1e-5)
    status, answer = rest(path, {"inputs": {"text": TEXTS}, "signature_name": "entities"})
    assert status == 200
    expected = written(arrays(stub.Predict(text(TEXTS, "entities"))))
    assert answer["outputs"]["texts"] == expected["texts"]
    assert answer["outputs"]["counts"] == expected["counts"]


def test_rest_status_and_metadata(rest):
    status, answer = rest(f"/v1/models/{MODEL}")
    assert status == 200
    found = {entry["version"]: entry["state"] for entry in answer["model_version_status"]}
    assert found == {"1": "AVAILABLE", "2": "AVAILABLE"}
    status, answer = rest(f"/v1/models/{MODEL}/metadata")
    assert status == 200
    assert answer["model_spec"]["name"] == MODEL
    assert "entities" in answer["metadata"]["signature_def"]["signature_def"]


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/models/large", None, 404),
        ("/v1/models/large:predict", {"instances": ["a"]}, 404),
        (f"/v1/models/{MODEL}/versions/3:predict", {"instances": ["a"]}, 404),
        (f"/v1/models/{MODEL}/labels/gone:predict", {"instances": ["a"]}, 400),
        (f"/v1/models/{MODEL}:predict", b"{", 400),
        (f"/v1/models/{MODEL}:predict", {}, 400),
        (f"/v1/models/{MODEL}:predict", {"instances": [1]}, 400),
        (f"/v1/models/{MODEL}:predict", {"instances": ["a"], "signature_name": "x"}, 400),
    ],
)
def test_rest_errors(rest, path, body, expected):
    status, answer = rest(path, body)
    assert status == expected
    assert answer["error"]
