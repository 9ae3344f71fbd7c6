"""The central path of features already collapsed: when it reaches a radius."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from scipy.integrate import quad

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.validation import decay_strength, positive


def collapsed_path_time(start: float, radius: float, lambda_w: float, lambda_h: float) -> float:
    r"""Return when the flow from orthogonal collapsed features reaches a radius.

    From balanced H0 whose class means are :math:`h_0 R`, R of orthonormal rows, the flow stays
    there, with :math:`\dot h = \lambda_W h / (\lambda_W + h^2)^2 - \lambda_H h`. In
    :math:`s = \lambda_W + h^2` and :math:`\sigma = \sqrt{\lambda_W / \lambda_H}` its time is

    .. math:: \frac1{2 \lambda_H} \left[ \frac{\lambda_W^2 \ln h^2}{\sigma^2 - \lambda_W^2}
        - \frac{\sigma \ln |\sigma - s|}{2 (\sigma - \lambda_W)}
        - \frac{\sigma \ln (\sigma + s)}{2 (\sigma + \lambda_W)} \right]_{h_0}^{h}

    and for lambda_H = 0, where h grows for ever,

    .. math:: \left[ \lambda_W \ln h + h^2 + \frac{h^4}{4 \lambda_W} \right]_{h_0}^{h}

    Near lambda_W lambda_H = 1 and for small lambda_H the terms of the first cancel: what is
    computed is their integral, by quadrature, to a relative 1e-10 or to what a rounding of the
    radius changes, if that is more.

    Parameters
    ----------
    start, radius
        h at time 0 and at the time asked for, above 0; the flow must lead from one to the other.
    lambda_w
        Strength of the head's regularisation, above 0.
    lambda_h
        That of the features, at least 0.

    Returns
    -------
    float
        The time.

    Raises
    ------
    NeuralCollapseError
        If a number is not positive, or the radius is never reached.

    References
    ----------
    Ours; Tirer, Huang & Niles-Weed 2023, Equation 4, is the flow.

    Examples
    --------
    >>> from neuralcollapse.theory import collapsed_path_time
    >>> round(collapsed_path_time(start=1.0, radius=0.5, lambda_w=2.0, lambda_h=2.0), 6)
    0.411999
    """
    start, radius = positive("start", start), positive("radius", radius)
    lambda_w = decay_strength("lambda_w", lambda_w)
    lambda_h = decay_strength("lambda_h", lambda_h, or_zero=True)
    root_w, root_h = math.sqrt(lambda_w), math.sqrt(lambda_h)
    room = float(1 - Fraction(lambda_w) * Fraction(lambda_h))  # exactly, where it is nearly 0
    ahead = root_w * room / (1 + root_w * root_h)  # root_h (sigma - lambda_w)
    limit = ahead / root_h if root_h else math.inf  # of h^2

    def left(square: float) -> float:
        """Of the way to the limit, times root_h; below 0 from above."""
        return ahead - root_h * square

    sides = left(start**2), left(radius**2)
    if sides[0] * sides[1] <= 0 or ((radius > start) != (sides[0] > 0) and radius != start):
        expected = "a radius between the start and the limit of the flow"
        remedy = f"the squared radius tends to {max(0.0, limit):.6g}"
        raise NeuralCollapseError("radius", expected, f"{radius} from {start}", remedy)

    def far(log_growth: float) -> float:
        """Return dt / d ln h."""
        square = (start * math.exp(log_growth)) ** 2
        s = lambda_w + square
        return s * (s / (left(square) * (root_w + root_h * s)))

    def near(log_left: float) -> float:
        """Return -dt / d ln |limit - h^2|."""
        square = limit + (turn**2 - limit) * math.exp(log_left)
        s = lambda_w + square
        return s / square * (s / (2 * root_h * (root_w + root_h * s)))

    turn = radius  # where ln |limit - h^2| becomes the variable
    if 0 < limit < math.inf:
        half = math.sqrt(limit / 2 if radius > start else 2 * limit)
        turn = sorted((start, half, radius))[1]
    time = _integral(far, _log(turn / start, (turn - start) / start))
    if turn != radius:
        gone = (radius - turn) * (radius + turn) / (turn**2 - limit)
        time -= _integral(near, _log(left(radius**2) / left(turn**2), gone))
    return time


def _log(ratio: float, change: float) -> float:
    """Return ln(ratio), of a ratio less 1 that keeps its digits near 1, and may round to -1."""
    return math.log(ratio) if ratio < 0.5 else math.log1p(change)


def _integral(speed: Callable[[float], float], end: float) -> float:
    return float(quad(speed, 0.0, end, epsabs=0.0, epsrel=1e-11, limit=500)[0])
