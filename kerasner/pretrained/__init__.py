"""The models that come with kerasner."""

from kerasner.pretrained.archives import names, pretrained

__all__ = ["names", "pretrained"]
