"""The margin ramp: a certificate from margins, not only from which of them are negative."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import rel_entr

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization.certificates.held_out import (
    failure_probability,
    finite_margins,
    number_or_array,
)
from neuralcollapse.validation import finite_array

HALVINGS = 60  # of an interval within [0, 1]: to its last float64 digit


def margin_ramp_upper(margins: Any, thresholds: Any, confidence: float = 0.95) -> Any:
    r"""Return an upper confidence bound on the error from the squared ramp of held-out margins.

    .. math:: 1\{m \le 0\} \le r_t(m) = \Bigl(1 - \frac{\min(\max(m, 0), t)}{t}\Bigr)^2, \qquad
        U = \min_{t \in T} \sup \bigl\{p : n \, \mathrm{kl}(\bar r_t \,\|\, p) \le
        \ln (|T| / \delta)\bigr\}

    With probability at least 1 - delta over n independent held-out samples the error is at most U,
    whatever the distribution. It rests on how large the margins are, but cannot beat
    `clopper_pearson_upper`: the ramp is at least the count, and Chernoff's bound at most exact.

    Parameters
    ----------
    margins
        (..., n) held-out margins, in the units of a logit; each leading index is a sample with a
        bound of its own.
    thresholds
        (G,) values t > 0, in the same units, chosen without a look at the held-out margins:
        such as the median training margin, halved up to four times.
    confidence
        1 - delta, in (0, 1).

    Returns
    -------
    float or array of the leading shape
        U in (0, 1].

    Raises
    ------
    NeuralCollapseError
        If there is no margin, a threshold is not above 0, or the confidence is not in (0, 1).
    NonFiniteError
        If a margin is NaN or infinite.

    Notes
    -----
    Ours, by Chernoff's bound for variables in [0, 1] and a union over the thresholds. The least of
    the unclipped mean of (1 - m/t)^2 over all t is Cantelli's s^2 / (s^2 + mu^2).

    References
    ----------
    Hoeffding 1963, Theorem 1 (Chernoff's bound for means of variables in [0, 1]).

    Examples
    --------
    >>> from neuralcollapse.generalization import margin_ramp_upper
    >>> round(margin_ramp_upper([2.0] * 100, thresholds=[1.0]), 6)  # no error: 1 - 0.05^(1 / 100)
    0.029513
    >>> round(margin_ramp_upper([2.0] * 99 + [0.5], thresholds=[1.0]), 6)
    0.038631
    """
    delta = failure_probability(confidence)
    sample = finite_margins("margins", margins)
    grid = finite_array("thresholds", thresholds)
    if grid.ndim != 1 or not grid.size or (grid <= 0).any():
        expected = "one or more finite numbers above 0"
        remedy = "choose them from the training margins"
        raise NeuralCollapseError("thresholds", expected, str(thresholds), remedy)
    ramps = [np.square(1 - np.clip(sample, 0, t) / t).mean(-1) for t in grid]
    # The bound rises with the mean: the least mean of the ramps gives the least bound.
    return number_or_array(
        _kl_upper(np.minimum.reduce(ramps), math.log(grid.size / delta) / sample.shape[-1])
    )


def _kl_upper(mean: Any, divergence: float) -> np.ndarray:
    """Return the largest p with kl(mean || p) <= divergence, rounded up."""
    low, high = np.asarray(mean), np.ones(np.shape(mean))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        below = rel_entr(mean, middle) + rel_entr(1 - mean, 1 - middle) <= divergence
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return high
