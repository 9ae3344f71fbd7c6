"""How fast class means of fresh samples converge, and how often the nearest of them is wrong."""

from __future__ import annotations

import math

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.margin_scale import margin_ceiling
from neuralcollapse.validation import positive, whole_number


def center_deviation_probability(
    num_classes: int, num_samples: int, deviation: float, radius: float
) -> float:
    r"""Bound the probability that some class mean of fresh samples is far from the true one.

    .. math:: P\bigl(\max_y \|\hat\mu_y - \mu_y\| \ge t\bigr)
        \;\le\; 2 K \exp\Bigl(-\frac{n t^2}{2 \rho^2}\Bigr)

    Parameters
    ----------
    num_classes
        K >= 2.
    num_samples
        n >= 1 fresh samples of every class, independent of the features.
    deviation
        t > 0.
    radius
        rho > 0: every feature is within rho of its class's true mean.

    Returns
    -------
    float
        In (0, 1].

    Raises
    ------
    NeuralCollapseError
        If an argument is out of range.

    Notes
    -----
    Free of the dimension, where Gao et al. 2023, Theorem 4.10, have
    2 d exp(-n t^2 / (2 d^2 rho^2)), for training features, which are not independent.

    References
    ----------
    Pinelis 1994, "Optimum bounds for the distributions of martingales in Banach spaces",
    Theorem 3.5.

    Examples
    --------
    >>> from neuralcollapse.generalization import center_deviation_probability
    >>> round(center_deviation_probability(10, 100, deviation=0.5, radius=1.0), 8)  # 20 e^-12.5
    7.453e-05
    """
    margin_ceiling(num_classes)  # refuses K < 2
    n = whole_number("num_samples", num_samples)
    share = positive("deviation", deviation) / positive("radius", radius)
    share = min(share, 1e9)  # the exponential is 0 long before
    return min(1.0, 2 * num_classes * math.exp(-n * share**2 / 2))


def nearest_center_error_bound(
    num_classes: int, num_samples: int, distance: float, radius: float
) -> float:
    r"""Bound the expected error of the nearest class mean of fresh samples.

    .. math:: E\,P(\text{error}) \;\le\;
        2 K \exp\Bigl(-\frac{n (D - 2\rho)^2}{8 \rho^2}\Bigr), \qquad
        D = \min_{i \ne j} \|\mu_i - \mu_j\| > 2 \rho

    If no mean is off by (D - 2 rho) / 2, every point is nearer to its own. The rate is
    exponential only because D > 2 rho *assumes* that the classes do not meet, and that rho bounds
    all features there will ever be: then the true means make no error at all.

    Parameters
    ----------
    num_classes, num_samples, radius
        As in `center_deviation_probability`.
    distance
        D, least distance of two true class means; above 2 rho.

    Returns
    -------
    float
        In (0, 1].

    Raises
    ------
    NeuralCollapseError
        If D <= 2 rho, or an argument is out of range.

    References
    ----------
    Gao et al. 2023, Theorem 4.10, as corrected: fresh samples, Pinelis's inequality.

    Examples
    --------
    >>> from neuralcollapse.generalization import nearest_center_error_bound
    >>> round(nearest_center_error_bound(10, 100, distance=3.0, radius=1.0), 8)
    7.453e-05
    """
    rho = positive("radius", radius)
    gap = positive("distance", distance) - 2 * rho
    if gap <= 0:
        expected = f"more than twice the radius, {2 * rho:g}"
        remedy = "classes that may meet have no exponential rate"
        raise NeuralCollapseError("distance", expected, f"{distance:g}", remedy)
    return center_deviation_probability(num_classes, num_samples, gap / 2, rho)
