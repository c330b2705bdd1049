"""The embedded server in a thread of its own, and what tests send to it."""

import asyncio
import threading

import grpc
import numpy as np
from tensorflow_serving.apis import (
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from kerasner.serving import tensors
from kerasner.serving.server.app import Server, Settings


class ModelServer:
    """A server that runs until `stop`, its stubs and its event loop.

    Args:
        settings: of `Settings`; the ports are free ones.
    """

    def __init__(self, **settings):
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.server = Server(Settings(port=0, **settings))
        try:
            self.do(self.server.start())
        except BaseException:
            self.stop(0)
            raise
        self.channel = grpc.insecure_channel(f"localhost:{self.server.port}")
        self.predictions = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def do(self, coroutine):
        """Runs a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def predict(self, request):
        return self.predictions.Predict(request, timeout=60)

    def stop(self, grace=10.0):
        self.do(self.server.stop(grace))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


def strings(values) -> np.ndarray:
    """Lists of bytes, or lists of those of one length -> an array."""
    array = np.empty(np.shape(values), object)
    array[...] = values
    return array


def request(signature="", model="small", **inputs) -> predict_pb2.PredictRequest:
    made = predict_pb2.PredictRequest()
    made.model_spec.name = model
    made.model_spec.signature_name = signature
    for name, values in inputs.items():
        made.inputs[name].CopyFrom(tensors.to_proto(values))
    return made


def code_of(call, *arguments) -> tuple[grpc.StatusCode, str]:
    """The status that a call ends with."""
    try:
        call(*arguments, timeout=60)
    except grpc.RpcError as error:
        return error.code(), error.details()
    return grpc.StatusCode.OK, ""
