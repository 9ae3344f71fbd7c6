"""Clopper-Pearson: the largest error that the number of errors seen does not contradict."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import betainccinv

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization.certificates.held_out import (
    failure_probability,
    number_or_array,
)


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
        If a count is no whole number, n < 1, k is not in 0..n, or the confidence not in (0, 1).

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
    delta = failure_probability(confidence)
    k, n = np.broadcast_arrays(errors, num_samples)
    whole = np.issubdtype(k.dtype, np.integer) and np.issubdtype(n.dtype, np.integer)
    if not whole or (n < 1).any() or (k < 0).any() or (k > n).any():
        expected = "whole numbers 0 <= errors <= num_samples, num_samples >= 1"
        got = f"errors = {errors}, num_samples = {num_samples}"
        remedy = "count the held-out samples and the errors among them"
        raise NeuralCollapseError("errors", expected, got, remedy)
    # At k = n there is nothing left to invert; the other arguments are only kept in range there.
    return number_or_array(np.where(k == n, 1.0, betainccinv(k + 1.0, np.maximum(n - k, 1), delta)))
