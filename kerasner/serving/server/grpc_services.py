"""TensorFlow Serving's gRPC services, with health and reflection."""

import asyncio
import contextlib
import importlib
from collections.abc import Callable
from time import perf_counter
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
)

from kerasner.serving import tensors
from kerasner.serving.server import sources
from kerasner.serving.server.metrics import Metrics
from kerasner.serving.server.models import Models, Servable
from kerasner.serving.server.prediction import Predictor
from kerasner.serving.server.servable import DEFAULT_SIGNATURE
from kerasner.serving.server.status import ServingError, invalid

_MAX_MESSAGE = 1024  # bytes of an error, as TensorFlow Serving cuts them
_SIGNATURE_DEF = "signature_def"
_SERVICES = ("tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")

# Reflection finds the services in protobuf's pool, where these modules put them. Those of
# tensorflow-serving-api 2.15 do so and then stumble over protobuf 4, which makes no difference.
for _module in ("prediction_service_pb2", "model_service_pb2"):
    with contextlib.suppress(AttributeError):
        importlib.import_module(f"tensorflow_serving.apis.{_module}")


def add_services(
    server: grpc.aio.Server, models: Models, predictor: Predictor, metrics: Metrics
) -> "Health":
    """Adds all services to a server that has not been started; returns its health."""
    prediction, model = PredictionService(models, predictor, metrics), ModelService(models)
    methods = (
        {
            "Predict": _handler(prediction.predict, predict_pb2.PredictRequest),
            "GetModelMetadata": _handler(
                prediction.metadata, get_model_metadata_pb2.GetModelMetadataRequest
            ),
            "Classify": grpc.unary_unary_rpc_method_handler(_unimplemented),
            "Regress": grpc.unary_unary_rpc_method_handler(_unimplemented),
            "MultiInference": grpc.unary_unary_rpc_method_handler(_unimplemented),
        },
        {
            "GetModelStatus": _handler(model.status, get_model_status_pb2.GetModelStatusRequest),
            "HandleReloadConfigRequest": _handler(
                model.reload, model_management_pb2.ReloadConfigRequest
            ),
        },
    )
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(service, handlers)
            for service, handlers in zip(_SERVICES, methods, strict=True)
        ]
    )
    own = Health()
    health_pb2_grpc.add_HealthServicer_to_server(own.servicer, server)
    names = (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    return own


class Health:
    """What gRPC health checks are told, of the whole server and of each service."""

    def __init__(self):
        self.servicer = health.aio.HealthServicer()

    async def set(self, is_serving: bool) -> None:
        statuses = health_pb2.HealthCheckResponse
        for service in ("", *_SERVICES):
            await self.servicer.set(
                service, statuses.SERVING if is_serving else statuses.NOT_SERVING
            )


class PredictionService:
    """Answers Predict and GetModelMetadata."""

    def __init__(self, models: Models, predictor: Predictor, metrics: Metrics):
        self._models = models
        self._predictor = predictor
        self._metrics = metrics

    async def predict(
        self, request: predict_pb2.PredictRequest, context: grpc.aio.ServicerContext
    ) -> predict_pb2.PredictResponse:
        started = perf_counter()
        code = grpc.StatusCode.OK
        model = signature = ""  # for metrics: of what exists only
        try:
            servable = _find(self._models, request)
            model = servable.name
            name = request.model_spec.signature_name or DEFAULT_SIGNATURE
            signature = name if name in servable.signatures else ""
            remaining = context.time_remaining()
            outputs = await self._predictor.predict(
                servable,
                name,
                _arrays(request),
                request.output_filter,
                None if remaining is None else asyncio.get_running_loop().time() + remaining,
            )
            return _response(servable, name, outputs)
        except ServingError as error:
            code = error.code
            raise
        except asyncio.CancelledError:  # the client has gone, or its deadline has passed
            code = grpc.StatusCode.CANCELLED
            raise
        finally:
            self._metrics.request(model, signature, "grpc", code, perf_counter() - started)

    async def metadata(
        self,
        request: get_model_metadata_pb2.GetModelMetadataRequest,
        context: grpc.aio.ServicerContext,
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise invalid(f"Metadata field {field} is not supported")
        servable = _find(self._models, request)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in servable.signature_defs.items():
            signatures.signature_def[name].CopyFrom(definition)
        response.metadata[_SIGNATURE_DEF].Pack(signatures)
        return response


class ModelService:
    """Tells the state of versions, and takes another configuration."""

    def __init__(self, models: Models):
        self._models = models

    async def status(
        self,
        request: get_model_status_pb2.GetModelStatusRequest,
        context: grpc.aio.ServicerContext,
    ) -> get_model_status_pb2.GetModelStatusResponse:
        response = get_model_status_pb2.GetModelStatusResponse()
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        spec = request.model_spec
        for status in self._models.statuses(spec.name, *_version(spec)):
            added = response.model_version_status.add()
            added.version = status.version
            added.state = get_model_status_pb2.ModelVersionStatus.State.Value(status.state)
            added.status.error_code = status.code
            added.status.error_message = status.message
        return response

    async def reload(
        self,
        request: model_management_pb2.ReloadConfigRequest,
        context: grpc.aio.ServicerContext,
    ) -> model_management_pb2.ReloadConfigResponse:
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
                "ModelConfigList is currently supported"
            )
        try:
            wanted = sources.sources(request.config)
        except ValueError as error:
            raise invalid(str(error)) from error
        await self._models.reload(wanted)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response


def _find(models: Models, request: Any) -> Servable:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return models.find(request.model_spec.name, *_version(request.model_spec))


def _version(spec: model_pb2.ModelSpec) -> tuple[int | None, str | None]:
    """The version's number and label, of which at most one is given."""
    number = spec.version.value if spec.HasField("version") else None
    return number, spec.version_label or None


def _arrays(request: predict_pb2.PredictRequest) -> dict[str, Any]:
    arrays = {}
    for name, proto in request.inputs.items():
        try:
            arrays[name] = tensors.to_array(proto)
        except ValueError as error:
            raise invalid(f"tensor parsing error: {name}: {error}") from error
    return arrays


def _response(
    servable: Servable, signature: str, outputs: dict[str, Any]
) -> predict_pb2.PredictResponse:
    response = predict_pb2.PredictResponse()
    spec = response.model_spec
    spec.name = servable.name
    spec.version.value = servable.version
    spec.signature_name = signature
    for name, array in outputs.items():
        tensors.fill(response.outputs[name], array)
    return response


def _handler(method: Callable[..., Any], request_type: type[Message]) -> grpc.RpcMethodHandler:
    """Of a coroutine that answers a request, or raises ServingError."""

    async def answer(raw: bytes, context: grpc.aio.ServicerContext) -> bytes:
        try:
            request = request_type.FromString(raw)
        except DecodeError:
            name = request_type.DESCRIPTOR.name
            await context.abort(
                grpc.StatusCode.INTERNAL, f"expected a {name}, received other bytes"
            )
        try:
            response = await method(request, context)
        except ServingError as error:
            message = error.message.encode("utf-8", "replace")[:_MAX_MESSAGE]
            await context.abort(error.code, message.decode("utf-8", "ignore"))
        return response.SerializeToString()

    return grpc.unary_unary_rpc_method_handler(answer)


async def _unimplemented(raw: bytes, context: grpc.aio.ServicerContext) -> None:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "the models take text: call Predict")
