"""The one error that a request is answered with, whichever protocol it came by."""

import grpc


class ServingError(Exception):
    """A request that cannot be answered.

    Args:
        code: as TensorFlow Serving would give.
        message: for the client.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> ServingError:
    """INVALID_ARGUMENT, the most frequent of them."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
