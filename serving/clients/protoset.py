"""Writes the services' definitions to a file, for tools that need them.

    python serving/clients/protoset.py serving.protoset

TensorFlow Serving has no gRPC reflection, and the Python package `tensorflow-serving-api` brings
the definitions in compiled form alone. The file serves grpcurl (`-protoset`) and protoc
(`--descriptor_set_in`) instead of a checkout of two repositories. The names of what is in it are
printed, as protoc wants them.
"""

import argparse
import contextlib
import importlib
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool

_SERVICES = ("prediction_service", "model_service")


def protoset() -> descriptor_pb2.FileDescriptorSet:
    """PredictionService, ModelService and all that they use, which comes first."""
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}

    def add(file) -> None:
        if file.name not in files:
            for needed in file.dependencies:
                add(needed)
            files[file.name] = descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb)

    for name in _SERVICES:
        # Release 2.15 has modules that protobuf 4 cannot finish; the definition is in by then.
        with contextlib.suppress(AttributeError):
            importlib.import_module(f"tensorflow_serving.apis.{name}_pb2")
        pool = descriptor_pool.Default()
        add(pool.FindFileByName(f"tensorflow_serving/apis/{name}.proto"))
    return descriptor_pb2.FileDescriptorSet(file=files.values())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    definitions = protoset()
    parser.parse_args().path.write_bytes(definitions.SerializeToString())
    print("\n".join(file.name for file in definitions.file))
