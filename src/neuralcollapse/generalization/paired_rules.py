"""Rules of alignment against random alignments, paired by seed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats
from statsmodels.stats.multitest import multipletests

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization.design import crossed_design

RESAMPLES = 9999


def compare_rules(
    table: pd.DataFrame, rules: Sequence[str], confidence: float = 0.95
) -> pd.DataFrame:
    r"""Compare rules of alignment with the random alignments of the same seeds.

    .. math:: d_s = \bar y_{rule, s} - \frac1a \sum_{p \text{ random}} \bar y_{ps}

    A rule sees the initial weights, so that it names another head for every seed; what it does is
    the mean of these differences, and their spread between seeds its uncertainty.

    Parameters
    ----------
    table
        As in `crossed_design`; the runs of a rule have its name as their alignment, all others
        are random.
    rules
        Names, each in the table.
    confidence
        Of the limits, in (0, 1).

    Returns
    -------
    DataFrame
        One row per rule: ``difference``, ``se``, ``low`` and ``high`` (limits by t), ``t``, ``p``
        (two-sided t test), ``p_sign_flip`` (two-sided, free of a distribution: exact up to 13
        seeds, else 9,999 random flips) and ``p_holm``, the first p corrected over the rules.

    Raises
    ------
    NeuralCollapseError
        If a rule is unknown, no random alignment is left, or the design is not balanced.

    References
    ----------
    Holm 1979, "A simple sequentially rejective multiple test procedure".

    Examples
    --------
    >>> import pandas as pd
    >>> from neuralcollapse.generalization import compare_rules
    >>> value = {0: 0.0, 1: 2.0, "greedy": 5.0}
    >>> runs = [(a, s, 0, value[a] + s * s, True) for a in value for s in range(4)]
    >>> columns = ["alignment", "seed", "order", "value", "converged"]
    >>> compared = compare_rules(pd.DataFrame(runs, columns=columns), ["greedy"])
    >>> float(compared.loc["greedy", "difference"])  # 5 less the mean of 0 and 2
    4.0
    """
    known = list(table["alignment"].drop_duplicates()) if "alignment" in table else []
    unknown = [rule for rule in rules if rule not in known]
    if unknown:
        expected = f"alignments in the table ({', '.join(map(str, known))})"
        remedy = "give the runs of a rule its name in the column alignment"
        raise NeuralCollapseError("rules", expected, ", ".join(map(repr, unknown)), remedy)
    if len(set(known) - set(rules)) < 1:
        raise NeuralCollapseError(
            "table", "at least 1 random alignment", "none", "add runs of random alignments"
        )
    design = crossed_design(table)
    cells = pd.DataFrame(design.values.mean(2), index=pd.Index(design.alignments))
    random = cells.drop(index=list(rules)).mean()
    rows = [_paired((cells.loc[rule] - random).to_numpy(), confidence) for rule in rules]
    compared = pd.DataFrame(rows, index=pd.Index(list(rules), name="rule"))
    return compared.assign(p_holm=multipletests(compared["p"], method="holm")[1])


def _paired(differences: Float[np.ndarray, " b"], confidence: float) -> dict[str, float]:
    mean = float(differences.mean())
    if np.ptp(differences) == 0:  # no spread to divide by: certain, or nothing to see
        p = float(mean == 0)
        certain = {"difference": mean, "se": 0.0, "low": mean, "high": mean}
        return certain | {"t": math.nan, "p": p, "p_sign_flip": p}
    found = stats.ttest_1samp(differences, 0.0)
    low, high = found.confidence_interval(confidence)
    flipped = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=RESAMPLES, rng=0
    )
    return {
        "difference": mean,
        "se": float(stats.sem(differences)),
        "low": float(low),
        "high": float(high),
        "t": float(found.statistic),
        "p": float(found.pvalue),
        "p_sign_flip": float(flipped.pvalue),
    }
