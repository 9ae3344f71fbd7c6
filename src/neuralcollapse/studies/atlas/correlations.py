"""Rank correlations within strata, with intervals and a price for how many were tried."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from statsmodels.stats.multitest import multipletests

from neuralcollapse.validation import Array


def stratified_correlations(
    table: pd.DataFrame,
    causes: Sequence[str],
    effects: Sequence[str],
    strata: Sequence[str],
    resamples: int = 2000,
) -> pd.DataFrame:
    r"""Correlate each cause with each effect by ranks within strata.

    .. math:: \rho = \operatorname{corr}(u, v), \qquad u_i = \frac{r_i - 1/2}{n_s} - \frac12

    with r_i the rank of network i among the n_s of its stratum s: Spearman's correlation where
    there is one stratum. Differences between strata do not enter.

    Parameters
    ----------
    table
        One network per row.
    causes, effects, strata
        Names of its columns.
    resamples
        Number of bootstrap samples and of permutations, both drawn within strata.

    Returns
    -------
    DataFrame
        ``cause``, ``effect``, ``rho``, ``low`` and ``high`` (95 % bootstrap interval, for each pair
        alone), ``p`` (permutation, two-sided), ``p_holm`` (corrected for all pairs, Holm 1979),
        ``n``. Where a column is constant, ``rho`` is NaN and ``p`` is 1.
    """
    random = np.random.default_rng(0)
    groups = [np.asarray(rows) for rows in table.groupby(list(strata)).indices.values()]
    rows = []
    for cause, effect in itertools.product(causes, effects):
        x, y = (table[name].to_numpy(float) for name in (cause, effect))
        rho = float(_correlation(*(_ranks([c[g][None] for g in groups]) for c in (x, y)))[0])
        if rho != rho:  # one of the two is the same for all
            rows.append((cause, effect, rho, rho, rho, 1.0))
            continue
        drawn = [g[random.integers(len(g), size=(resamples, len(g)))] for g in groups]
        boot = _correlation(*(_ranks([c[rows] for rows in drawn]) for c in (x, y)))
        shuffled = [g[random.random((resamples, len(g))).argsort(1)] for g in groups]
        fixed = _ranks([np.broadcast_to(x[g], (resamples, len(g))) for g in groups])
        chance = _correlation(fixed, _ranks([y[rows] for rows in shuffled]))
        p = (1 + np.sum(np.abs(chance) >= abs(rho) - 1e-12)) / (1 + resamples)
        low, high = np.nanpercentile(boot, [2.5, 97.5])
        rows.append((cause, effect, rho, low, high, p))
    found = pd.DataFrame(rows, columns=["cause", "effect", "rho", "low", "high", "p"])
    return found.assign(p_holm=multipletests(found["p"], method="holm")[1], n=len(table))


def _ranks(parts: Sequence[Array]) -> Array:
    """Return u of the formula for (R, n_s) values of each stratum: (R, n)."""
    return np.concatenate(
        [(rankdata(part, axis=1) - 0.5) / part.shape[1] - 0.5 for part in parts], axis=1
    )


def _correlation(u: Array, v: Array) -> Array:
    """Return the (R,) correlations of centred ranks; NaN where all ranks are equal."""
    with np.errstate(invalid="ignore"):
        return (u * v).sum(1) / np.sqrt((u * u).sum(1) * (v * v).sum(1))
