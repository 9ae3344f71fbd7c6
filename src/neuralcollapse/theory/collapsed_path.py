"""The central path of features already collapsed: its time in closed form."""

from __future__ import annotations

import math
from fractions import Fraction

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

    continued to lambda_W lambda_H = 1, and for lambda_H = 0, where h grows for ever,

    .. math:: \left[ \lambda_W \ln h + h^2 + \frac{h^4}{4 \lambda_W} \right]_{h_0}^{h}

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
    positive("start", start), positive("radius", radius)
    lambda_w = decay_strength("lambda_w", lambda_w)
    lambda_h = decay_strength("lambda_h", lambda_h, or_zero=True)
    if not lambda_h:
        return _free_growth(start, radius, lambda_w)
    sigma = math.sqrt(lambda_w / lambda_h)
    room = float(1 - Fraction(lambda_w) * Fraction(lambda_h))  # exactly, where it is nearly 0
    limit = sigma * room / (1 + math.sqrt(lambda_w * lambda_h))  # sigma - lambda_w
    x0, x = start**2, radius**2
    sides = limit - x0, limit - x
    if sides[0] * sides[1] <= 0 or ((radius > start) != (sides[0] > 0) and radius != start):
        expected = "a radius between the start and the limit of the flow"
        remedy = f"the squared radius tends to {max(0.0, limit):.6g}"
        raise NeuralCollapseError("radius", expected, f"{radius} from {start}", remedy)
    # Differences of the logarithms, put together so that nothing cancels: neither where the limit
    # is near 0, of which 1/limit is a factor of two of them, nor where sigma is large.
    ends = 2 * lambda_w + x0 + x  # the sum of both s
    step = (x - x0) / (x0 * sides[1])
    growth = math.log1p(limit * step) / limit if limit * step else step
    approach = math.log1p((x - x0) / (sigma + lambda_w + x0)) - math.log1p((x0 - x) / sides[0])
    whole = math.log1p((x0 - x) * ends / (sides[0] * (sigma + lambda_w + x0)))
    weight = lambda_w / (sigma + lambda_w)
    return (weight * (lambda_w * growth + approach / 2) - whole / 2) / (2 * lambda_h)


def _free_growth(start: float, radius: float, lambda_w: float) -> float:
    if radius < start:
        raise NeuralCollapseError(
            "radius", f"a radius of at least {start}", str(radius), "without lambda_h it only grows"
        )

    def clock(h: float) -> float:
        return lambda_w * math.log(h) + h**2 + h**4 / (4 * lambda_w)

    return clock(radius) - clock(start)
