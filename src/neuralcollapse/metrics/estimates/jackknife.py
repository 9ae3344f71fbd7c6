"""The delete-a-group jackknife: how far a value moves when a part of the samples is left out."""

from __future__ import annotations

import math
from collections.abc import Sequence

CONFIDENCE = 0.95


def standard_error(replicates: Sequence[float]) -> float:
    r"""Return the jackknife's standard error, sqrt((G-1)/G sum_g (theta_(-g) - mean)^2).

    Parameters
    ----------
    replicates
        The value without each of G >= 2 groups of samples.

    References
    ----------
    Tukey 1958; Shao & Tu 1995, "The Jackknife and Bootstrap", Section 2.3.

    Examples
    --------
    >>> round(standard_error([1.0, 2.0, 3.0]), 6)  # sqrt(2/3 (1 + 0 + 1))
    1.154701
    """
    mean = math.fsum(replicates) / len(replicates)
    return math.sqrt(
        (1 - 1 / len(replicates)) * math.fsum((value - mean) ** 2 for value in replicates)
    )


def interval(
    value: float, error: float, groups: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    r"""Return value -+ t_{G-1} error.

    Parameters
    ----------
    value
        Of all samples.
    error
        Its standard error.
    groups
        G.
    confidence
        In (0, 1).

    Examples
    --------
    >>> low, high = interval(1.0, 0.1, 16)
    >>> round(low, 4), round(high, 4)  # 2.1314 errors
    (0.7869, 1.2131)
    """
    from scipy.special import stdtrit

    half = float(stdtrit(groups - 1, (1 + confidence) / 2)) * error
    return value - half, value + half
