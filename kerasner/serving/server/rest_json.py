"""JSON of TensorFlow Serving's REST API <-> arrays."""

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import grpc
import numpy as np
from tensorflow.core.framework import types_pb2

from kerasner.serving import tensors
from kerasner.serving.server.status import ServingError, invalid

_HIGHEST_RANK = 32  # of NumPy 1's arrays
_SHOWN = 200  # characters of a request's value that an error message repeats
_TYPES = {str: "String", bool: "Bool", int: "Number", float: "Number", dict: "Object"}


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object that a request carries.

    Bytes that are no valid UTF-8 are kept in the strings, as TensorFlow Serving keeps them, and
    reach the model.

    Raises:
        ServingError: INVALID_ARGUMENT, if it is something else.
    """
    text = body.decode("utf-8-sig", "surrogateescape")
    if not text:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = json.loads(text, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error
    except ValueError as error:  # an integer of thousands of digits, a float beyond float64
        raise invalid("JSON Parse error: Number too big to be stored in double") from error
    except RecursionError as error:
        raise invalid("JSON Parse error: The document is nested too deeply") from error
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {_shown(document)} Is not object")
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    """The signature that a request names; `""` is the default one."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {_shown(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return name


def inputs(
    document: Mapping[str, Any], infos: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], bool]:
    """The input arrays of a `:predict` request.

    Args:
        document: the request, with `instances` (a list of rows) or `inputs` (columns).
        infos: a TensorInfo for every input of the signature.

    Returns:
        Arrays of bytes (dtype object) by input, and whether they came as rows.

    Raises:
        ServingError: INVALID_ARGUMENT, or UNIMPLEMENTED for an input that takes no strings.
    """
    for info in infos.values():
        if info.dtype != types_pb2.DT_STRING:
            raise ServingError(
                grpc.StatusCode.UNIMPLEMENTED,
                f"Conversion of JSON Value to type: {tensors.dtype_name(info.dtype)}",
            )
    if "instances" in document and "inputs" in document:
        raise invalid(
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"
        )
    if "instances" in document:
        return _from_rows(document["instances"], sorted(infos)), True
    if "inputs" in document:
        return _from_columns(document["inputs"], sorted(infos)), False
    raise invalid("Missing 'inputs' or 'instances' key")


def answer(outputs: Mapping[str, np.ndarray], rows: bool) -> bytes:
    """The JSON of a `:predict` answer: `predictions` for rows, else `outputs`.

    Strings are read as UTF-8 (wrong bytes as U+FFFD, so the answer is always valid JSON), those
    of an output named `..._bytes` are given in base64. A float32 is written with the fewest
    digits that read back as the same float32.
    """
    if rows:
        _check_batch(outputs)
    columns = {name: _values(name, array) for name, array in outputs.items()}
    if len(columns) == 1:
        (values,) = columns.values()
    elif rows:
        by_row = zip(*columns.values(), strict=True)
        values = [dict(zip(columns, row, strict=True)) for row in by_row]
    else:
        values = columns
    document = {"predictions" if rows else "outputs": values}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def error(message: str) -> bytes:
    """The JSON that tells an error."""
    return json.dumps({"error": message}).encode()


def _from_rows(rows: Any, names: Sequence[str]) -> dict[str, np.ndarray]:
    if not isinstance(rows, list):
        raise invalid("Expecting 'instances' to be a list/array")
    if not rows:
        raise invalid("No values in 'instances' array")
    named = _is_named(rows[0])
    if not named and len(names) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple "
            f"input tensors required: {', '.join(names)}"
        )
    for index, row in enumerate(rows):
        if _is_named(row) != named:
            expected = "object but got value/list" if named else "value/list but got object"
            raise invalid(f"Expecting {expected} at item {index} of input list")
        if named and row.keys() != set(names):
            raise invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object: "
                f"{_shown(row)} keys must be equal to: {','.join(names)}"
            )
    if not named:
        return {names[0]: _array(names[0], rows)}
    return {name: _array(name, [row[name] for row in rows]) for name in names}


def _from_columns(columns: Any, names: Sequence[str]) -> dict[str, np.ndarray]:
    if not _is_named(columns):
        if len(names) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple "
                f"input tensors required: {', '.join(names)}"
            )
        return {names[0]: _array(names[0], columns)}
    for name in names:
        if name not in columns:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: _array(name, columns[name]) for name in names}


def _is_named(value: Any) -> bool:
    """Whether it is an object of tensors by name, not a string in base64."""
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _array(name: str, value: Any) -> np.ndarray:
    """A value, or lists of equal length within lists, as an array of bytes."""
    shape, first = [], value
    while isinstance(first, list):
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    if len(shape) > _HIGHEST_RANK:
        raise invalid(f"Input {name}: received {len(shape)} levels of lists")
    leaves = [value]
    for level, size in enumerate(shape):
        for item in leaves:
            if not isinstance(item, list):
                raise invalid(
                    f"Input {name}: JSON Value: {_shown(item)} found at incorrect level: "
                    f"{level} in the JSON DOM. Expected at level: {len(shape)}"
                )
            if len(item) != size:
                raise invalid(
                    f"Input {name}: Encountered list at unexpected size: {len(item)} "
                    f"at level: {level} expected size: {size}"
                )
        leaves = list(chain.from_iterable(leaves))
    strings = np.empty(len(leaves), object)
    strings[:] = [_string(name, leaf) for leaf in leaves]
    return strings.reshape(shape)


def _string(name: str, value: Any) -> bytes:
    if type(value) is str:
        try:
            return value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise invalid(
                "JSON Parse error: The surrogate pair in string is invalid "
                f"in the value of {name}: {_shown(value)}"
            ) from error
    if _is_base64(value):
        return _decoded(value["b64"])
    if isinstance(value, list):
        raise invalid(f"Input {name}: Encountered list at unexpected level: {_shown(value)}")
    if isinstance(value, dict):
        raise invalid(f"JSON Value: {_shown(value)} not formatted correctly for base64 data")
    raise invalid(
        f"Input {name}: JSON Value: {_shown(value)} Type: {_TYPES.get(type(value), 'Null')} "
        "is not of expected type: string"
    )


def _decoded(text: str) -> bytes:
    """Base64 with or without its padding, white space between allowed."""
    digits = "".join(text.split()).rstrip("=")
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(f"Unable to base64 decode {_shown(text)}") from error


def _check_batch(outputs: Mapping[str, np.ndarray]) -> None:
    size = None
    for name, array in outputs.items():
        if not array.ndim:
            raise invalid(f"Tensor name: {name} has no shape information")
        if size is not None and len(array) != size:
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {size}"
            )
        size = len(array)


def _values(name: str, array: np.ndarray) -> Any:
    """An array as what `json.dumps` takes."""
    if array.dtype == object:
        values = np.empty(array.size, object)
        if name.endswith("_bytes"):
            values[:] = [{"b64": base64.b64encode(item).decode()} for item in array.flat]
        else:
            values[:] = [item.decode("utf-8", "replace") for item in array.flat]
        return values.reshape(array.shape).tolist()
    if array.dtype == np.float32:
        return _shortest(array).tolist()
    return array.tolist()


def _shortest(array: np.ndarray) -> np.ndarray:
    """For every float32 the float64 of the fewest digits that is read as that float32.

    Scores, at most 1, are rounded to 6 to 10 decimals all at once, in a tenth of the time that
    NumPy takes to print them one by one. What is left is printed.
    """
    flat = array.ravel()
    wide = flat.astype(np.float64)
    short = np.round(wide, 6)
    left = np.abs(wide) <= 1
    outside = ~left
    for decimals in range(7, 11):
        left &= short.astype(np.float32) != flat
        if not left.any():
            break
        short[left] = np.round(wide[left], decimals)
    left &= short.astype(np.float32) != flat
    for index in np.flatnonzero(left | outside):
        short[index] = float(str(flat[index]))
    return short.reshape(array.shape)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(text)
    return value


def _shown(value: Any) -> str:
    """The start of a value. Only so much of it is written as the message holds."""
    encoder = json.JSONEncoder(check_circular=False)
    text = ""
    try:
        for piece in encoder.iterencode(value):
            text += piece[:_SHOWN]
            if len(text) > _SHOWN:
                return text[:_SHOWN] + "..."
    except RecursionError:
        return text[:_SHOWN] + "..."
    return text
