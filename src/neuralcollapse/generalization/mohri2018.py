"""The margin bound of the textbook, to hold ours beside."""

from __future__ import annotations

import math
from typing import Any

from neuralcollapse.generalization.certificates.held_out import failure_probability
from neuralcollapse.generalization.head_sample import HeadSample
from neuralcollapse.generalization.margin_bound import MarginBound
from neuralcollapse.generalization.validity import Fitted, check_fitted
from neuralcollapse.validation import positive


def mohri_margin_bound(
    features: Any,
    labels: Any,
    weight: Any,
    bias: Any = None,
    *,
    relative_margin: float,
    fitted: Fitted,
    radius: float | None = None,
    confidence: float = 0.95,
) -> MarginBound:
    r"""Bound the error by the margins of this sample, as the textbook does.

    .. math:: P(m \le 0) \;\le\; \frac1n \#\{m_i < g\}
        + \frac{4 K r \|W_c\|_F}{g \sqrt n} + \sqrt{\frac{\ln(1/\delta)}{2n}}

    Linear in K where `margin_bound` has sqrt(K-1), and with the radius r of the features' support
    where that has their root mean square.

    Parameters
    ----------
    features, labels, weight, bias, relative_margin, fitted, confidence
        As in `margin_bound`; g = relative_margin ||W_c||_F.
    radius
        r, an upper bound on the norm of every feature there can be. If omitted, the largest of
        the sample, with which this is a comparison and no bound.

    Returns
    -------
    MarginBound
        The bound and its parts.

    Raises
    ------
    NonFiniteError, NeuralCollapseError
        As in `margin_bound`.

    References
    ----------
    Mohri, Rostamizadeh & Talwalkar 2018, "Foundations of Machine Learning", 2nd ed., Corollary 9.4.

    Examples
    --------
    >>> from neuralcollapse.geometry import simplex_etf
    >>> vertices, labels = simplex_etf(2, 4, "axis"), [0, 1] * 500
    >>> setting = {"relative_margin": 2**0.5, "fitted": "head", "radius": 1.0}
    >>> round(mohri_margin_bound(vertices[labels], labels, vertices, **setting).bound, 4)
    0.2176
    """
    check_fitted(fitted)
    sample = HeadSample.of(features, labels, weight, bias)
    rho, delta = positive("relative_margin", relative_margin), failure_probability(confidence)
    if radius is None:
        reach = float(sample.features.norm(dim=1).max())
    else:
        reach = positive("radius", radius)
    n, K, margin = sample.num_samples, sample.num_classes, rho * sample.head_norm
    return MarginBound(
        empirical=float((sample.margins < margin).double().mean()),
        complexity=4 * K * reach / (rho * math.sqrt(n)),
        deviation=math.sqrt(math.log(1 / delta) / (2 * n)),
        margin=margin,
        num_samples=n,
        num_classes=K,
        confidence=confidence,
        fitted=fitted,
    )
