"""Chance: a value that needs no knowledge, and its error bar."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

LUCK = 1e-4  # how rarely chance gets beyond its error bar
NORMAL = 3.72  # the quantile of a normal variable that is exceeded so rarely


class Chance(NamedTuple):
    """What chance gives.

    Attributes
    ----------
    value
        The mean; the median where there is no finite mean.
    bar
        How much nearer to the target one in ten thousand gets.
    """

    value: float
    bar: float


@lru_cache(maxsize=256)
def chi_bar(freedom: float) -> float:
    """Return how far below its mean a chi variable gets, as a share of it."""
    mean = math.sqrt(2) * math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
    return 1 - math.sqrt(chi_square_quantile(LUCK, freedom)) / mean


def chi_square_quantile(level: Any, freedom: float) -> Any:
    """Return the value that chi^2 of so many degrees of freedom stays below, level by level."""
    from scipy.special import gammaincinv

    return 2 * gammaincinv(freedom / 2, level)
