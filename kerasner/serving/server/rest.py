"""TensorFlow Serving's REST API, the metrics and a page to try a model, over aiohttp."""

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import grpc
from aiohttp import web
from google.protobuf import json_format
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from tensorflow_serving.apis import get_model_metadata_pb2

from kerasner.serving.server import rest_json
from kerasner.serving.server.servable import DEFAULT_SIGNATURE, Servable
from kerasner.serving.server.status import ServingError, invalid
from kerasner.serving.server.web_page import Page

if TYPE_CHECKING:
    from kerasner.serving.server.app import Settings
    from kerasner.serving.server.metrics import Metrics
    from kerasner.serving.server.models import Models
    from kerasner.serving.server.prediction import Predictor

_API = re.compile(r"/v1/.*", re.IGNORECASE | re.DOTALL)
_MODEL = r"([^/:]+)(?:/versions/([0-9]+)|/labels/([^/:]+))?"
_METHOD = re.compile(rf"/v1/models/{_MODEL}:(classify|regress|predict)", re.IGNORECASE)
_STATUS = re.compile(rf"/v1/models(?:/{_MODEL})?(/metadata)?", re.IGNORECASE)
_METRICS_PATHS = ("/monitoring/prometheus/metrics", "/metrics")

_HTTP_STATUS = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}  # any other code: 500
_CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
_JSON = "application/json"

_log = logging.getLogger(__name__)


def application(
    models: "Models", predictor: "Predictor", metrics: "Metrics", settings: "Settings"
) -> web.Application:
    """The HTTP side of the server.

    Args:
        models: the models served.
        predictor: what runs them.
        metrics: what is shown at TensorFlow Serving's path of metrics and at `/metrics`.
        settings: the server's flags, of which `rest_max_bytes` limits a request's body once it is
            decompressed and `rest_timeout` the seconds until an answer.

    Returns:
        The application; a path is never read as a file's.
    """
    app = web.Application(client_max_size=settings.rest_max_bytes)
    handler = _Handler(models, predictor, metrics, settings)
    app.router.add_route("*", r"/{path:[\s\S]*}", handler.handle)
    return app


class _Handler:
    def __init__(
        self, models: "Models", predictor: "Predictor", metrics: "Metrics", settings: "Settings"
    ) -> None:
        self.models = models
        self.predictor = predictor
        self.metrics = metrics
        self.timeout = settings.rest_timeout
        self.max_bytes = settings.rest_max_bytes
        self.free_bytes = max(settings.max_queue_bytes, settings.rest_max_bytes)
        self.page = Page()

    async def handle(self, request: web.Request) -> web.Response:
        try:
            path = request.rel_url.raw_path_qs  # with its query, as TensorFlow Serving matches it
            if _API.fullmatch(path):
                return web.Response(body=await self.api(request, path), content_type=_JSON)
            return self.other(request)
        except ServingError as error:
            return _failure(_HTTP_STATUS.get(error.code, 500), error.message)
        except web.HTTPException as error:  # such as a body that is no gzip
            return _failure(error.status, error.reason)
        except ConnectionError:  # the client is gone, nobody reads this
            return _failure(499, "the client closed the connection")
        except Exception:
            _log.exception("%s %s", request.method, request.path)
            return _failure(500, "internal error; the server's log tells more")

    async def api(self, request: web.Request, path: str) -> bytes:
        if request.method == "POST" and (match := _METHOD.fullmatch(path)):
            *model, method = match.groups()
            body = await self.body(request)
            if method == "predict":
                return await self.predict(body, *_model_of(*model))
            if method in ("classify", "regress"):
                self.refuse(body, method, *_model_of(*model))
        elif request.method == "GET" and (match := _STATUS.fullmatch(path)):
            *model, metadata = match.groups()
            if model[0] is None:
                raise invalid("Missing model name in request.")
            if metadata:
                return _metadata(self.models.find(*_model_of(*model)))
            return _status(self.models.statuses(*_model_of(*model)))
        raise invalid(f"Malformed request: {request.method} {path[:200]}")

    async def read(self, request: web.Request) -> bytes:
        """A body that is still under way; all of these together are bounded."""
        size = request.content_length
        if size is None or size > self.max_bytes or request.headers.get("Content-Encoding"):
            size = self.max_bytes
        if size > self.free_bytes:
            raise ServingError(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "too many bodies are under way; try again"
            )
        self.free_bytes -= size
        try:
            return await request.read()
        finally:
            self.free_bytes += size

    async def body(self, request: web.Request) -> bytes:
        """The whole body; a client that stops half-way is not waited for longer than others."""
        try:
            if request.content.is_eof():  # it came with the headers: no timer is worth its time
                return await request.read()
            return await asyncio.wait_for(self.read(request), self.timeout)
        except web.HTTPRequestEntityTooLarge as error:
            raise web.HTTPRequestEntityTooLarge(
                max_size=self.max_bytes,
                actual_size=0,
                reason=f"the body is larger than {self.max_bytes} bytes",
            ) from error
        except web.RequestPayloadError as error:
            raise invalid("the body is not encoded as Content-Encoding says") from error
        except asyncio.TimeoutError as error:
            raise web.HTTPRequestTimeout(
                reason=f"the body did not arrive within {self.timeout:g} s"
            ) from error

    async def predict(
        self, body: bytes, name: str, version: int | None, label: str | None
    ) -> bytes:
        clock = asyncio.get_running_loop().time
        start = clock()
        known = ["", ""]  # model and signature; a request cannot make metrics of other names
        code = grpc.StatusCode.INTERNAL
        try:
            document = rest_json.parse(body)
            signature = rest_json.signature_name(document) or DEFAULT_SIGNATURE
            servable = self.models.find(name, version, label)
            known[0] = servable.name
            infos = _inputs_of(servable, signature)
            known[1] = signature
            inputs, rows = rest_json.inputs(document, infos)
            del body, document  # not held while the model runs
            outputs = await self.predictor.predict(
                servable, signature, inputs, deadline=start + self.timeout
            )
            written = rest_json.answer(outputs, rows)
            code = grpc.StatusCode.OK
            return written
        except ServingError as error:
            code = error.code
            raise
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        finally:
            self.metrics.request(*known, "rest", code, clock() - start)

    def refuse(
        self, body: bytes, method: str, name: str, version: int | None, label: str | None
    ) -> None:
        """Says why a model that tags text neither classifies nor regresses."""
        document = rest_json.parse(body)
        signature = rest_json.signature_name(document) or DEFAULT_SIGNATURE
        examples = document.get("examples")
        if not isinstance(examples, list) or not examples:
            raise invalid(f"When method is {method}, 'examples' must be a list of objects")
        signatures = self.models.find(name, version, label).signatures
        if signature not in signatures:
            raise invalid(f"No signature was found with the name: {signature}")
        kind = "classification" if method == "classify" else "regression"
        raise invalid(
            f"Expected {kind} signature method_name to be tensorflow/serving/{method}. "
            f"Was: {signatures[signature].method_name}"
        )

    def other(self, request: web.Request) -> web.Response:
        """Whatever is not of TensorFlow Serving's API."""
        path = request.rel_url.raw_path
        if path not in ("/", "/page/models.json", *_METRICS_PATHS):
            return _failure(404, f"nothing is at {path[:200]}; the API starts at /v1/models/")
        if request.method not in ("GET", "HEAD"):
            return _failure(405, f"{request.method} is not allowed here, GET is", Allow="GET, HEAD")
        if path == "/":
            return web.Response(body=self.page.body, headers=self.page.headers)
        if path == "/page/models.json":
            return web.json_response({"models": [*filter(self.takes_text, self.models.names)]})
        return web.Response(
            body=generate_latest(self.metrics.registry),
            headers={"Content-Type": CONTENT_TYPE_LATEST},
        )

    def takes_text(self, name: str) -> bool:
        try:
            return "entities" in self.models.find(name).signatures
        except ServingError:  # no version is loaded at the moment
            return False


def _model_of(
    name: str, version: str | None, label: str | None
) -> tuple[str, int | None, str | None]:
    if version is not None and (len(version) > 19 or int(version) >= 2**63):
        raise invalid(f"Failed to convert version: {version[:40]} to numeric.")
    return (
        unquote(name),
        None if version is None else int(version),
        None if label is None else unquote(label),
    )


def _inputs_of(servable: Servable, signature: str) -> Mapping[str, Any]:
    if signature not in servable.signatures:
        raise invalid(f'Serving signature name: "{signature}" not found in signature def')
    infos = servable.signatures[signature].inputs
    if not infos:
        raise invalid(f"Failed to get input map for signature: {signature}")
    return infos


def _status(versions: list[Any]) -> bytes:
    return _written(
        {
            "model_version_status": [
                {
                    "version": str(version.version),
                    "state": version.state,
                    "status": {
                        "error_code": _CODE_NAMES.get(version.code, "UNKNOWN"),
                        "error_message": version.message,
                    },
                }
                for version in versions
            ]
        }
    )


def _metadata(servable: Servable) -> bytes:
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in servable.signature_defs.items():
        signatures.signature_def[name].CopyFrom(definition)
    return _written(
        {
            "model_spec": {
                "name": servable.name,
                "signature_name": "",
                "version": str(servable.version),
            },
            "metadata": {"signature_def": _with_defaults(signatures)},
        }
    )


def _with_defaults(message: Any) -> dict[str, Any]:
    """A message with its empty fields, as TensorFlow Serving writes it."""
    try:
        return json_format.MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
    except TypeError:  # protobuf 4, beside TensorFlow 2.15, has another name for it
        return json_format.MessageToDict(
            message, preserving_proto_field_name=True, including_default_value_fields=True
        )


def _written(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode()


def _failure(status: int, message: str, **headers: str) -> web.Response:
    response = web.Response(
        status=status, body=rest_json.error(message), content_type=_JSON, headers=headers
    )
    if status in (408, 499):
        response.force_close()
    return response
