"""Alarms about directions: class means that lose some, and an NC1 that hangs on one."""

from __future__ import annotations

import math

import torch

from neuralcollapse.measurement.cautions import concentrated
from neuralcollapse.metrics.ranks import numerical_rank
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.runs.alarms.situation import LEARNED, Situation

RANK_LOST = 0.5  # of the highest rank so far; a rule of thumb


def means_rank(moments: ClassMoments) -> float:
    """Return how many directions the class means fill, K - 1 for a simplex ETF.

    Parameters
    ----------
    moments
        Moments of the training features.

    Examples
    --------
    >>> moments = ClassMoments(3, 2).update(torch.eye(3)[:, :2], [0, 1, 2])
    >>> round(means_rank(moments), 6)  # singular values 1 and 1 / sqrt 3
    1.866025
    """
    singular_values = torch.linalg.svdvals(moments.centered_means())
    return numerical_rank(singular_values) if bool(singular_values.any()) else 0.0


def loss_of_rank(situation: Situation) -> str | None:
    """Warn where class means fill far fewer directions than they did and could."""
    moments = situation.measured.train.moments
    rank = means_rank(moments)
    earlier = [float(str(record.get("means_rank", math.nan))) for record in situation.records]
    highest = max((value for value in earlier if math.isfinite(value)), default=math.nan)
    possible = min(moments.dim, int(moments.present.sum()) - 1)
    if not rank <= RANK_LOST * highest or not rank <= RANK_LOST * possible:
        return None
    return (
        f"loss of rank: the class means fill {rank:.1f} directions, {highest:.1f} earlier and at "
        f"most {possible}: classes are merging; lower weight decay or learning rate"
    )


def concentration(situation: Situation) -> str | None:
    """Warn where one feature or direction makes most of NC1, once the training data is learned."""
    if not situation.measured.get("accuracy", math.nan) >= LEARNED:
        return None  # before, some direction always lags behind
    found = next(concentrated(situation.measured.train.moments), None)
    if found is None:
        return None
    return f"{found} Read nc1_trace_ratio beside it, and look at the samples that are active there"
