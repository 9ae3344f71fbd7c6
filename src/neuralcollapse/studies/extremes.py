"""Extremes of measured numbers that NaN cannot hide from: a claim that meets one must fail.

Python's own ``max(0.0, nan)`` is 0.0, so that the largest of some errors would look perfect.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np


def largest(*values: float) -> float:
    """Return the largest of the values; NaN if any is.

    Parameters
    ----------
    values
        At least one.

    Examples
    --------
    >>> largest(0.0, 2.0), largest(0.0, math.nan)
    (2.0, nan)
    """
    return float(np.max(values))


def smallest(*values: float) -> float:
    """Return the smallest of the values; NaN if any is.

    Parameters
    ----------
    values
        At least one.

    Examples
    --------
    >>> smallest(0.0, 2.0), smallest(0.0, math.nan)
    (0.0, nan)
    """
    return float(np.min(values))


def farthest(values: Iterable[float], expected: float = 1.0) -> float:
    """Return the value that is farthest from the one expected, NaN first: if it holds, all hold.

    Parameters
    ----------
    values
        At least one.
    expected
        The number that all should be near.

    Examples
    --------
    >>> farthest([0.9, 1.3, 1.1])
    1.3
    """
    return max(values, key=lambda value: (math.isnan(value), abs(value - expected)))
