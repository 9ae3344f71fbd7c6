"""A replication: the rotation of a fixed ETF behind a ReLU, and the orthant margin.

Does the rotation matter, and does the orthant margin say how? An exploration (30 Haar rotations, 5
seeds) found that it does when the features are few: with D = 16 a main effect of the rotation of
2.2 points of test accuracy (F = 3.7), which the minimum orthant margin predicted (Spearman 0.68
over all rotations; 0.35 over the 15 that always fitted, which is compatible with no correlation).
What follows is the design of a replication, fixed before its first run, with a split, rotations,
initial weights and orders not used before.

Design
    Digits, 300 training images drawn by class and the other 1,497 for testing, split by
    `SPLIT_SEED`. Perceptrons 64-64-64-16 with a ReLU on the features, `CONFIG`. Heads: `ROTATIONS`
    Haar simplex ETFs of norm `SCALE`, drawn in a row from one generator with `ROTATION_SEED`,
    none left out, unfittable ones too. Fully crossed with the initial weights of `SEEDS` and
    `ORDERS` orders of the data each.

Outcome
    Test accuracy after the last epoch, of every run, whether it fits its training data or not.

Hypotheses, each with its statistic and p-value
    H1. The rotation has a main effect: F = MS(rotation) / MS(rotation x seed) on the mean over
        orders; the larger of the p-values of the F distribution and of permuting the rotations
        within seeds (`PERMUTATIONS` times).
    H2. Test accuracy rises with the minimum orthant margin: Spearman's correlation over rotations
        between min_y omega_y and the mean test accuracy; one-sided, by permuting rotations.
    H3. The same as H2 among the rotations whose every run fits (training accuracy 1 at the end).
        Not decided if fewer than 10 rotations do.

Decision
    Holm's correction over the three p-values. A hypothesis is confirmed if its corrected p-value
    is at most `LEVEL`. Whatever comes out is reported.

Beside that, for description only: the standard deviation of the rotation's effect with its 95 %
limits, the share of runs that fit, and H1 and H2 among the rotations of positive orthant margin.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from statsmodels.stats.multitest import multipletests
from torch import Tensor

from neuralcollapse.generalization import alignment_effects
from neuralcollapse.generalization.alignment_effects import AlignmentEffects
from neuralcollapse.geometry import orthant_margins, simplex_etf
from neuralcollapse.studies.claims import largest
from neuralcollapse.studies.gao2023.alignment_runs import (
    AlignmentSetting,
    from_record,
    run_alignments,
    to_record,
)
from neuralcollapse.training import PerceptronConfig

SPLIT_SEED = 5101
ROTATION_SEED = 5102
ROTATIONS = 60
SEEDS = tuple(range(6000, 6010))
ORDERS = 2
SCALE = 5.0
CONFIG = PerceptronConfig(
    widths=(64, 64), dim=16, relu_features=True, lr=0.01, momentum=0.9, batch_size=25, epochs=150
)
PERMUTATIONS = 9999
LEVEL = 0.05
FEWEST = 10  # rotations, for a correlation


def replicate(progress: bool = False) -> dict[str, Any]:
    """Run the design and return its record.

    Parameters
    ----------
    progress
        Show a progress bar.

    Returns
    -------
    dict
        JSON-ready: ``setting``, ``margins`` (minimum orthant margin of each rotation) and ``runs``.
    """
    setting = AlignmentSetting(CONFIG, SCALE, SEEDS, ORDERS, SPLIT_SEED)
    heads = rotations()
    margins = [orthant_margins(head).least for head in heads.values()]
    runs = run_alignments(setting, heads, progress=progress)
    settings = setting.to_dict() | {"rotation_seed": ROTATION_SEED}
    return {"setting": settings, "margins": margins, "runs": to_record(runs)}


def rotations() -> dict[int, Tensor]:
    """Return the unit heads of the design by their number."""
    generator = torch.Generator().manual_seed(ROTATION_SEED)
    return {i: simplex_etf(10, CONFIG.dim, generator=generator) for i in range(ROTATIONS)}


def effects_of(record: dict[str, Any]) -> AlignmentEffects:
    """Return the analysis of variance of a record, of `replicate`."""
    return alignment_effects(from_record(record["runs"]), permutations=PERMUTATIONS)


def decide(record: dict[str, Any]) -> pd.DataFrame:
    """Test the hypotheses and decide, as the design says.

    Parameters
    ----------
    record
        From `replicate`.

    Returns
    -------
    DataFrame
        Rows H1, H2 and H3; columns ``statistic`` (F, or Spearman's correlation), ``rotations``
        that it is made of, ``p``, ``p_holm`` and ``confirmed``. H3 has p = 1 if undecided.
    """
    effects = effects_of(record)
    margins, fits = np.array(record["margins"]), effects.fits
    means, always = fits["mean"].to_numpy(), (fits["converged"] == fits["runs"]).to_numpy()
    row = effects.anova.to_dict("index")["alignment"]
    found = [(row["F"], len(margins), largest(row["p"], effects.permutation_p))]
    for chosen in (np.full(len(margins), True), always):
        correlation, p = rank_correlation(margins[chosen], means[chosen])
        found.append((correlation, int(chosen.sum()), p))
    table = pd.DataFrame(
        found, columns=["statistic", "rotations", "p"], index=pd.Index(["H1", "H2", "H3"])
    )
    corrected = multipletests(table["p"], method="holm")[1]
    return table.assign(p_holm=corrected, confirmed=corrected <= LEVEL)


def rank_correlation(margins: Any, accuracy: Any) -> tuple[float, float]:
    """Return Spearman's correlation and its one-sided permutation p-value.

    Parameters
    ----------
    margins, accuracy
        (a,) one number per rotation. With fewer than 10 the result is (NaN, 1).
    """
    if len(margins) < FEWEST:
        return float("nan"), 1.0

    # Spearman's correlation is Pearson's of the ranks; permuting leaves their moments alone.
    x, y = (
        stats.zscore(stats.rankdata(values)) / len(values) ** 0.5 for values in (margins, accuracy)
    )
    tested = stats.permutation_test(
        (x,),
        lambda x, axis: (x * y).sum(axis),
        permutation_type="pairings",
        alternative="greater",
        n_resamples=PERMUTATIONS,
        vectorized=True,
        rng=0,
    )
    return float(tested.statistic), float(tested.pvalue)
