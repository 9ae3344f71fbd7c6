"""How a probability is written for a reader."""

from __future__ import annotations


def percent(probability: float) -> str:
    """Return a probability in per cent, to three digits.

    Parameters
    ----------
    probability
        In [0, 1].

    Examples
    --------
    >>> percent(0.95), percent(0.044163), percent(0.0)
    ('95 %', '4.42 %', '0 %')
    """
    return f"{100 * probability:.3g} %"
