"""The width multiplier of the networks."""

from __future__ import annotations


def scaled(units: int, width: float) -> int:
    """Return a number of units or channels times the width multiplier, rounded, at least 1.

    Parameters
    ----------
    units
        At width 1.
    width
        The multiplier, above 0.

    Examples
    --------
    >>> scaled(256, 0.25), scaled(32, 0.001)
    (64, 1)
    """
    return max(1, round(units * width))
