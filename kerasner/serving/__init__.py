"""Exporting models for TensorFlow Serving."""

from kerasner.serving.export import export

__all__ = ["export"]
