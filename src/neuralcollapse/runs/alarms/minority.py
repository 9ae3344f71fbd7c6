"""Alarms about classes with few samples, which imbalance makes merge."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from neuralcollapse.metrics.class_vectors import centered_rows, pair_cosines
from neuralcollapse.runs.alarms.situation import Situation, called
from neuralcollapse.wording import share

# Rules of thumb of this library, not thresholds of theory.
MINORITY = 5  # a class with a fifth of the largest class's samples, or fewer
MERGED = 0.9  # mean cosine of the rows of minority classes
LOW_RECALL = 0.5  # of the minority classes on test data, where that of the others is above


def minority_cosine(weight: Tensor, counts: Tensor) -> float:
    """Return the mean cosine between rows of minority classes, about the mean of all rows.

    Parameters
    ----------
    weight
        (K, d) head, or class means.
    counts
        (K,) training samples of each class; those of at most a fifth of the largest are minority.

    Returns
    -------
    float
        In [-1, 1]; 1 where the minority classes share one row; NaN with fewer than two of them.

    References
    ----------
    Fang et al. 2021, "Minority collapse in imbalanced training".

    Examples
    --------
    >>> weight = torch.tensor([[2.0, 0.0], [-1.0, 0.1], [-1.0, -0.1]])
    >>> round(minority_cosine(weight, torch.tensor([100, 5, 5])), 3)
    0.98
    """
    minority = (counts > 0) & (counts * MINORITY <= counts.max())
    if int(minority.sum()) < 2:
        return math.nan
    return float(pair_cosines(centered_rows(weight)[minority]).mean())


def minority_collapse(situation: Situation) -> str | None:
    """Warn where minority classes are no longer told apart: by the head, the means, or recall."""
    report, moments = situation.measured, situation.measured.train.moments
    head = math.nan if report.weight is None else minority_cosine(report.weight, moments.counts)
    means = minority_cosine(torch.nan_to_num(moments.means), moments.counts)
    signs = [
        f"{what} of the classes with few samples point the same way (mean cosine {cosine:.3f})"
        for what, cosine in (("the head's rows", head), ("the class means", means))
        if cosine >= MERGED
    ]
    few = (moments.counts > 0) & (moments.counts * MINORITY <= moments.counts.max())
    learned = float(report.train.state.counts.by_class("accuracy")[few].nanmean())
    for part, split in situation.tests.items():
        test = split.state.counts.by_class("accuracy")
        theirs, others = float(test[few].nanmean()), float(test[~few].nanmean())
        if theirs < LOW_RECALL <= others:
            signs.append(
                f"{share(theirs)} of their samples in {called(part)} are right ({share(learned)} "
                f"of their training samples), of the other classes' {share(others)}"
            )
    if not signs:
        return None
    return f"minority collapse: {'; '.join(signs)}; oversample these classes or weight their loss"
