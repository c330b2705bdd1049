"""Exporting models for TensorFlow Serving, and the clients of such a server."""

from typing import TYPE_CHECKING, Any

from kerasner.serving.export import export

if TYPE_CHECKING:
    from kerasner.serving.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client", "export"]


def __getattr__(name: str) -> Any:
    if name in ("AsyncClient", "Client"):  # an export need not wait for gRPC
        from kerasner.serving import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
