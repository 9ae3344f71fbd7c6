"""The unit vector with the largest least inner product with several rows, with a proof."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from neuralcollapse.validation import Array

ROUND_OFF = 1e-10  # of the longest row: a shorter hull point counts as 0
AGREEMENT = 1e-13  # of the longest row: bounds this close are one value
# If many rivals tie, the active-set solver can stop early; the first jitter that breaks the tie
# is enough.
JITTERS = (0.0, 1e-15, 1e-14, 1e-13)


def largest_least_product(rows: Array, nonnegative: bool = False) -> tuple[float, float, Array]:
    r"""Return the largest least product with the rows, its dual bound, and the unit vector.

    .. math:: \max_{\|z\| \le 1} \min_j \langle a_j, z \rangle
        = \min_{\lambda \in \Delta} \| A^\top \lambda \|

    with the positive part of :math:`A^\top \lambda` where z must be non-negative. The least
    distance problem min ||z||, A z >= 1, is one of non-negative least squares (Lawson & Hanson
    1974, chapter 23), solved by active sets in finitely many steps.
    """
    largest = float(np.abs(rows).max(initial=0.0))  # whose square need not be a double
    nothing = np.zeros(rows.shape[1])
    if largest == 0:
        return 0.0, 0.0, nothing
    scale = largest * float(np.linalg.norm(rows / largest, axis=1).max())
    unit = rows / scale
    lower, upper, direction = 0.0, np.inf, nothing
    noise = np.random.default_rng(0).standard_normal(rows.shape)
    for jitter in JITTERS:
        # Both bounds are computed from the exact rows, so they hold for any jitter.
        weights = _dual_weights(unit + jitter * noise, nonnegative)
        point = weights @ unit
        if nonnegative:
            point = np.maximum(point, 0.0)
        length = float(np.linalg.norm(point))
        upper = min(upper, length)
        if length > ROUND_OFF and (least := float((unit @ point).min()) / length) > lower:
            lower, direction = least, point / length
        if upper <= max(lower + AGREEMENT, ROUND_OFF):
            break
    return scale * lower, scale * upper, direction


def _dual_weights(rows: Array, nonnegative: bool) -> Array:
    num, dim = rows.shape
    slack = np.eye(dim) if nonnegative else np.empty((dim, 0))
    ones = np.r_[np.ones(num), np.zeros(slack.shape[1])]
    system = np.vstack([np.hstack([rows.T, slack]), ones])
    multipliers, _ = nnls(system, np.r_[np.zeros(dim), 1.0], maxiter=100 * (num + dim))
    return multipliers[:num] / multipliers[:num].sum()
