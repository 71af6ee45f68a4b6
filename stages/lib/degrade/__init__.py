"""Degradations of aligned faces: each face draws its own parameters, and they are recorded.

A degraded face depends on its pixels, its landmarks, its id and the seed, and on nothing else: not on the
batch it came in, its place there, or the number of workers.
"""

from stages.lib.degrade.chain import Degraded, degrade, relabel, replay, training_variant
from stages.lib.degrade.operator import Operator
from stages.lib.degrade.registry import OPERATORS

__all__ = ["OPERATORS", "Degraded", "Operator", "degrade", "relabel", "replay", "training_variant"]
