"""A small model server that speaks TensorFlow Serving's gRPC and REST: `kerasner serve`."""
