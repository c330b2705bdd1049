"""Messages to arrays and back, beside TensorFlow's own functions."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorflow.core.framework import tensor_pb2, types_pb2

from kerasner.serving import tensors

NUMBERS = "float32 int32 int64 bool float64 float16 int8 int16 uint8 uint16 uint32 uint64".split()
SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
NUMERIC = st.sampled_from(NUMBERS).flatmap(lambda dtype: arrays.arrays(dtype, SHAPES))


@st.composite
def strings(draw):
    shape = draw(SHAPES)
    array = np.empty(shape, object)
    array.flat = draw(st.lists(st.binary(max_size=5), min_size=array.size, max_size=array.size))
    return array


def message(dtype="DT_FLOAT", shape=(), **values):
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DataType.Value(dtype), **values)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def assert_same(array, expected):
    assert array.dtype == expected.dtype
    assert array.shape == expected.shape
    np.testing.assert_array_equal(array, expected)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.one_of(NUMERIC, strings()))
def test_it_reads_and_writes_what_tensorflow_does(array):
    written = tensors.to_proto(array)
    assert_same(tf.make_ndarray(written), array)
    assert_same(tensors.to_array(written), array)
    dtype = tf.string if array.dtype == object else array.dtype
    assert_same(tensors.to_array(tf.make_tensor_proto(array, dtype)), array)


def test_an_answer_is_written_into_the_field_of_its_dtype():
    # As TensorFlow Serving does: clients in other languages read float_val, not tensor_content.
    assert tensors.to_proto(np.float32([[1, 2]])).float_val == [1, 2]
    assert tensors.to_proto(np.int32([3])).int_val == [3]
    assert tensors.to_proto(np.array([b"a"], object)).string_val == [b"a"]


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        (message(shape=[2, 2], float_val=[1, 2]), np.float32([[1, 2], [2, 2]])),
        (message(shape=[3]), np.float32([0, 0, 0])),
        (message(shape=[1], float_val=[1, 2]), np.float32([1])),
        (message("DT_STRING", [2]), np.array([b"", b""], object)),
        (message("DT_STRING", [2], string_val=[b"a"]), np.array([b"a", b"a"], object)),
        (message("DT_INT64", [1 << 40, 0]), np.zeros([1 << 40, 0], np.int64)),
    ],
)
def test_values_that_are_left_out(proto, expected):
    assert_same(tensors.to_array(proto), expected)
    dtype = tf.dtypes.as_dtype(proto.dtype)
    assert_same(tf.io.parse_tensor(proto.SerializeToString(), dtype).numpy(), expected)


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        (message("DT_INVALID"), "DT_INVALID"),
        (message("DT_RESOURCE"), "DT_RESOURCE"),
        (tensor_pb2.TensorProto(dtype=999), "dtype 999"),
        (message(shape=[-1], float_val=[1]), r"\[-1\]"),
        (message(shape=[2], tensor_content=b"1234"), "8 bytes.*received 4"),
        (message("DT_STRING", [1], tensor_content=b"a"), "tensor_content"),
        (message(shape=[1 << 40], float_val=[1]), "values for shape"),
        (message(shape=[1 << 62] * 9), "values for shape"),
        (message("DT_STRING", [1000], string_val=[b"a" * (1 << 20)]), "values for shape"),
        (message(shape=[1] * 100, float_val=[1]), "dim"),
    ],
)
def test_what_is_no_tensor(proto, expected):
    with pytest.raises(ValueError, match=expected):
        tensors.to_array(proto)


def test_unknown_rank():
    proto = message(float_val=[1])
    proto.tensor_shape.unknown_rank = True
    with pytest.raises(ValueError, match="unknown rank"):
        tensors.to_array(proto)


def test_an_array_that_messages_do_not_know():
    with pytest.raises(ValueError, match="U3"):
        tensors.to_proto(np.array(["abc"]))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], np.empty([0, 0], object)),
        ([[], []], np.empty([2, 0], object)),
        ([[b"a"], [], [b"b", b"c"]], np.array([[b"a", b""], [b"", b""], [b"b", b"c"]], object)),
    ],
)
def test_rows_are_padded(rows, expected):
    assert_same(tensors.to_array(tensors.padded(rows)), expected)


def test_strings():
    assert_same(tensors.to_array(tensors.strings([b"a", b""])), np.array([b"a", b""], object))
    assert tensors.to_array(tensors.strings([])).shape == (0,)
