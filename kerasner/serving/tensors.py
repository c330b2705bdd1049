"""Between TensorFlow Serving's messages and numpy, without a TensorFlow op."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2

MAX_FILL_BYTES = 1 << 24  # what a message may ask for beyond the values that it holds
STRING_OVERHEAD = 24  # bytes that TensorFlow takes for the emptiest of strings

# dtype in messages -> dtype in numpy, field of the values
_KINDS = {
    types_pb2.DT_STRING: (np.dtype(object), "string_val"),
    types_pb2.DT_FLOAT: (np.dtype(np.float32), "float_val"),
    types_pb2.DT_INT32: (np.dtype(np.int32), "int_val"),
    types_pb2.DT_INT64: (np.dtype(np.int64), "int64_val"),
    types_pb2.DT_BOOL: (np.dtype(np.bool_), "bool_val"),
    types_pb2.DT_DOUBLE: (np.dtype(np.float64), "double_val"),
    types_pb2.DT_HALF: (np.dtype(np.float16), "half_val"),
    types_pb2.DT_INT8: (np.dtype(np.int8), "int_val"),
    types_pb2.DT_INT16: (np.dtype(np.int16), "int_val"),
    types_pb2.DT_UINT8: (np.dtype(np.uint8), "int_val"),
    types_pb2.DT_UINT16: (np.dtype(np.uint16), "int_val"),
    types_pb2.DT_UINT32: (np.dtype(np.uint32), "uint32_val"),
    types_pb2.DT_UINT64: (np.dtype(np.uint64), "uint64_val"),
}
_NUMBERS = {kind: number for number, (kind, _) in _KINDS.items()}


def dtype_name(number: int) -> str:
    """Number of a dtype in messages -> its name, such as "DT_STRING"."""
    if number in types_pb2.DataType.values():
        return types_pb2.DataType.Name(number)
    return f"dtype {number}"


def dtype_number(array: np.ndarray) -> int:
    """Number of an array's dtype in messages; strings are `bytes` in an array of objects.

    Raises:
        ValueError: messages have no such dtype.
    """
    if array.dtype not in _NUMBERS:
        raise ValueError(f"expected numbers or bytes in an array of objects, not {array.dtype}")
    return _NUMBERS[array.dtype]


def to_array(proto: tensor_pb2.TensorProto) -> np.ndarray:
    """Reads a tensor of a message by TensorFlow's rules, but never believes its shape blindly.

    Values that are missing repeat the last one that is there, or are 0 or "" if none is; a message
    may leave out values of at most `MAX_FILL_BYTES`.

    Args:
        proto: of any sender.

    Returns:
        The array; strings as `bytes` in an array of objects.

    Raises:
        ValueError: the message is no tensor.
    """
    if proto.dtype not in _KINDS:
        raise ValueError(f"expected strings or numbers, received {dtype_name(proto.dtype)}")
    dtype, field = _KINDS[proto.dtype]
    is_string = proto.dtype == types_pb2.DT_STRING
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise ValueError(f"expected a tensor of known shape, received {_shape_text(proto)}")
    size = math.prod(shape)
    if proto.tensor_content:
        if is_string:
            raise ValueError("expected strings in string_val, received tensor_content")
        if len(proto.tensor_content) != size * dtype.itemsize:
            raise ValueError(
                f"expected {size * dtype.itemsize} bytes for shape {shape}, "
                f"received {len(proto.tensor_content)}"
            )
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
    values = list(getattr(proto, field)[:size])
    if len(values) < size:
        last = values[-1] if values else b"" if is_string else 0
        each = STRING_OVERHEAD + len(last) if is_string else dtype.itemsize
        if (size - len(values)) * each > MAX_FILL_BYTES:
            raise ValueError(f"expected {size} values for shape {shape}, received {len(values)}")
        values += [last] * (size - len(values))
    if is_string:
        array = np.empty(size, object)
        array[:] = values
    elif dtype == np.float16:
        array = _numbers(values, np.dtype(np.uint16)).view(dtype)
    else:
        array = _numbers(values, dtype)
    return array.reshape(shape)


def to_proto(array: np.ndarray) -> tensor_pb2.TensorProto:
    """Writes an array as TensorFlow Serving answers, each dtype into the field of its own.

    Args:
        array: numbers, or `bytes` in an array of objects.

    Raises:
        ValueError: messages have no such dtype.
    """
    proto = tensor_pb2.TensorProto()
    fill(proto, array)
    return proto


def fill(proto: tensor_pb2.TensorProto, array: np.ndarray) -> None:
    """`to_proto` into an empty message, such as an entry of another one."""
    proto.dtype = number = dtype_number(array)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if array.ndim == 0:
        proto.tensor_shape.SetInParent()
    if array.dtype == np.float16:
        array = array.view(np.uint16)
    getattr(proto, _KINDS[number][1]).extend(array.ravel().tolist())


def padded(rows: Sequence[Sequence[bytes]]) -> tensor_pb2.TensorProto:
    """Lists of strings -> a tensor [B, T] of them, padded with ""."""
    width = max(map(len, rows), default=0)
    values = [value for row in rows for value in (*row, *[b""] * (width - len(row)))]
    shape = _shape([len(rows), width])
    return tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, tensor_shape=shape, string_val=values)


def strings(values: Sequence[bytes]) -> tensor_pb2.TensorProto:
    """Strings -> a tensor [B] of them."""
    shape = _shape([len(values)])
    return tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, tensor_shape=shape, string_val=values)


def _shape(sizes: Iterable[int]) -> tensor_shape_pb2.TensorShapeProto:
    dims = [tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in sizes]
    return tensor_shape_pb2.TensorShapeProto(dim=dims)


def _numbers(values: list, dtype: np.dtype) -> np.ndarray:
    try:
        return np.array(values, dtype)
    except OverflowError:  # int_val holds 32 bits for the smaller integers too
        raise ValueError(f"expected {dtype}, received a value out of its range") from None


def _shape_text(proto: tensor_pb2.TensorProto) -> str:
    if proto.tensor_shape.unknown_rank:
        return "unknown rank"
    return str([dim.size for dim in proto.tensor_shape.dim])
