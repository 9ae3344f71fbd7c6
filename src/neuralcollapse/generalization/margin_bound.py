"""The multi-class margin bound with explicit constants: at one margin, and at all at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from neuralcollapse.generalization.certificates.held_out import failure_probability
from neuralcollapse.generalization.head_sample import (
    MAX_LOG2,
    HeadSample,
    grid_weight,
    rademacher_deviation,
    ramp_loss,
)
from neuralcollapse.generalization.validity import Fitted, FittedBound, check_fitted
from neuralcollapse.validation import positive
from neuralcollapse.wording import at_least, at_most


@dataclass(frozen=True)
class MarginBound(FittedBound):
    """An upper bound on the error of a linear head on new data, in its three parts.

    Attributes
    ----------
    empirical
        Mean ramp loss of the sample, at most its share of margins below `margin`.
    complexity
        What the choice among all heads may cost.
    deviation
        What chance may cost, at this confidence.
    margin
        g at which the sample was judged, in logits.
    num_samples, num_classes
        n and K.
    confidence
        Probability, over the sample, that the bound is right.
    fitted
        What was fitted on this very sample: ``"nothing"``, ``"head"`` or ``"network"``.

    Examples
    --------
    >>> from neuralcollapse.generalization.margin_bound import MarginBound
    >>> print(MarginBound(0.01, 0.25, 0.06, 2.0, 5000, 10, 0.95, "head"))
    error at most 32 % at 95 % confidence: 1 % below the margin,
    25 % complexity, 6 % deviation
    valid: it holds for every head on features that do not depend on this sample
    """

    empirical: float
    complexity: float
    deviation: float
    margin: float
    num_samples: int
    num_classes: int
    confidence: float
    fitted: Fitted

    @property
    def bound(self) -> float:
        """The bound, the sum of its parts; above 1 it says nothing."""
        return self.empirical + self.complexity + self.deviation

    def __str__(self) -> str:
        vacuous = " (vacuous)" if self.vacuous else ""
        return (
            f"error at most {at_most(self.bound)}{vacuous} at {at_least(self.confidence)} "
            f"confidence: {at_most(self.empirical)} below the margin,\n"
            f"{at_most(self.complexity)} complexity, {at_most(self.deviation)} deviation\n"
            f"{self.validity}"
        )


def margin_bound(
    features: Any,
    labels: Any,
    weight: Any,
    bias: Any = None,
    *,
    relative_margin: float,
    fitted: Fitted,
    confidence: float = 0.95,
) -> MarginBound:
    r"""Bound the error on new data by the margins of this sample, at a margin fixed beforehand.

    .. math:: P(m \le 0) \;\le\; \frac1n \sum_i \min\bigl(1, (1 - m_i/g)_+\bigr)
        + \frac{4 \sqrt{K-1} \, \|W_c\|_F \|Z\|_F}{g\, n} + 3 \sqrt{\frac{\ln(2/\delta)}{2n}}

    with probability at least 1 - delta over n independent samples, for all heads at once. W_c are
    the rows of the head less their mean, Z the features (both with the bias as one more column),
    and g = rho ||W_c||_F with rho fixed before the sample is seen. A tie counts as an error.

    Parameters
    ----------
    features
        (n, d) of the sample, finite. They must not depend on it, see `fitted`.
    labels
        (n,) in 0..K-1.
    weight, bias
        (K, d) and (K,) of the head, K >= 2; the head may have been fitted on the sample.
    relative_margin
        rho > 0, in the units of the features.
    fitted
        What was fitted on this very sample: ``"nothing"``, the ``"head"``, or the whole
        ``"network"``. With the last the bound is not valid; the result says so.
    confidence
        1 - delta, in (0, 1).

    Returns
    -------
    MarginBound
        The bound and its parts.

    Raises
    ------
    NonFiniteError
        If an entry is NaN or infinite.
    NeuralCollapseError
        If a shape, a label, the margin or the confidence is out of range.

    Notes
    -----
    The constants are ours: the ramp of the multi-class margin is sqrt(2)/g-Lipschitz in the
    logits, and the contraction inequality for vectors gives the rest. Only rho matters because
    neither side changes when head and g are scaled alike.

    References
    ----------
    Gao et al. 2023, Theorem 4.4 and Corollary 4.5, have the form, per pair of classes, without
    constants (see `pair_margin_bound`). Maurer 2016, "A vector-contraction inequality for
    Rademacher complexities"; Mohri, Rostamizadeh & Talwalkar 2018, Theorem 3.3.

    Examples
    --------
    >>> from neuralcollapse.generalization import margin_bound
    >>> from neuralcollapse.geometry import simplex_etf
    >>> vertices, labels = simplex_etf(2, 4, "axis"), [0, 1] * 500
    >>> bound = margin_bound(
    ...     vertices[labels], labels, vertices, relative_margin=2**0.5, fitted="head"
    ... )
    >>> round(bound.bound, 4), bound.vacuous
    (0.2183, False)
    """
    check_fitted(fitted)
    sample = HeadSample.of(features, labels, weight, bias)
    rho = positive("relative_margin", relative_margin)
    return _bound(sample, rho, failure_probability(confidence), confidence, fitted)


def uniform_margin_bound(
    features: Any,
    labels: Any,
    weight: Any,
    bias: Any = None,
    *,
    fitted: Fitted,
    feature_scale: float = 1.0,
    confidence: float = 0.95,
) -> MarginBound:
    r"""Bound the error on new data by the margins of this sample, at the best of all margins.

    `margin_bound` at every :math:`\rho_k = s\, 2^k`, with :math:`\delta_k = \delta / (C (1 +
    |k|)^2)` and :math:`C = \pi^2/3 - 1`, hold together with probability 1 - delta, for all heads;
    the least with :math:`|k| \le 30` is returned.

    Parameters
    ----------
    features, labels, weight, bias, fitted, confidence
        As in `margin_bound`.
    feature_scale
        s > 0, a guess at the norm of the features made without this sample. The closer, the
        better the bound, by a logarithm.

    Returns
    -------
    MarginBound
        The bound and its parts, at the best margin.

    Raises
    ------
    NonFiniteError, NeuralCollapseError
        As in `margin_bound`.

    Notes
    -----
    Ours.

    Examples
    --------
    >>> from neuralcollapse.generalization import uniform_margin_bound
    >>> from neuralcollapse.geometry import simplex_etf
    >>> vertices, labels = simplex_etf(2, 4, "axis"), [0, 1] * 500
    >>> round(uniform_margin_bound(vertices[labels], labels, vertices, fitted="head").bound, 4)
    0.2691
    """
    check_fitted(fitted)
    sample, delta = HeadSample.of(features, labels, weight, bias), failure_probability(confidence)
    scale = positive("feature_scale", feature_scale)
    bounds = (
        _bound(sample, scale * 2.0**k, delta * grid_weight(k), confidence, fitted)
        for k in range(-MAX_LOG2, MAX_LOG2 + 1)
    )
    return min(bounds, key=lambda one: one.bound)


def _bound(
    sample: HeadSample, rho: float, delta: float, confidence: float, fitted: Fitted
) -> MarginBound:
    n, K = sample.num_samples, sample.num_classes
    margin = rho * sample.head_norm
    return MarginBound(
        empirical=ramp_loss(sample.margins, margin),
        complexity=4 * math.sqrt(K - 1) * sample.feature_norm / (rho * n),
        deviation=rademacher_deviation(n, delta),
        margin=margin,
        num_samples=n,
        num_classes=K,
        confidence=confidence,
        fitted=fitted,
    )
