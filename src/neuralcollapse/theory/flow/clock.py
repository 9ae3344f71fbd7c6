"""The clock of the rescaled flow: how much ordinary time a step in s took.

t is never formed, only log t: a step of the flow may multiply t by e^1000.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial.legendre import leggauss
from numpy.polynomial.polynomial import polyval

_NODES, _WEIGHTS = leggauss(10)


@dataclass(frozen=True)
class ClockReading:
    """What the clock needs of one state.

    Attributes
    ----------
    level
        x = -log L, which the flow raises.
    pace
        w = 1 / |grad log L|^2, so that dx = ds / w and dt = w e^x dx.
    slope
        dw/dx.
    """

    level: float
    pace: float
    slope: float


def advance_clock(log_t: float, start: ClockReading, end: ClockReading) -> float:
    r"""Return log t at `end`, given log t at `start`.

    .. math:: t_1 = t_0 + \int_{x_0}^{x_1} e^x w(x) \, dx

    w varies slowly while e^x does not, so w is replaced by its cubic Hermite interpolant and the
    exponential is integrated exactly (long steps) or to rounding (short ones, where the closed
    form would cancel). NaN where the loss did not fall or
    the interpolant is not positive: the step was too long.
    """
    width = end.level - start.level
    if not width > 0:
        return np.nan
    cubic = _cubic_backward(start, end, width)
    if width > 1:
        derivatives = [np.polynomial.polynomial.polyder(cubic, order) for order in range(4)]
        antiderivative = [sum(polyval(u, p) for p in derivatives) for u in (0.0, width)]
        integral = antiderivative[0] - np.exp(-width) * antiderivative[1]
    else:
        u = width * (_NODES + 1) / 2
        integral = width / 2 * (_WEIGHTS @ (np.exp(-u) * polyval(u, cubic)))
    if not integral > 0:
        return np.nan
    return float(np.logaddexp(log_t, end.level + np.log(integral)))


def _cubic_backward(start: ClockReading, end: ClockReading, width: float) -> np.ndarray:
    """Return the coefficients of the Hermite cubic of the pace in u = x_1 - x."""
    secant = (start.pace - end.pace) / width
    return np.array(
        [
            end.pace,
            -end.slope,
            (3 * secant + 2 * end.slope + start.slope) / width,
            (-2 * secant - end.slope - start.slope) / width**2,
        ]
    )
