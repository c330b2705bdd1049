"""Tagging learnt from a few sentences: support vector machines over features of tokens."""

from kerasner.few_shot.machines import SupportVectorMachines
from kerasner.few_shot.network import SvmNetwork

__all__ = ["SupportVectorMachines", "SvmNetwork"]
