"""The width multiplier of the networks."""

from __future__ import annotations

from neuralcollapse.errors import NeuralCollapseError

MOST_UNITS = 10**6  # a square matrix of so many in float32 takes 4 TB


def scaled(units: int, width: float) -> int:
    """Return a number of units or channels times the width multiplier, rounded, at least 1.

    Parameters
    ----------
    units
        At width 1.
    width
        The multiplier, above 0.

    Raises
    ------
    NeuralCollapseError
        If that is more than a million.

    Examples
    --------
    >>> scaled(256, 0.25), scaled(32, 0.001)
    (64, 1)
    """
    if units * width > MOST_UNITS:
        expected = f"at most {MOST_UNITS / units:g}, a million units or channels in a layer"
        raise NeuralCollapseError("width", expected, f"{width:g}", "choose a narrower network")
    return max(1, round(units * width))
