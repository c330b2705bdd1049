"""A server of TensorFlow Serving's prediction protocol that fails when it is told to."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent import futures

import grpc
import numpy as np
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc as service

from kerasner.serving import tensors

Arrays = dict[str, np.ndarray]


class PredictionServer(service.PredictionServiceServicer):
    """Serves functions on a port of this machine, until the end of a `with` block.

    Args:
        signatures: name -> (names of inputs, names of outputs, function of arrays).
        port: 0 takes a free one.
        credentials: for TLS.
        model: the name that it answers to.

    Attributes:
        faults: what the next requests meet: a status code, or seconds to sleep.
        requests: received by Predict.
        headers: of each of these.
        most_at_once: how many requests were under way at the same time.
    """

    def __init__(
        self,
        signatures: Mapping[str, tuple[list[str], list[str], Callable[[Arrays], Arrays]]],
        port: int = 0,
        credentials: grpc.ServerCredentials | None = None,
        model: str = "ner",
    ):
        self.signatures = signatures
        self.faults: deque = deque()
        self.requests: list[predict_pb2.PredictRequest] = []
        self.headers: list[dict[str, str]] = []
        self.most_at_once = 0
        self._model = model
        self._under_way = 0
        self._lock = threading.Lock()
        # Else two servers could hold the same port.
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 4 << 20)]
        self._server = grpc.server(futures.ThreadPoolExecutor(8), options=options)
        service.add_PredictionServiceServicer_to_server(self, self._server)
        place = f"localhost:{port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(place)
        else:
            self.port = self._server.add_secure_port(place, credentials)
        self.address = f"localhost:{self.port}"

    def __enter__(self) -> "PredictionServer":
        self._server.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.stop(None).wait()

    def Predict(self, request, context):
        with self._lock:
            self.requests.append(request)
            self.headers.append(dict(context.invocation_metadata()))
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            self._meet_fault(request, context)
            inputs, _, function = self.signatures[request.model_spec.signature_name]
            assert sorted(request.inputs) == sorted(inputs)
            answer = function({name: tensors.to_array(request.inputs[name]) for name in inputs})
            response = predict_pb2.PredictResponse()
            for name in request.output_filter:
                response.outputs[name].CopyFrom(tensors.to_proto(answer[name]))
            return response
        finally:
            with self._lock:
                self._under_way -= 1

    def GetModelMetadata(self, request, context):
        self._meet_fault(request, context)
        answer = get_model_metadata_pb2.SignatureDefMap()
        for name, (inputs, outputs, _) in self.signatures.items():
            definition = answer.signature_def[name]
            for key in inputs:
                definition.inputs[key].CopyFrom(meta_graph_pb2.TensorInfo())
            for key in outputs:
                definition.outputs[key].CopyFrom(meta_graph_pb2.TensorInfo())
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.metadata["signature_def"].Pack(answer)
        return response

    def _meet_fault(self, request, context) -> None:
        if request.model_spec.name != self._model:
            message = f"Servable not found for request: Latest({request.model_spec.name})"
            context.abort(grpc.StatusCode.NOT_FOUND, message)
        try:
            fault = self.faults.popleft()
        except IndexError:
            return
        if isinstance(fault, grpc.StatusCode):
            context.abort(fault, "as ordered")
        time.sleep(fault)
