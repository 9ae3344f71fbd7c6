"""The floor: the least that a method can promise without assumptions on the data."""

from __future__ import annotations

import math

from neuralcollapse.generalization.certificates.held_out import failure_probability
from neuralcollapse.validation import whole_number


def distribution_free_floor(num_samples: int, confidence: float = 0.95) -> float:
    r"""Return a lower limit of the median of every distribution-free upper bound on the error.

    .. math:: \mathrm{median}\, U \;\ge\; 1 - (2 \delta)^{1/n} \;\approx\; \ln(1 / 2\delta) / n

    It holds for each data distribution P, also one without any error, and for every U that is an
    upper bound with probability 1 - delta under all distributions. Proof: mix in misclassified
    samples with probability p. The sample has none of them with probability (1 - p)^n, so that
    P(U < p) (1 - p)^n <= delta, hence P(U < p) <= 1/2 as long as (1 - p)^n >= 2 delta.

    So no measure of collapse on n samples, however deep, certifies less: what it says beyond the
    count of errors comes from an assumption.

    Parameters
    ----------
    num_samples
        n >= 1, held-out samples.
    confidence
        1 - delta, in (0, 1).

    Returns
    -------
    float
        In [0, 1); 0 where the confidence is at most 1/2.

    Raises
    ------
    NeuralCollapseError
        If n < 1 or the confidence is not in (0, 1).

    Notes
    -----
    Ours. A bound that beats it is not wrong, but it is then no bound for some distribution.

    Examples
    --------
    >>> from neuralcollapse.generalization import distribution_free_floor
    >>> round(distribution_free_floor(100), 6)  # ln(10) / 100 = 0.0230
    0.022763
    """
    delta = failure_probability(confidence)
    size = whole_number("num_samples", num_samples)
    return max(0.0, -math.expm1(math.log(2 * delta) / size))
