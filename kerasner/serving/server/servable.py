"""One loaded version of a model."""

import os
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from kerasner.serving import tensors

DEFAULT_SIGNATURE = "serving_default"
WARM_UP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
_MAX_WARM_UP_RECORDS = 1000  # TensorFlow Serving reads no more of them either
_ROW_LENGTHS = ("lengths", "counts")  # outputs that say how much of a row is no padding


class Signature:
    """A function of a SavedModel.

    Args:
        definition: its entry in the SavedModel.
        function: takes tensors by name, gives tensors by name.

    Attributes:
        inputs, outputs: names -> TensorInfo, as the SavedModel has them.
        method_name: such as "tensorflow/serving/predict".
        dtypes: dtype of each input in numpy, strings being objects.
        ranks: rank of each input; None where any will do.
        is_rows: the inputs are rows of tokens, [B, T].
        row_lengths: name of the output that counts what is no padding in each row, or None.
        padded: names of the outputs [B, T], as wide as the longest row of a call.
        is_batchable: requests may be joined to one call: all inputs are strings [B] or [B, T], and
            of each output it is known which part a request would have got alone.
    """

    def __init__(
        self, definition: meta_graph_pb2.SignatureDef, function: Callable[..., dict[str, tf.Tensor]]
    ):
        self.inputs = dict(definition.inputs)
        self.outputs = dict(definition.outputs)
        self.method_name = definition.method_name
        self.dtypes = {name: _numpy_dtype(info) for name, info in self.inputs.items()}
        self.ranks = {name: _rank(info) for name, info in self.inputs.items()}
        self.is_rows = set(self.ranks.values()) == {2}
        self.row_lengths = next((name for name in _ROW_LENGTHS if name in self.outputs), None)
        self.padded = {
            name
            for name, info in self.outputs.items()
            if [dim.size for dim in info.tensor_shape.dim] == [-1, -1]
        }
        self.is_batchable = self._is_batchable()
        self._function = function

    def run(
        self, inputs: Mapping[str, np.ndarray], outputs: Iterable[str]
    ) -> dict[str, np.ndarray]:
        """Calls the function; gives the outputs that are named."""
        results = self._function(
            **{name: tf.constant(array, self.inputs[name].dtype) for name, array in inputs.items()}
        )
        return {name: results[name].numpy() for name in outputs}

    def _is_batchable(self) -> bool:
        if not self.inputs or set(self.dtypes.values()) != {np.dtype(object)}:
            return False
        input_shapes, output_shapes = map(_shapes, (self.inputs, self.outputs))
        if input_shapes not in ([[-1]], [[-1, -1]]):
            return False
        has_width = input_shapes == [[-1, -1]] or self.row_lengths is not None
        return all(
            shape and shape[0] == -1 and (-1 not in shape[1:] or (len(shape) == 2 and has_width))
            for shape in output_shapes
        )


class Servable:
    """A loaded version of a model; loading takes a second, so it is done in a thread.

    Args:
        name: of the model.
        version: its number.
        folder: of the SavedModel.

    Attributes:
        signatures: what can be called, by name.
        signature_defs: all entries of the SavedModel.
        active: number of requests under way.

    Raises:
        Exception: whatever TensorFlow raises where the folder holds no SavedModel or a damaged one,
            or a request for warming up fails.
    """

    def __init__(self, name: str, version: int, folder: Path):
        self.name = name
        self.version = version
        self.active = 0
        definitions = _serving_graph(folder).signature_def
        self.signature_defs = {key: definitions[key] for key in definitions}
        self._model = tf.saved_model.load(os.fspath(folder))  # keeps variables and tables alive
        self.signatures = {
            key: Signature(self.signature_defs[key], function)
            for key, function in self._model.signatures.items()
        }
        self._warm_up(folder / WARM_UP_FILE)

    def _warm_up(self, path: Path) -> None:
        if not path.is_file():
            return
        records = tf.data.TFRecordDataset(os.fspath(path)).as_numpy_iterator()
        for record in islice(records, _MAX_WARM_UP_RECORDS):
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if log.WhichOneof("log_type") != "predict_log":
                continue
            request = log.predict_log.request
            signature = self.signatures[request.model_spec.signature_name or DEFAULT_SIGNATURE]
            inputs = {name: tensors.to_array(proto) for name, proto in request.inputs.items()}
            signature.run(inputs, signature.outputs)


def _serving_graph(folder: Path) -> meta_graph_pb2.MetaGraphDef:
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    for graph in saved.meta_graphs:
        if tf.saved_model.SERVING in graph.meta_info_def.tags:
            return graph
    raise ValueError(f"{folder}: expected a SavedModel with a graph that is tagged 'serve'")


def _numpy_dtype(info: meta_graph_pb2.TensorInfo) -> np.dtype:
    return np.dtype(tf.as_dtype(info.dtype).as_numpy_dtype)


def _rank(info: meta_graph_pb2.TensorInfo) -> int | None:
    return None if info.tensor_shape.unknown_rank else len(info.tensor_shape.dim)


def _shapes(infos: Mapping[str, meta_graph_pb2.TensorInfo]) -> list[list[int]]:
    """The distinct shapes; that of unknown rank is empty."""
    shapes: list[list[int]] = []
    for info in infos.values():
        shape = [dim.size for dim in info.tensor_shape.dim]
        if shape not in shapes:
            shapes.append(shape)
    return shapes
