"""What TensorFlow Serving's JSON means, without a server."""

import base64
import json

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from kerasner.serving.server import rest_json
from kerasner.serving.server.status import ServingError

ANY = settings(max_examples=100, deadline=None, derandomize=True)
STRING = meta_graph_pb2.TensorInfo(dtype=types_pb2.DT_STRING)
ONE = {"text": STRING}
TWO = {"tokens": STRING, "pos": STRING}


def read(document, infos=ONE):
    """Inputs of a request as lists, and whether it has rows."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    arrays, rows = rest_json.inputs(rest_json.parse(body), infos)
    for array in arrays.values():
        assert array.dtype == object
    return {name: array.tolist() for name, array in arrays.items()}, rows


def written(outputs, rows=True):
    return json.loads(rest_json.answer(outputs, rows))


def strings(values):
    array = np.empty(np.shape(values), object)
    array[...] = values
    return array


@pytest.mark.parametrize(
    "instances, expected",
    [
        (["a", "ü"], [b"a", "ü".encode()]),
        ([{"text": "a"}], [b"a"]),
        ([{"b64": "YQ=="}, "b"], [b"a", b"b"]),
        ([{"text": {"b64": "/w"}}], [b"\xff"]),  # no padding
        ([{"b64": ""}], [b""]),
        ([["a", "b"], ["c", ""]], [[b"a", b"b"], [b"c", b""]]),
        ([[], []], [[], []]),
    ],
)
def test_rows(instances, expected):
    assert read({"instances": instances}) == ({"text": expected}, True)


@pytest.mark.parametrize(
    "columns, expected",
    [
        (["a", "b"], [b"a", b"b"]),
        ({"text": ["a"]}, [b"a"]),
        ({"text": ["a"], "more": 1}, [b"a"]),
        ([], []),
        ([[], []], [[], []]),
        ("a", b"a"),  # a scalar
        ({"b64": "YQ=="}, b"a"),
        ([[{"b64": "YQ"}]], [[b"a"]]),
    ],
)
def test_columns(columns, expected):
    assert read({"inputs": columns}) == ({"text": expected}, False)


def test_several_inputs():
    rows = [{"tokens": ["a"], "pos": ["N"]}, {"pos": ["V"], "tokens": ["b"]}]
    expected = {"tokens": [[b"a"], [b"b"]], "pos": [[b"N"], [b"V"]]}
    assert read({"instances": rows}, TWO) == (expected, True)
    columns = {"tokens": [["a"], ["b"]], "pos": [["N"], ["V"]]}
    assert read({"inputs": columns}, TWO) == (expected, False)


def test_empty_lists_have_a_shape():
    arrays, _ = rest_json.inputs({"inputs": [[], [], []]}, ONE)
    assert arrays["text"].shape == (3, 0)


@pytest.mark.parametrize(
    "body, expected",
    [
        (b'{"instances": ["\xff\xc3("]}', b"\xff\xc3("),  # kept, as TensorFlow Serving does
        (b'\xef\xbb\xbf{"instances": ["a"]}', b"a"),  # a byte-order mark
        (b'{"instances": ["\\ud83d\\uddfd"]}', "\U0001f5fd".encode()),
        (b'{"instances": ["\\u0000"]}', b"\0"),
    ],
)
def test_bytes_of_strings(body, expected):
    assert read(body) == ({"text": [expected]}, True)


@pytest.mark.parametrize(
    "body, message",
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"{", "JSON Parse error: "),
        (b'{"instances": ["a"]} x', "JSON Parse error: Extra data at offset: 21"),
        (b'{"instances": ["a\nb"]}', "JSON Parse error: Invalid control character"),
        (b"[" * 100_000, "JSON Parse error: The document is nested too deeply"),
        (b'{"instances": ' + b"[" * 100 + b"]" * 100 + b"}", "received 100 levels of lists"),
        (b'{"instances": [1e999]}', "Number too big"),
        (b'{"instances": [' + b"9" * 5000 + b"]}", "Number too big"),
        (b'{"instances": ["\\ud800"]}', "surrogate pair in string is invalid"),
        (b"[]", "JSON Value: [] Is not object"),
        (b"NaN", "JSON Value: NaN Is not object"),
    ],
)
def test_malformed(body, message):
    check_refused(lambda: read(body), message)


@pytest.mark.parametrize(
    "document, message",
    [
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"instances": ["a"], "inputs": ["a"]}, "expecting only one of"),
        ({"instances": "a"}, "'instances' to be a list"),
        ({"instances": {"text": "a"}}, "'instances' to be a list"),
        ({"instances": []}, "No values in 'instances' array"),
        ({"instances": [1]}, "JSON Value: 1 Type: Number is not of expected type: string"),
        ({"instances": [True]}, "Type: Bool"),
        ({"instances": [None]}, "Type: Null"),
        ({"instances": [float("nan")]}, "JSON Value: NaN Type: Number"),
        ({"instances": [10**400]}, "Type: Number"),
        ({"instances": ["a", ["b"]]}, "Encountered list at unexpected level"),
        ({"instances": [["a"], "b"]}, "found at incorrect level: 1"),
        ({"instances": [["a"], ["b", "c"]]}, "unexpected size: 2 at level: 1 expected size: 1"),
        ({"instances": [["a"], []]}, "unexpected size: 0"),
        ({"instances": ["a", {"text": "b"}]}, "Expecting value/list but got object at item 1"),
        ({"instances": [{"text": "b"}, "a"]}, "Expecting object but got value/list at item 1"),
        ({"instances": [{"txt": "b"}]}, "keys must be equal to: text"),
        ({"instances": [{"text": "b", "x": "y"}]}, "keys must be equal to: text"),
        ({"instances": [{}]}, "keys must be equal to: text"),
        ({"instances": [{"b64": "%"}]}, "Unable to base64 decode"),
        ({"instances": [{"b64": "é"}]}, "Unable to base64 decode"),
        ({"instances": [["a", {"b64": 1}]]}, "not formatted correctly for base64 data"),
        ({"inputs": {}}, "Missing named input: text"),
        ({"inputs": {"txt": ["a"]}}, "Missing named input: text"),
        ({"inputs": None}, "Type: Null"),
    ],
)
def test_wrong(document, message):
    check_refused(lambda: read(document), message)


@pytest.mark.parametrize(
    "document, message",
    [
        ({"instances": ["a"]}, "expecting list of objects as multiple input tensors"),
        ({"inputs": [["a"]]}, "expecting an object as multiple input tensors"),
        ({"instances": [{"tokens": ["a"]}]}, "keys must be equal to: pos,tokens"),
        ({"inputs": {"tokens": [["a"]]}}, "Missing named input: pos"),
    ],
)
def test_wrong_for_several_inputs(document, message):
    check_refused(lambda: read(document, TWO), message)


def test_numbers_are_not_offered():
    infos = {"x": meta_graph_pb2.TensorInfo(dtype=types_pb2.DT_FLOAT)}
    check_refused(
        lambda: read({"instances": [1]}, infos), "type: DT_FLOAT", grpc.StatusCode.UNIMPLEMENTED
    )


def test_signature_name():
    assert rest_json.signature_name({}) == ""
    assert rest_json.signature_name({"signature_name": "entities"}) == "entities"
    check_refused(lambda: rest_json.signature_name({"signature_name": 1}), "must be a string")


def test_a_message_does_not_repeat_a_large_value():
    with pytest.raises(ServingError) as caught:
        read({"instances": [{"x" * 1_000_000: ["y"] * 1_000_000}]})
    assert len(caught.value.message) < 500


def test_one_output_is_a_plain_list():
    outputs = {"tags": strings([[b"O", b"B-PER"]])}
    assert written(outputs) == {"predictions": [["O", "B-PER"]]}
    assert written(outputs, rows=False) == {"outputs": [["O", "B-PER"]]}


def test_several_outputs_are_objects():
    outputs = {
        "tags": strings([[b"O"], [b"B-PER"]]),
        "lengths": np.array([1, 1], np.int32),
        "scores": np.array([[0.5], [1]], np.float32),
    }
    assert written(outputs) == {
        "predictions": [
            {"tags": ["O"], "lengths": 1, "scores": [0.5]},
            {"tags": ["B-PER"], "lengths": 1, "scores": [1.0]},
        ]
    }
    assert written(outputs, rows=False) == {
        "outputs": {"tags": [["O"], ["B-PER"]], "lengths": [1, 1], "scores": [[0.5], [1.0]]}
    }


def test_no_rows():
    outputs = {"tags": strings(np.zeros((0, 0))), "lengths": np.zeros(0, np.int32)}
    assert written(outputs) == {"predictions": []}
    assert written(outputs, rows=False) == {"outputs": {"tags": [], "lengths": []}}


def test_rows_need_one_batch_size():
    outputs = {"a": np.zeros(2, np.int32), "b": np.zeros(3, np.int32)}
    check_refused(lambda: written(outputs), "Tensor name: b has inconsistent batch size: 3")
    assert written(outputs, rows=False) == {"outputs": {"a": [0, 0], "b": [0, 0, 0]}}
    check_refused(lambda: written({"a": np.float32(1)[()]}), "a has no shape information")


def test_strings_of_an_answer():
    values = strings([b"\xff\xc3\xbc", b'\0"</script>'])
    assert written({"a": values}) == {"predictions": ["\ufffdü", '\0"</script>']}
    expected = [{"b64": base64.b64encode(value).decode()} for value in values]
    assert written({"a_bytes": values}) == {"predictions": expected}


@ANY
@given(st.lists(st.floats(width=32)))
def test_floats_are_read_back_exactly(values):
    array = np.array(values, np.float32)
    back = np.array(written({"x": array}, rows=False)["outputs"], np.float32)
    np.testing.assert_array_equal(back, array)  # NaN equals NaN here
    numbers = ~np.isnan(array)
    np.testing.assert_array_equal(np.signbit(back[numbers]), np.signbit(array[numbers]))


@ANY
@given(st.lists(st.floats(0, 1, width=32), min_size=1))
def test_floats_take_no_digit_too_many(values):
    texts = rest_json.answer({"x": np.array(values, np.float32)}, rows=False).decode()
    for text, value in zip(texts[len('{"outputs":[') : -2].split(","), values, strict=True):
        assert len(text) <= max(
            len(str(np.float32(value))), len(repr(float(str(np.float32(value)))))
        )


@ANY
@given(st.lists(st.text(), min_size=1))
def test_any_text_passes_both_ways(texts):
    body = json.dumps({"instances": texts}).encode()
    arrays, rows = rest_json.inputs(rest_json.parse(body), ONE)
    assert written({"x": arrays["text"]}, rows) == {"predictions": texts}


@ANY
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["text", "b64"]), inner),
    ),
    st.sampled_from(["inputs", "instances"]),
)
def test_any_value_is_taken_or_refused(value, key):
    try:
        arrays, _ = read({key: value})
    except ServingError as error:
        assert error.code == grpc.StatusCode.INVALID_ARGUMENT
    else:
        assert arrays.keys() == {"text"}


def check_refused(call, message, code=grpc.StatusCode.INVALID_ARGUMENT):
    with pytest.raises(ServingError) as caught:
        call()
    assert caught.value.code == code
    assert message in caught.value.message
