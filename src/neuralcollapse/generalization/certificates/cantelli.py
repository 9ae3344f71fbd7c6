"""Cantelli: the error that mean and variance of the margin allow for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization.certificates.held_out import (
    failure_probability,
    finite_margins,
    number_or_array,
)
from neuralcollapse.validation import positive


def cantelli_upper(margins: Any, ceiling: float, confidence: float = 0.95) -> Any:
    r"""Return an upper confidence bound on the error from mean and variance of clipped margins.

    .. math:: P(m \le 0) = P(c_m = 0) \le \frac{\sigma^2}{\sigma^2 + \mu^2}, \qquad
        c_m = \min(\max(m, 0), c)

    with mu the mean and sigma the deviation of the clipped margin, which are replaced by

    .. math:: \sigma_U = s + c \sqrt{\frac{2L}{n - 1}}, \quad
        \mu_L = \bar c_m - \sigma_U \sqrt{\frac{2L}{n}} - \frac{cL}{3n}, \quad
        L = \ln \frac2\delta

    With probability at least 1 - delta over n independent held-out samples both hold, and the
    error is at most this, whatever the distribution.

    Parameters
    ----------
    margins
        (..., n) held-out margins, n >= 2, in the units of a logit; each leading index is a sample
        with a bound of its own.
    ceiling
        c > 0, in the same units, chosen without a look at the held-out margins: such as the median
        training margin.
    confidence
        1 - delta, in (0, 1).

    Returns
    -------
    float or array of the leading shape
        In (0, 1]; 1 where the mean may be zero.

    Raises
    ------
    NeuralCollapseError
        If there are fewer than two margins, the ceiling is not above 0, or the confidence is not
        in (0, 1).
    NonFiniteError
        If a margin is NaN or infinite.

    Notes
    -----
    Ours; clipping at 0 does not change the event and keeps outliers from inflating the variance.

    References
    ----------
    Cantelli 1928; Maurer & Pontil 2009, Theorems 3 (Bernstein) and 10 (deviation).

    Examples
    --------
    >>> from neuralcollapse.generalization import cantelli_upper
    >>> round(cantelli_upper([2.0] * 1000, ceiling=2.0), 6)  # no spread seen in 1000 samples
    0.007458
    """
    level = math.log(2 / failure_probability(confidence))
    c = positive("ceiling", ceiling)
    clipped = np.clip(finite_margins("margins", margins), 0, c) / c
    n = clipped.shape[-1]
    if n < 2:
        raise NeuralCollapseError(
            "margins", "at least 2 samples for a variance", "1", "hold out more of the data"
        )
    deviation = clipped.std(-1, ddof=1) + math.sqrt(2 * level / (n - 1))
    mean = clipped.mean(-1) - deviation * math.sqrt(2 * level / n) - level / (3 * n)
    return number_or_array(_cantelli(mean, deviation**2))


def cantelli_plug_in(margins: Any) -> Any:
    r"""Return Cantelli's bound with the sample's own mean and variance: no certificate.

    .. math:: \frac{s^2}{s^2 + \bar m^2} \quad (\bar m > 0), \qquad \text{else } 1

    It bounds the share of errors in this very sample, and explains it by collapse: a small
    spread for its mean. It does not bound the error on new data: rare errors that the sample has
    missed leave no trace in s. The deeper the collapse, the further off it can be.

    Parameters
    ----------
    margins
        (..., n) margins.

    Returns
    -------
    float or array of the leading shape
        In [0, 1].

    Raises
    ------
    NeuralCollapseError
        If there is no margin.
    NonFiniteError
        If a margin is NaN or infinite.

    Examples
    --------
    >>> from neuralcollapse.generalization import cantelli_plug_in
    >>> cantelli_plug_in([1.0, 3.0])  # mean 2, variance 1
    0.200000
    """
    sample = finite_margins("margins", margins)
    largest = np.abs(sample).max()
    sample = sample / largest if largest else sample  # no square is lost, however large or small
    return number_or_array(_cantelli(sample.mean(-1), sample.var(-1)))


def _cantelli(mean: Any, variance: Any) -> np.ndarray:
    """Return variance / (variance + mean^2), and 1 where the mean is not above zero."""
    above = mean > 0
    return np.where(above, variance / np.where(above, variance + mean**2, 1.0), 1.0)
