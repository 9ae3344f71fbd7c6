"""Analysis of variance of a crossed design: which spread is due to alignment, and which to seed.

The model is that of random effects,
y_pso = mu + A_p + B_s + C_o(s) + (AB)_ps + E_pso,
for alignment p, seed s and order o of the data within the seed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from neuralcollapse.generalization.certificates.held_out import failure_probability
from neuralcollapse.validation import check_shape, finite_array, whole_number


def crossed_anova(values: Any) -> pd.DataFrame:
    r"""Return mean squares, variance components and F tests of a crossed design.

    .. math:: \hat\sigma_A^2 = \frac{MS_A - MS_{AB}}{b r}, \quad
        \hat\sigma_B^2 = \frac{MS_B - MS_{AB} - MS_C + MS_E}{a r}, \quad
        \hat\sigma_C^2 = \frac{MS_C - MS_E}{a}, \quad
        \hat\sigma_{AB}^2 = \frac{MS_{AB} - MS_E}{r}, \qquad F_A = MS_A / MS_{AB}

    The components are unbiased, hence not clipped: a negative one says that the true one is
    small. Under the null and normal effects, F of the alignment has the distribution
    F(a - 1, (a - 1)(b - 1)).

    Parameters
    ----------
    values
        (a, b, r) outcome of alignments, seeds and orders, a >= 2, b >= 2, r >= 1.

    Returns
    -------
    DataFrame
        Rows ``alignment``, ``seed``, ``order`` (within the seed), ``alignment x seed`` and
        ``error``; columns ``df``, ``mean_square``, ``variance`` (the component, unclipped), ``F``
        and ``p``. With one order the rows ``order`` and ``error`` are missing: the first is then
        part of the seed, the second of the interaction. The seed has no exact F test, so its
        ``F`` and ``p`` are NaN, as are those of a source with nothing to compare it with.

    Raises
    ------
    NeuralCollapseError
        If there are not three axes, or fewer than two alignments or seeds.
    NonFiniteError
        If an outcome is NaN or infinite.

    References
    ----------
    Searle, Casella & McCulloch 1992, "Variance components", chapter 4.

    Examples
    --------
    >>> from neuralcollapse.generalization import crossed_anova
    >>> y = [[[1.0], [2.0]], [[3.0], [6.0]]]
    >>> crossed_anova(y)["mean_square"].to_dict()
    {'alignment': 9.0, 'seed': 4.0, 'alignment x seed': 1.0}
    """
    y = _outcomes(values)
    a, b, r = y.shape
    grand, by_a, by_b = y.mean(), y.mean((1, 2)), y.mean((0, 2))
    cell, by_order = y.mean(2), y.mean(0)
    squares = {
        "alignment": b * r * _sum((by_a - grand) ** 2),
        "seed": a * r * _sum((by_b - grand) ** 2),
        "order": a * _sum((by_order - by_b[:, None]) ** 2),
        "alignment x seed": r * _sum((cell - by_a[:, None] - by_b + grand) ** 2),
        "error": _sum((y - cell[:, :, None] - by_order + by_b[:, None]) ** 2),
    }
    degrees = {
        "alignment": a - 1,
        "seed": b - 1,
        "order": b * (r - 1),
        "alignment x seed": (a - 1) * (b - 1),
        "error": (a - 1) * b * (r - 1),
    }
    used = [source for source, df in degrees.items() if df]
    mean = {source: squares[source] / degrees[source] for source in used}
    ms_a, ms_b, ms_ab = mean["alignment"], mean["seed"], mean["alignment x seed"]
    ms_c, ms_e = mean.get("order", 0.0), mean.get("error", 0.0)
    variance = {
        "alignment": (ms_a - ms_ab) / (b * r),
        "seed": (ms_b - ms_ab - ms_c + ms_e) / (a * r),
        "order": (ms_c - ms_e) / a,
        "alignment x seed": (ms_ab - ms_e) / r,
        "error": ms_e,
    }
    against = {"alignment": "alignment x seed", "order": "error", "alignment x seed": "error"}
    table = pd.DataFrame({"df": degrees, "mean_square": mean, "variance": variance}).loc[used]
    F, p = zip(*(_f_test(s, against.get(s), mean, degrees) for s in used), strict=True)
    return table.assign(F=F, p=p).rename_axis("source")


def ratio_interval(
    F: float, alignments: int, seeds: int, confidence: float = 0.95
) -> tuple[float, float]:
    r"""Return the exact limits of sigma_A / sigma_cell that an F value leaves open.

    .. math:: F / (1 + b\,\theta^2) \sim F(a-1, (a-1)(b-1)), \qquad
        \theta = \sigma_A / \sigma_{cell}, \quad \sigma_{cell}^2 = \sigma_{AB}^2 + \sigma_E^2 / r

    Parameters
    ----------
    F
        MS_A / MS_AB, as found.
    alignments, seeds
        a and b.
    confidence
        In (0, 1).

    Returns
    -------
    tuple of float
        Lower and upper limit; 0 where the data are compatible with no effect, NaN if F is.

    Raises
    ------
    NeuralCollapseError
        If the confidence is not in (0, 1).

    References
    ----------
    Searle, Casella & McCulloch 1992, "Variance components", section 3.6.

    Examples
    --------
    >>> low, high = ratio_interval(1.0, 12, 10)
    >>> low, round(high, 3)
    (0.0, 0.442)
    """
    tail = failure_probability(confidence) / 2
    df = alignments - 1, (alignments - 1) * (seeds - 1)
    low, high = (
        math.sqrt(max(F / stats.f.ppf(q, *df) - 1, 0.0) / seeds) if F == F else math.nan
        for q in (1 - tail, tail)
    )
    return low, high


def within_seed_permutation(values: Any, permutations: int = 2000, seed: int = 0) -> float:
    r"""Return the p-value of no main effect of alignment, by permuting alignments within seeds.

    Under the null that alignments are exchangeable within each seed, every assignment of the cell
    means of a seed to the alignments is equally likely; normality is not needed. The statistic is
    MS_A, which the permutations order as they do F_A. :math:`p = (c + 1) / (R + 1)` with c the
    number of R permutations that do not fall below it.

    Parameters
    ----------
    values
        (a, b, r) as in `crossed_anova`.
    permutations
        R >= 1.
    seed
        Of the permutations.

    Returns
    -------
    float
        In [1 / (R + 1), 1].

    Raises
    ------
    NeuralCollapseError
        If there is no permutation, or the values are not as in `crossed_anova`.
    NonFiniteError
        If an outcome is NaN or infinite: it would compare as if the data were unlike all others.

    References
    ----------
    Phipson & Smyth 2010, "Permutation p-values should never be zero".

    Examples
    --------
    >>> within_seed_permutation([[[1.0], [2.0]], [[1.0], [2.0]]])  # all permutations are equal
    1.0
    """
    whole_number("permutations", permutations)
    cell = _outcomes(values).mean(2)
    cell = cell - cell.mean(0)  # which no permutation within a seed changes
    rng = np.random.default_rng(seed)
    found = _sum(cell.sum(1) ** 2)
    reached = 1
    for first in range(0, permutations, 500):
        count = min(500, permutations - first)
        shuffled = rng.permuted(np.broadcast_to(cell, (count, *cell.shape)), axis=1)
        # Equal assignments must tie; rounding must not decide between them.
        reached += int((((shuffled.sum(2) ** 2).sum(1)) >= found * (1 - 1e-12)).sum())
    return reached / (permutations + 1)


def _outcomes(values: Any) -> np.ndarray:
    y = finite_array("values", values)
    remedy = "use crossed_design to make them from a table"
    check_shape("values", y, ("a >= 2", "b >= 2", "r >= 1"), remedy)
    return y


def _f_test(
    source: str, against: str | None, mean: dict[str, float], degrees: dict[str, int]
) -> tuple[float, float]:
    if against is None or against not in mean:
        return math.nan, math.nan
    if mean[against] == 0:
        return (math.nan, math.nan) if mean[source] == 0 else (math.inf, 0.0)
    ratio = mean[source] / mean[against]
    return ratio, float(stats.f.sf(ratio, degrees[source], degrees[against]))


def _sum(array: Any) -> float:
    return float(np.sum(array))
