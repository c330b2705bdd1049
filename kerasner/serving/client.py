"""The tagger of a model behind TensorFlow Serving, or any server that speaks its protocol."""

import asyncio
import inspect
import time
from collections import deque
from collections.abc import Sequence
from itertools import chain, islice
from types import ModuleType
from typing import Any

import grpc
import grpc.aio
from tensorflow_serving.apis import prediction_service_pb2_grpc

from kerasner.answers import Entity
from kerasner.serving.protocol import Pause, Protocol, Step, Steps, Tagged


class Client:
    """A `kerasner.Tagger` whose model runs behind TensorFlow Serving, or `kerasner serve`.

    It takes and gives what the tagger does. Threads may share one.

    Args:
        address: "host:port" of gRPC.
        model: name of the model on the server.
        version, version_label: a version by its number or by its label; without, the newest.
        inputs: names of the model's inputs, in the order of its configuration: for a model of more
            than two, for a server does not tell the order.
        timeout: seconds that a call may take in all; None for no limit.
        attempts: how often a request is sent where the server is unavailable, 1 to 5, after pauses
            that double and vary at random; never beyond the timeout.
        batch_size: texts a request; a call of more texts is split.
        max_message_bytes: of a request, as the server limits it; a call of more is split.
        concurrency: requests of one call under way at the same time.
        tls: encrypt.
        root_certificates: PEM file of the authorities to trust, by default gRPC's own.
        certificate, key: PEM files of the client, where the server asks for its certificate.
        metadata: headers of each request, such as `[("authorization", "Bearer ...")]`.
        channel_options: further options of gRPC's channel, such as
            `[("grpc.ssl_target_name_override", "ner.example")]`.

    Raises:
        kerasner.errors.ConfigError: an argument has a wrong value.

    Each function raises `kerasner.errors.ServiceError`, whose `code` is gRPC's status, where the
    server does not answer or refuses.

    Example:

    ```python
    with kerasner.serving.Client("localhost:8500", "ner_conll2003") as ner:
        tokens, tags = ner(["Bernhard Riemann lived in Göttingen"])
        for entity in ner.entities(["Bernhard Riemann lived in Göttingen"])[0]:
            print(entity.text, entity.label, entity.start, entity.end, entity.score)
    ```
    """

    def __init__(self, address: str, model: str, **options: Any):
        self._protocol = Protocol(address, model, **options)
        self._channel = _channel(grpc, self._protocol)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def __call__(
        self, batch: Sequence[str] | Sequence[Sequence[str]], *further: Sequence[Sequence[str]]
    ) -> Tagged:
        """Tags texts or token lists, as `kerasner.Tagger` does."""
        return self._run(self._protocol.tag(batch, further))

    def entities(self, texts: Sequence[str]) -> list[list[Entity]]:
        """The entities of each text, in their order."""
        return self._run(self._protocol.entities(texts))

    def ready(self) -> bool:
        """Whether the server answers and has loaded the model."""
        return self._run(self._protocol.ready())

    def wait_until_ready(self, timeout: float | None = None) -> None:
        """Returns once the server has loaded the model.

        Args:
            timeout: seconds, by default those of a call.

        Raises:
            kerasner.errors.ServiceError: with the code DEADLINE_EXCEEDED, after that time.
        """
        self._run(self._protocol.wait_until_ready(timeout))

    def close(self) -> None:
        """Ends the connection; calls under way fail."""
        self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _run(self, steps: Steps) -> Any:
        resume, value = steps.send, None
        while True:
            try:
                step = resume(value)
            except StopIteration as stop:
                return stop.value
            try:
                resume, value = steps.send, self._outcome(step)
            except grpc.RpcError as error:
                resume, value = steps.throw, self._protocol.failure(error)

    def _outcome(self, step: Step) -> list[Any]:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return []
        calls = iter(step)
        start = list(islice(calls, 2))
        if len(start) == 1:  # the usual case, and faster without a future
            return [
                getattr(self._stub, call.method)(call.request, **call.options) for call in start
            ]
        answers, under_way = [], deque()
        try:
            for call in chain(start, calls):
                if len(under_way) == self._protocol.concurrency:
                    answers.append(under_way.popleft().result())
                method = getattr(self._stub, call.method)
                under_way.append(method.future(call.request, **call.options))
            while under_way:
                answers.append(under_way.popleft().result())
        finally:
            for future in under_way:
                future.cancel()
        return answers


class AsyncClient:
    """`Client` for asyncio: the same, with `await` and `async with`, inside one event loop.

    Example:

    ```python
    async with kerasner.serving.AsyncClient("localhost:8500", "ner_conll2003") as ner:
        tokens, tags = await ner(["Bernhard Riemann lived in Göttingen"])
        entities = await ner.entities(["Bernhard Riemann lived in Göttingen"])
    ```
    """

    def __init__(self, address: str, model: str, **options: Any):
        self._protocol = Protocol(address, model, **options)
        self._channel: grpc.aio.Channel | None = None

    async def __call__(
        self, batch: Sequence[str] | Sequence[Sequence[str]], *further: Sequence[Sequence[str]]
    ) -> Tagged:
        """Tags texts or token lists, as `kerasner.Tagger` does."""
        return await self._run(self._protocol.tag(batch, further))

    async def entities(self, texts: Sequence[str]) -> list[list[Entity]]:
        """The entities of each text, in their order."""
        return await self._run(self._protocol.entities(texts))

    async def ready(self) -> bool:
        """Whether the server answers and has loaded the model."""
        return await self._run(self._protocol.ready())

    async def wait_until_ready(self, timeout: float | None = None) -> None:
        """Returns once the server has loaded the model; see `Client.wait_until_ready`."""
        await self._run(self._protocol.wait_until_ready(timeout))

    async def close(self) -> None:
        """Ends the connection; calls under way fail."""
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def _run(self, steps: Steps) -> Any:
        if self._channel is None:  # not earlier: a channel belongs to the loop that is running
            self._channel = _channel(grpc.aio, self._protocol)
            self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        resume, value = steps.send, None
        while True:
            try:
                step = resume(value)
            except StopIteration as stop:
                return stop.value
            try:
                resume, value = steps.send, await self._outcome(step)
            except grpc.RpcError as error:
                resume, value = steps.throw, self._protocol.failure(error)

    async def _outcome(self, step: Step) -> list[Any]:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return []
        answers, under_way = [], deque()
        try:
            for call in step:
                if len(under_way) == self._protocol.concurrency:
                    answers.append(await under_way.popleft())
                under_way.append(getattr(self._stub, call.method)(call.request, **call.options))
            while under_way:
                answers.append(await under_way.popleft())
        finally:
            for running in under_way:
                running.cancel()
        return answers


# Both take the arguments of the protocol: help() and editors shall show them.
Client.__signature__ = AsyncClient.__signature__ = inspect.signature(Protocol)


def _channel(module: ModuleType, protocol: Protocol) -> Any:
    """A channel of `grpc` or `grpc.aio`."""
    if protocol.credentials is None:
        return module.insecure_channel(protocol.address, protocol.channel_options)
    return module.secure_channel(protocol.address, protocol.credentials, protocol.channel_options)
