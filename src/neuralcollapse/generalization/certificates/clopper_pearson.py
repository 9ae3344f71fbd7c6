"""Clopper-Pearson: the largest error that the number of errors seen does not contradict."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import betaincc, betainccinv, betaln, xlog1py, xlogy

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization.certificates.held_out import (
    failure_probability,
    number_or_array,
)
from neuralcollapse.validation.counts import MOST


def clopper_pearson_upper(errors: Any, num_samples: Any, confidence: float = 0.95) -> Any:
    r"""Return the exact upper confidence bound on an error probability, from a count of errors.

    .. math:: U(k) = \sup \{p : P(\mathrm{Bin}(n, p) \le k) \ge \delta\}
        = I^{-1}_{1-\delta}(k + 1, n - k), \qquad U(n) = 1

    With probability at least 1 - delta over n independent held-out samples, the classifier's error
    is at most U, whatever the distribution of the data.

    Parameters
    ----------
    errors
        k in 0..n, whole numbers, any shape.
    num_samples
        n >= 1, held-out samples; broadcast against `errors`.
    confidence
        1 - delta, in (0, 1).

    Returns
    -------
    float or array of the shape of the counts
        U in (0, 1].

    Raises
    ------
    NeuralCollapseError
        If a count is no whole number, n is not in 1..2^53, k is not in 0..n, or the confidence not
        in (0, 1).

    References
    ----------
    Clopper & Pearson 1934; Langford 2005, "Tutorial on practical prediction theory for
    classification", the test set bound.

    Examples
    --------
    >>> from neuralcollapse.generalization import clopper_pearson_upper
    >>> round(clopper_pearson_upper(0, 100), 6)  # 1 - 0.05^(1 / 100)
    0.029513
    >>> clopper_pearson_upper([1, 3], 3).round(4)
    array([0.8646, 1.    ])
    """
    return count_upper(errors, num_samples, failure_probability(confidence))


def count_upper(errors: Any, num_samples: Any, delta: float) -> Any:
    """Return the bound of `clopper_pearson_upper` from delta, which 1 - delta would round.

    Parameters
    ----------
    errors, num_samples
        As there.
    delta
        Probability in (0, 1) at which the bound may fail, such as a share of another's.

    Examples
    --------
    >>> round(count_upper(0, 100, 1e-20), 6)  # 1 - 1e-20^(1 / 100)
    0.369043
    """
    k, n = np.broadcast_arrays(errors, num_samples)
    whole = np.issubdtype(k.dtype, np.integer) and np.issubdtype(n.dtype, np.integer)
    if not whole or (n < 1).any() or (k < 0).any() or (k > n).any() or (n > MOST).any():
        expected = "whole numbers 0 <= errors <= num_samples <= 2^53, num_samples >= 1"
        got = f"errors = {errors}, num_samples = {num_samples}"
        remedy = "count the held-out samples and the errors among them"
        raise NeuralCollapseError("errors", expected, got, remedy)
    # At k = n there is nothing left to invert; the other arguments are only kept in range there.
    a, b = k + 1.0, np.maximum(n - k, 1.0)
    upper = betainccinv(a, b, delta)
    for _ in range(2):  # of billions of samples SciPy's inverse is off by up to 5e-8 of itself
        density = np.exp(xlogy(k, upper) + xlog1py(b - 1, -upper) - betaln(a, b))
        there = density > 0
        upper += np.where(there, betaincc(a, b, upper) - delta, 0) / np.where(there, density, 1)
    off = 1e-12 * np.clip(n / 1e7, 1, 100) * upper * (1 - upper)  # at most, beside the last digit
    safe = np.nextafter(upper + off, 1)
    return number_or_array(np.where(k == n, 1.0, np.minimum(safe, 1)))
