"""What a client of TensorFlow Serving asks and understands, apart from how it waits for answers."""

import contextlib
import json
import os
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2, predict_pb2

from kerasner import answers
from kerasner.config import check_number
from kerasner.data.pipeline import columns
from kerasner.errors import ConfigError, ServiceError
from kerasner.serving import tensors

# What is asked of the signatures that `export` writes.
OUTPUTS = {
    "serving_default": ("tokens", "tags", "lengths"),
    "entities": ("texts", "labels", "starts", "ends", "scores", "counts"),
    "tokens": ("tags", "lengths"),
}
MAX_MESSAGE_BYTES = 4 << 20  # what gRPC servers take where nobody raised it
MESSAGE_OVERHEAD = 1 << 10  # bytes of a request that are neither text nor metadata
ITEM_OVERHEAD = 5  # bytes at most that a string takes beside its own
MAX_ATTEMPTS = 5  # gRPC makes no more
WEB_SCHEMES = ("http", "https", "grpc", "grpcs")  # gRPC's own are dns, unix, ipv4, ...
READY_PAUSE = 0.2  # seconds from one question to the next while a model is loaded

Tagged = tuple[list[list[str]], list[list[str]]]
Answers = Iterator[dict[str, np.ndarray]]


class Call(NamedTuple):
    """One request to the server.

    Attributes:
        method: name of the remote function.
        request: its message.
        deadline: in the time of `time.monotonic`; None for none.
        metadata: headers.
    """

    method: str
    request: Any
    deadline: float | None
    metadata: tuple[tuple[str, str], ...]

    @property
    def options(self) -> dict[str, Any]:
        """How gRPC is to make the call."""
        timeout = None if self.deadline is None else max(0.0, self.deadline - time.monotonic())
        return {"timeout": timeout, "metadata": self.metadata}


class Pause(NamedTuple):
    """Nothing to do for some seconds."""

    seconds: float


# A generator yields what is to be done next and is sent the answers, or thrown what was raised.
Step = Iterable[Call] | Pause
Steps = Generator[Step, list[Any], Any]


class Protocol:
    """The steps of a client's functions; see `kerasner.serving.Client` for the arguments."""

    def __init__(
        self,
        address: str,
        model: str,
        *,
        version: int | None = None,
        version_label: str | None = None,
        inputs: Sequence[str] | None = None,
        timeout: float | None = 60.0,
        attempts: int = 4,
        batch_size: int = 64,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        concurrency: int = 4,
        tls: bool = False,
        root_certificates: str | os.PathLike | None = None,
        certificate: str | os.PathLike | None = None,
        key: str | os.PathLike | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        channel_options: Sequence[tuple[str, Any]] = (),
    ):
        for name, value in (("address", address), ("model", model)):
            if not isinstance(value, str) or not value:
                raise ConfigError(f"{name}: expected a text, received {value!r}")
        scheme, separator, _ = address.partition("://")
        if separator and scheme.lower() in WEB_SCHEMES:  # gRPC would look for a host of this name
            raise ConfigError(
                f"address: give host:port, without {scheme}{separator}; received {address!r:.200}"
            )
        if version is not None:
            check_number("version", version, 0, whole=True)
            if version_label is not None:
                raise ConfigError("expected a version or a version_label, received both")
        if timeout is not None:
            check_number("timeout", timeout, 0)
        check_number("attempts", attempts, 1, MAX_ATTEMPTS, whole=True)
        check_number("batch_size", batch_size, 1, whole=True)
        check_number("max_message_bytes", max_message_bytes, 2 * MESSAGE_OVERHEAD, whole=True)
        check_number("concurrency", concurrency, 1, whole=True)
        self.address = address
        self.concurrency = concurrency
        self._metadata = tuple(metadata)
        self.channel_options = [*_channel_options(attempts, max_message_bytes), *channel_options]
        self.credentials = _credentials(tls, root_certificates, certificate, key)
        self._spec = model_pb2.ModelSpec(name=model, version_label=version_label)
        if version is not None:
            self._spec.version.value = version
        self._given_inputs = None if inputs is None else list(inputs)
        self._timeout = timeout
        self._batch_size = batch_size
        self._max_bytes = max_message_bytes - MESSAGE_OVERHEAD
        self._signatures: dict[str, Any] | None = None

    def tag(self, batch: Any, further: Sequence[Any]) -> Steps:
        """Steps to the tokens and their tags."""
        deadline = self._deadline(self._timeout)
        names = yield from self._inputs(deadline)
        sentences = answers.sentences(names, batch, further)
        if sentences is None:
            found = yield from self._of_texts("serving_default", batch, deadline)
            with self._reading():
                tokens, tags = answers.gathered(found, ("tokens", "tags"), "lengths")
            return tokens, tags
        found = yield from self._of_sentences(names, sentences, deadline)
        with self._reading():
            (tags,) = answers.gathered(found, ("tags",), "lengths")
        return [list(row) for row in batch], [row[1:] for row in tags]

    def entities(self, texts: Any) -> Steps:
        """Steps to the entities of texts."""
        deadline = self._deadline(self._timeout)
        answers.check_texts((yield from self._inputs(deadline)), texts)
        found = yield from self._of_texts("entities", texts, deadline)
        with self._reading():
            return answers.entities(found)

    def ready(self) -> Steps:
        """Steps to whether the server has loaded the model."""
        try:
            yield from self._ask_signatures(self._deadline(self._timeout))
        except ServiceError as error:
            if not self._is_not_yet(error):
                raise
            return False
        return True

    def wait_until_ready(self, timeout: float | None) -> Steps:
        """Steps until the server has loaded the model."""
        deadline = self._deadline(self._timeout if timeout is None else timeout)
        reason: ServiceError | None = None
        while True:
            try:
                # Not with gRPC's wait_for_ready, which tells nothing of connections that fail.
                return (yield from self._ask_signatures(deadline))
            except ServiceError as error:
                if not self._is_not_yet(error):
                    raise
                # The end of the time says less than what was answered before.
                if reason is None or error.code is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    reason = error
            if deadline is not None and time.monotonic() + READY_PAUSE > deadline:
                why = str(reason).removeprefix(f"{self.address}: ")
                raise self._error(
                    grpc.StatusCode.DEADLINE_EXCEEDED, f"not ready in time: {why}"
                ) from reason
            yield Pause(READY_PAUSE)

    def failure(self, error: grpc.RpcError) -> ServiceError:
        """What gRPC raised -> what a client raises."""
        code, details = error.code(), error.details()
        explanation = {
            grpc.StatusCode.NOT_FOUND: f"no model {self._model} is served",
            grpc.StatusCode.UNAVAILABLE: "no server answers",
            grpc.StatusCode.DEADLINE_EXCEEDED: "no answer in time",
            grpc.StatusCode.UNIMPLEMENTED: "no server of TensorFlow Serving's protocol",
        }.get(code, "the server refuses")
        return self._error(code, f"{explanation}: {code.name}: {details}")

    def _error(self, code: grpc.StatusCode, message: str) -> ServiceError:
        return ServiceError(f"{self.address}: {message}", self.address, code)

    @property
    def _model(self) -> str:
        if self._spec.HasField("version"):
            return f"{self._spec.name!r} of version {self._spec.version.value}"
        if self._spec.version_label:
            return f"{self._spec.name!r} of label {self._spec.version_label!r}"
        return repr(self._spec.name)

    def _is_not_yet(self, error: ServiceError) -> bool:
        codes = [
            grpc.StatusCode.NOT_FOUND,
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        ]
        if self._spec.version_label:  # TensorFlow Serving's answer to one that is not set yet
            codes.append(grpc.StatusCode.INVALID_ARGUMENT)
        return error.code in codes

    @staticmethod
    def _deadline(timeout: float | None) -> float | None:
        return None if timeout is None else time.monotonic() + timeout

    def _call(self, method: str, request: Any, deadline: float | None) -> Call:
        return Call(method, request, deadline, self._metadata)

    def _ask_signatures(self, deadline: float | None) -> Steps:
        # Not GetModelStatus, which knows nothing of labels: this one answers where Predict would.
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec, metadata_field=["signature_def"]
        )
        (response,) = yield [self._call("GetModelMetadata", request, deadline)]
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        self._signatures = dict(signatures.signature_def)

    def _inputs(self, deadline: float | None) -> Generator[Step, list[Any], list[str]]:
        """Names of the model's inputs, in the order of a call's arguments."""
        if self._signatures is None:
            yield from self._ask_signatures(deadline)
        inputs = self._signature("tokens").inputs
        names = ["tokens", *sorted(name for name in inputs if name != "tokens")]
        if self._given_inputs is None and len(names) <= 2:
            return names
        if self._given_inputs is None or sorted(self._given_inputs) != sorted(names):
            # An order by the alphabet would be a guess: a server does not tell the order.
            raise ConfigError(
                f"inputs: expected {names} in the order of the model's configuration, "
                f"received {self._given_inputs}"
            )
        return self._given_inputs

    def _signature(self, name: str) -> Any:
        signature = (self._signatures or {}).get(name)
        if signature is None or not set(OUTPUTS[name]) <= set(signature.outputs):
            raise self._error(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"expected a model that kerasner exported, with the outputs "
                f"{', '.join(OUTPUTS[name])} of a signature {name!r}: {self._model} has none",
            )
        return signature

    def _of_texts(
        self, signature: str, texts: Sequence[str], deadline: float | None
    ) -> Generator[Step, list[Any], Answers]:
        values = answers.encoded(texts)
        sizes = [len(value) + ITEM_OVERHEAD for value in values]
        pieces = _pieces(sizes, self._batch_size, self._max_bytes)
        requests = ({"text": tensors.strings(values[piece])} for piece in pieces)
        return (yield from self._predict(signature, requests, deadline))

    def _of_sentences(
        self, names: list[str], sentences: list, deadline: float | None
    ) -> Generator[Step, list[Any], Answers]:
        # A first column of "": where TensorFlow Serving batches, it fills up the shorter requests
        # with their first element.
        rows = [
            [[b"", *answers.encoded(row)] for row in column]
            for column in columns(sentences, len(names))
        ]
        sizes = [
            sum(len(token) + ITEM_OVERHEAD for row in sentence for token in row)
            for sentence in zip(*rows, strict=True)
        ]
        # Padding takes at most as much again, where the longest sentence has the shortest tokens.
        pieces = _pieces(sizes, self._batch_size, self._max_bytes // 2)
        requests = (
            {name: tensors.padded(column[piece]) for name, column in zip(names, rows, strict=True)}
            for piece in pieces
        )
        return (yield from self._predict("tokens", requests, deadline))

    def _predict(
        self,
        signature: str,
        inputs: Iterable[dict[str, tensor_pb2.TensorProto]],
        deadline: float | None,
    ) -> Generator[Step, list[Any], Answers]:
        self._signature(signature)
        spec = model_pb2.ModelSpec(signature_name=signature)
        spec.MergeFrom(self._spec)
        names = OUTPUTS[signature]
        # A generator: of many requests those under way alone are in memory.
        responses = yield (
            self._call(
                "Predict",
                predict_pb2.PredictRequest(model_spec=spec, inputs=tensor, output_filter=names),
                deadline,
            )
            for tensor in inputs
        )
        return (
            {name: tensors.to_array(response.outputs[name]) for name in names}
            for response in responses
        )

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            message = f"damaged answer: {error}"
            raise self._error(grpc.StatusCode.INTERNAL, message) from error


def _pieces(sizes: Sequence[int], most: int, most_bytes: int) -> Iterator[slice]:
    """Cuts items into runs of at most `most`, and of `most_bytes` if all were like the longest.

    An answer is padded to the longest of its texts, so that it does not grow beyond measure either.
    An item that is too long for the limit is a piece of its own.
    """
    start, longest = 0, 0
    for end, size in enumerate(sizes):
        longest = max(longest, size)
        if end > start and (end - start == most or (end - start + 1) * longest > most_bytes):
            yield slice(start, end)
            start, longest = end, size
    if len(sizes) > start:
        yield slice(start, len(sizes))


def _channel_options(attempts: int, max_message_bytes: int) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        # Answers may be longer than requests, and come from the server that the user chose.
        ("grpc.max_receive_message_length", -1),
        # Of a server that is down: by default gRPC comes to ask only every two minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 2000),
    ]
    if attempts > 1:
        policy = {
            "maxAttempts": attempts,
            "initialBackoff": "0.2s",  # gRPC varies each pause at random
            "maxBackoff": "3s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"],
        }
        config = {"methodConfig": [{"name": [{}], "retryPolicy": policy}]}
        options += [
            ("grpc.service_config", json.dumps(config)),
            ("grpc.per_rpc_retry_buffer_size", 2 * max_message_bytes),
        ]
    return options


def _credentials(
    tls: bool,
    root_certificates: str | os.PathLike | None,
    certificate: str | os.PathLike | None,
    key: str | os.PathLike | None,
) -> grpc.ChannelCredentials | None:
    paths = {"root_certificates": root_certificates, "key": key, "certificate": certificate}
    if not tls:
        given = [name for name, path in paths.items() if path is not None]
        if given:
            raise ConfigError(f"{given[0]}: expected only with tls=True")
        return None
    if (certificate is None) != (key is None):
        raise ConfigError("certificate, key: expected both or neither, received one")
    try:
        pem = [None if path is None else Path(path).read_bytes() for path in paths.values()]
    except OSError as error:
        raise ConfigError(f"cannot read {error.filename}: {error.strerror}") from error
    return grpc.ssl_channel_credentials(*pem)
