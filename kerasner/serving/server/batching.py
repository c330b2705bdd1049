"""Joining requests of many clients to few calls of the model."""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import grpc
import numpy as np
import tensorflow as tf

from kerasner.serving import tensors
from kerasner.serving.server.metrics import Metrics
from kerasner.serving.server.servable import Signature
from kerasner.serving.server.status import ServingError

_BYTES_PER_TOKEN = 4  # of a text; roughly
_LONG = 0.05  # seconds
_PADDING = 16  # a batch may take so many times its budget of tokens when it is padded
_CODES = {code.value[0]: code for code in grpc.StatusCode}

_LOG = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]


class Size(NamedTuple):
    """What a request costs.

    Attributes:
        rows: their number.
        longest: bytes of the longest text, or width of the rows of tokens; 0 of anything else.
        tokens: that are to be tagged; of texts estimated.
        width: of the answer; of texts estimated.
        bytes: of memory while it waits.
    """

    rows: int
    longest: int
    tokens: int
    width: int
    bytes: int

    @classmethod
    def of(cls, function: Signature, inputs: Mapping[str, np.ndarray]) -> "Size":
        """The size of inputs that fit the signature."""
        values = next(iter(inputs.values()), np.empty(0))
        rows = len(values) if values.ndim else 1
        if not function.is_batchable:
            return cls(rows, 0, 0, 0, sum(array.nbytes for array in inputs.values()))
        held = sum(
            tensors.STRING_OVERHEAD * array.size + sum(map(len, array.ravel()))
            for array in inputs.values()
        )
        if values.ndim == 2:
            width = values.shape[1]
            return cls(rows, width, int(np.count_nonzero(values)), width, held)
        longest = max(map(len, values), default=0)
        tokens = (held - tensors.STRING_OVERHEAD * rows) // _BYTES_PER_TOKEN + rows
        return cls(rows, longest, tokens, longest // _BYTES_PER_TOKEN + 1, held)


class _Request(NamedTuple):
    """A request that waits; equal to no other."""

    key: object
    function: Signature
    inputs: Mapping[str, np.ndarray]
    outputs: Sequence[str]
    size: Size
    deadline: float | None
    answer: asyncio.Future
    model: str
    signature: str

    __eq__ = object.__eq__
    __hash__ = object.__hash__


class Batcher:
    """Computes requests in a few threads: at once while all are free, else joined to batches.

    TensorFlow keeps all cores busy with one batch, and one of 64 sentences takes four times as long
    as a single sentence. So a further thread is used only for a full batch, or where the others
    have been at work for long, such as on the text of a book. All methods belong to the event loop.

    Args:
        metrics: told of each batch.
        workers: threads.
        max_batch_size: rows a batch; a larger request is computed on its own.
        max_batch_tokens: tokens a batch, likewise.
        timeout_micros: a free thread waits so long for a batch to fill.
        max_queue_requests, max_queue_bytes: that may wait.
        enabled: False computes each request on its own.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        workers: int = 2,
        max_batch_size: int = 256,
        max_batch_tokens: int = 8192,
        timeout_micros: int = 0,
        max_queue_requests: int = 1024,
        max_queue_bytes: int = 2**26,
        enabled: bool = True,
    ):
        self._metrics = metrics
        self._workers = self._free = workers
        self._max_size = max_batch_size
        self._max_tokens = max_batch_tokens
        self._timeout = timeout_micros / 1e6
        self._max_requests = max_queue_requests
        self._max_bytes = max_queue_bytes
        self._enabled = enabled
        self._threads = ThreadPoolExecutor(workers, "kerasner-predict")
        self._waiting: dict[_Request, None] = {}  # in their order; any can be taken out at once
        self._rows = self._tokens = self._bytes = 0  # of what waits
        self._started = 0.0  # when the last batch was begun
        self._timer: asyncio.Handle | None = None
        metrics.watch_queue(lambda: len(self._waiting))

    async def run(
        self,
        model: str,
        signature: str,
        function: Signature,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str],
        size: Size,
        deadline: float | None,
    ) -> Arrays:
        """Computes a checked request, together with others where that can be done.

        Raises:
            ServingError: RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED, or what TensorFlow reports.
        """
        if (
            len(self._waiting) >= self._max_requests
            or self._bytes + size.bytes > self._max_bytes
            and self._waiting
        ):
            raise ServingError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"too many requests wait: {len(self._waiting)} of {self._bytes} bytes; try again",
            )
        loop = asyncio.get_running_loop()
        can_join = self._enabled and function.is_batchable and _same_shapes(inputs)
        request = _Request(
            function if can_join else object(),
            function,
            inputs,
            output_filter or tuple(function.outputs),
            size,
            deadline,
            loop.create_future(),
            model,
            signature,
        )
        self._add(request)
        if self._timer is None and self._free == self._workers:
            # What else this turn of the loop brings goes into the same batch.
            if self._timeout:
                self._timer = loop.call_later(self._timeout, self._dispatch)
            else:
                self._timer = loop.call_soon(self._dispatch)
        elif self._free and self._is_full():
            self._dispatch()
        elif self._free and self._timer is None:  # behind a batch that may take long
            self._timer = loop.call_at(self._started + _LONG, self._dispatch)
        expiry = None if deadline is None else loop.call_at(deadline, self._expire, request)
        try:
            return await request.answer
        finally:
            self._remove(request)  # where the client has gone while it waited
            if expiry is not None:
                expiry.cancel()

    def close(self) -> None:
        """Ends the threads; what waits is not computed."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _expire(self, request: _Request) -> None:
        if not request.answer.done():
            message = "the deadline passed before the answer was there"
            request.answer.set_exception(ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, message))
        self._remove(request)

    def _add(self, request: _Request) -> None:
        self._waiting[request] = None
        self._rows += request.size.rows
        self._tokens += request.size.tokens
        self._bytes += request.size.bytes

    def _remove(self, request: _Request) -> None:
        if request in self._waiting:
            del self._waiting[request]
            self._rows -= request.size.rows
            self._tokens -= request.size.tokens
            self._bytes -= request.size.bytes

    def _is_full(self) -> bool:
        return self._rows >= self._max_size or self._tokens >= self._max_tokens

    def _dispatch(self) -> None:
        """Begins as many batches as should be computed now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        while self._free and self._waiting:
            is_idle = self._free == self._workers
            if not is_idle and not self._is_full():
                late = self._started + _LONG
                if loop.time() < late:
                    self._timer = loop.call_at(late, self._dispatch)
                    return
            batch = self._next_batch()
            self._free -= 1
            self._started = loop.time()
            first = batch[0]
            rows = sum(request.size.rows for request in batch)
            self._metrics.batch(first.model, first.signature, rows, len(batch))
            self._threads.submit(self._work, loop, batch)

    def _next_batch(self) -> list[_Request]:
        """The request that has waited longest, and others that fit."""
        batch: list[_Request] = []
        rows = tokens = width = 0
        for request in self._waiting:
            size = request.size
            widest = max(width, size.width)
            if batch and (
                request.key is not batch[0].key
                or rows + size.rows > self._max_size
                or tokens + size.tokens > self._max_tokens
                or (rows + size.rows) * widest > self._max_tokens * _PADDING
            ):
                continue
            batch.append(request)
            rows, tokens, width = rows + size.rows, tokens + size.tokens, widest
            if rows >= self._max_size or tokens >= self._max_tokens:
                break
        for request in batch:
            self._remove(request)
        return batch

    def _work(self, loop: asyncio.AbstractEventLoop, batch: list[_Request]) -> None:
        """In a thread: computes a batch and reports to the loop."""
        answers: list[Arrays | ServingError] = []
        try:
            answers += _compute(batch)
        except Exception as error:
            if len(batch) == 1:
                answers.append(_reported(error))
            else:  # one of them is to blame, the others are not
                for request in batch:
                    try:
                        answers += _compute([request])
                    except Exception as error:
                        answers.append(_reported(error))
        try:
            loop.call_soon_threadsafe(self._done, batch, answers)
        except RuntimeError:
            pass  # the loop was closed: nobody waits any more

    def _done(self, batch: list[_Request], answers: list[Arrays | ServingError]) -> None:
        self._free += 1
        for request, answer in zip(batch, answers, strict=True):
            if request.answer.done():  # cancelled
                continue
            if isinstance(answer, ServingError):
                request.answer.set_exception(answer)
            else:
                request.answer.set_result(answer)
        self._dispatch()


def _same_shapes(inputs: Mapping[str, np.ndarray]) -> bool:
    return len({array.shape for array in inputs.values()}) == 1


def _compute(batch: list[_Request]) -> list[Arrays]:
    first = batch[0]
    if len(batch) == 1:
        return [first.function.run(first.inputs, first.outputs)]
    function = first.function
    inputs = {name: _joined([r.inputs[name] for r in batch]) for name in first.inputs}
    wanted = set().union(*(request.outputs for request in batch))
    is_flat = next(iter(inputs.values())).ndim == 1
    lengths: list[int] = []
    if is_flat and function.row_lengths is not None:
        wanted.add(function.row_lengths)
    outputs = function.run(inputs, wanted)
    if is_flat and function.row_lengths is not None:
        lengths = outputs[function.row_lengths].tolist()
    answers, start = [], 0
    for request in batch:
        end = start + request.size.rows
        width = max(lengths[start:end], default=0) if is_flat else request.size.width
        answers.append(
            {
                name: outputs[name][start:end, :width]
                if name in function.padded
                else outputs[name][start:end]
                for name in request.outputs
            }
        )
        start = end
    return answers


def _joined(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Rows of all; strings [B, T] are padded to a common width."""
    arrays = list(arrays)
    if arrays[0].ndim == 1:
        return np.concatenate(arrays)
    width = max(array.shape[1] for array in arrays)
    joined = np.full((sum(map(len, arrays)), width), b"", object)
    start = 0
    for array in arrays:
        joined[start : start + len(array), : array.shape[1]] = array
        start += len(array)
    return joined


def _reported(error: Exception) -> ServingError:
    if isinstance(error, tf.errors.OpError):
        code = _CODES.get(error.error_code, grpc.StatusCode.UNKNOWN)
        return ServingError(code, error.message)
    _LOG.error("while computing an answer", exc_info=error)
    return ServingError(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
