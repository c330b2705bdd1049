"""Answering requests: the one way into the models for gRPC and REST alike."""

from collections.abc import Mapping, Sequence

import grpc
import numpy as np

from kerasner.serving.server.batching import Batcher, Size
from kerasner.serving.server.servable import DEFAULT_SIGNATURE, Servable, Signature
from kerasner.serving.server.status import ServingError, invalid


class Predictor:
    """Checks requests and has them computed.

    Args:
        batcher: computes.
        max_rows: that a request may hold.
        max_cells: rows times the longest of them, in bytes of a text or tokens of a row: as much as
            the answer may have to be padded to.
        max_row_tokens: in a row of tokens. It is tagged as one sentence, in memory that grows with
            it; texts are cut into sentences.

    Attributes:
        draining: no request is taken any more.
        active: number of requests under way.
    """

    def __init__(
        self,
        batcher: Batcher,
        max_rows: int = 4096,
        max_cells: int = 2**22,
        max_row_tokens: int = 20_000,
    ):
        self._batcher = batcher
        self._max_rows = max_rows
        self._max_cells = max_cells
        self._max_row_tokens = max_row_tokens
        self.draining = False
        self.active = 0

    async def predict(
        self,
        servable: Servable,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str] = (),
        deadline: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Computes the answer of a request.

        Args:
            servable: of `Models.find`.
            signature: name; "" is "serving_default".
            inputs: arrays by name, strings as `bytes` in arrays of objects.
            output_filter: names of the outputs that are wanted; all if there are none.
            deadline: on the clock of the event loop. A request that still waits then is dropped.

        Returns:
            The outputs by name.

        Raises:
            ServingError: INVALID_ARGUMENT, FAILED_PRECONDITION (no such signature),
                RESOURCE_EXHAUSTED (too many wait), DEADLINE_EXCEEDED, UNAVAILABLE (draining), or
                what TensorFlow reports.
        """
        if self.draining:
            raise ServingError(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        signature = signature or DEFAULT_SIGNATURE
        function = servable.signatures.get(signature)
        if function is None:
            raise ServingError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{signature}" not found.',
            )
        _check_inputs(function, inputs)
        _check_filter(function, output_filter)
        size = Size.of(function, inputs)
        if size.rows > self._max_rows:
            raise invalid(f"expected at most {self._max_rows} rows a request, received {size.rows}")
        if function.is_rows and size.longest > self._max_row_tokens:
            raise invalid(
                f"expected at most {self._max_row_tokens} tokens a row, received {size.longest}; "
                "a row is one sentence"
            )
        if size.rows * size.longest > self._max_cells:
            raise invalid(
                f"the answer to {size.rows} rows, the longest of {size.longest} bytes or tokens, "
                f"may take more than {self._max_cells} cells; send long rows on their own"
            )
        servable.active += 1
        self.active += 1
        try:
            return await self._batcher.run(
                servable.name, signature, function, inputs, output_filter, size, deadline
            )
        finally:
            servable.active -= 1
            self.active -= 1


def _check_inputs(function: Signature, inputs: Mapping[str, np.ndarray]) -> None:
    if inputs.keys() != function.inputs.keys():
        received, expected = set(inputs), set(function.inputs)
        raise invalid(
            f"input size does not match signature: {len(received)}!={len(expected)} "
            f"len({_set(received)}) != len({_set(expected)}). "
            f"Sent extra: {_set(received - expected)}. "
            f"Missing but required: {_set(expected - received)}."
        )
    for index, (name, array) in enumerate(inputs.items()):
        dtype, rank = function.dtypes[name], function.ranks[name]
        if array.dtype != dtype:
            raise invalid(
                f"Expects arg[{index}] to be {_dtype(dtype)} but {_dtype(array.dtype)} is provided "
                f"(input {name})"
            )
        if rank is not None and array.ndim != rank:
            dims = [dim.size for dim in function.inputs[name].tensor_shape.dim]
            raise invalid(f"input {name}: expected shape {dims}, received {list(array.shape)}")


def _check_filter(function: Signature, output_filter: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in output_filter:
        if name not in function.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the "
                f"set {_set(function.outputs)}."
            )
        if name in seen:
            raise invalid(f"duplicate output tensor alias: {name}")
        seen.add(name)


def _set(names) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _dtype(dtype: np.dtype) -> str:
    return {"object": "string", "float32": "float", "float64": "double"}.get(dtype.name, dtype.name)
