"""The margin bound at collapse: the best that training can make of it, and when it is below 1."""

from __future__ import annotations

import math

from neuralcollapse.generalization.certificates.held_out import failure_probability
from neuralcollapse.generalization.head_sample import rademacher_deviation
from neuralcollapse.generalization.margin_bound import MarginBound
from neuralcollapse.metrics.margin_scale import margin_ceiling
from neuralcollapse.validation import whole_number

MOST_CLASSES = 2**24  # which need some 2^52 samples


def collapsed_margin_bound(
    num_classes: int, num_samples: int, confidence: float = 0.95
) -> MarginBound:
    r"""Return the margin bound of a collapsed classifier, at its own margin.

    .. math:: \frac{4 (K-1)^{3/2}}{\sqrt{K n}} + 3 \sqrt{\frac{\ln(2/\delta)}{2n}}

    whatever the norms of head and features: the larger margin of larger norms is no gain. Training
    in the terminal phase can improve the bound this far and no further.

    Parameters
    ----------
    num_classes
        K >= 2.
    num_samples
        n >= 1.
    confidence
        1 - delta, in (0, 1).

    Returns
    -------
    MarginBound
        With `margin` in units of the scale tau, where it is K/(K-1).

    Raises
    ------
    NeuralCollapseError
        If an argument is out of range.

    Notes
    -----
    Ours. See `margin_bound` for the general one, and `informative_sample_size`.

    Examples
    --------
    >>> from neuralcollapse.generalization import collapsed_margin_bound
    >>> print(collapsed_margin_bound(10, 1000))
    error at most 120.9 % (vacuous) at 95 % confidence: 0 % below the margin,
    108 % complexity, 12.9 % deviation
    valid: it holds for every head on features that do not depend on this sample
    """
    whole_number("num_samples", num_samples)
    margin = margin_ceiling(num_classes)
    return MarginBound(
        empirical=0.0,
        complexity=4 * (num_classes - 1) ** 1.5 / math.sqrt(num_classes * num_samples),
        deviation=rademacher_deviation(num_samples, failure_probability(confidence)),
        margin=margin,
        num_samples=num_samples,
        num_classes=num_classes,
        confidence=confidence,
        fitted="head",
    )


def informative_sample_size(num_classes: int, confidence: float = 0.95) -> int:
    r"""Return the least n for which the margin bound is below 1 at collapse, about 16 K^2.

    .. math:: n > \Bigl(4 (K-1)^{3/2} K^{-1/2} + 3 \sqrt{\tfrac12 \ln\tfrac2\delta}\Bigr)^2

    No other margin of a collapsed classifier needs fewer samples: below its own the complexity
    grows, above it the ramp loss grows by more than the complexity falls.

    Parameters
    ----------
    num_classes
        K from 2 to 2^24: of more, a double does not count the samples exactly.
    confidence
        1 - delta, in (0, 1).

    Returns
    -------
    int
        n.

    Raises
    ------
    NeuralCollapseError
        If an argument is out of range.

    Notes
    -----
    Ours.

    Examples
    --------
    >>> from neuralcollapse.generalization import informative_sample_size
    >>> [informative_sample_size(K) for K in (2, 10, 100, 1000)]
    [48, 1462, 158476, 15984611]
    """
    num_classes = whole_number("num_classes", num_classes, 2, MOST_CLASSES)
    single = collapsed_margin_bound(num_classes, 1, confidence)
    n = math.floor(single.bound**2) + 1
    # Both parts fall like 1/sqrt(n); the formula itself decides what rounding left open.
    while not collapsed_margin_bound(num_classes, n, confidence).vacuous and n > 1:
        n -= 1
    while collapsed_margin_bound(num_classes, n, confidence).vacuous:
        n += 1
    return n
