"""Prediction: what theory says for these classes, as data by which values are judged."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from neuralcollapse.metrics.catalogue import CATALOGUE
from neuralcollapse.metrics.measured import Measured
from neuralcollapse.metrics.setting import Setting
from neuralcollapse.metrics.summary import values_of
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.theory.implied_decay import implied_feature_decay
from neuralcollapse.theory.predicted_geometry import PredictedGeometry, predicted_geometry

MOST_CLASSES = 100  # for which the minimum at a given decay takes seconds
ROUNDING = 1e-9  # a target below it is 0 up to round-off


def setting_of(
    moments: ClassMoments,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    trained: ClassMoments | None = None,
) -> Setting:
    """Return the setting that the values of a data set are judged by.

    Parameters
    ----------
    moments
        Moments of the data set.
    weight, bias
        The head, or None.
    trained
        Moments of the training data, if `moments` are of other data: class sizes in training
        determine the predicted geometry.
    """
    shaping = _sizes(moments if trained is None else trained)
    return Setting(
        _sizes(moments),
        moments.dim,
        0 if weight is None else len(weight),
        bias is not None,
        trained is not None,
        targets(shaping, moments.dim, bias is not None),
    )


@lru_cache(maxsize=16)
def predicted(class_sizes: tuple[int, ...], dim: int, bias: bool) -> PredictedGeometry | None:
    """Return the predicted geometry; None for more than d + 1 classes."""
    if not 2 <= len(class_sizes) <= dim + 1:
        return None
    return predicted_geometry(class_sizes, dim, bias=bias)


def implied_decay(
    counts: Tensor, means: Tensor, weight: Tensor | None, head_decay: float | None
) -> float | None:
    """Return the decay of the features that head and class means imply; None if unknown.

    Parameters
    ----------
    counts, means
        (K,) and (K, d), of the training data.
    weight
        (K, d) the head, or None.
    head_decay
        Weight decay of the head with the mean loss, or None.
    """
    if weight is None or not head_decay or len(weight) != len(counts):
        return None
    there = counts.cpu() > 0
    W, M = (part.cpu().double()[there] for part in (weight, means))
    return implied_feature_decay(W, M, counts.cpu()[there], head_decay) if (M @ W.T).any() else None


def geometry_at_decay(
    counts: Tensor, means: Tensor, weight: Tensor | None, bias: bool, head_decay: float | None
) -> PredictedGeometry | None:
    """Return the geometry that theory predicts at a run's own decay, for the classes present.

    Parameters
    ----------
    counts, means, weight, head_decay
        As in `implied_decay`, which gives the decay of the features.
    bias
        Whether the head has a bias.

    Returns
    -------
    PredictedGeometry or None
        None if the decay is not known, classes are equal in size (an ETF at any decay), or there
        are more than fit or more than 100 (which would take too long).
    """
    sizes = counts[counts > 0]
    implied = implied_decay(counts, means, weight, head_decay)
    fits = 2 <= len(sizes) <= min(means.shape[1] + 1, MOST_CLASSES)
    if head_decay is None or implied is None or not fits or len(sizes.unique()) == 1:
        return None
    decay = head_decay, implied
    return predicted_geometry(sizes, len(sizes) - 1, bias=bias, weight_decay=decay)


@lru_cache(maxsize=16)
def targets(class_sizes: tuple[int, ...], dim: int, bias: bool) -> dict[str, float]:
    """Return the value of each metric at the predicted geometry; none for equal classes.

    Shares and margins of samples are 1. With a free bias and unequal classes the margin over its
    scale has no limit, since the bias outgrows the rest: NaN.
    """
    if len(set(class_sizes)) == 1:
        return {}
    shape = predicted(class_sizes, min(dim, len(class_sizes) - 1), bias)
    if shape is None:
        return {}
    (num_classes, width), counts = shape.means.shape, torch.tensor(class_sizes, device="cpu")
    moments = ClassMoments.from_state_dict(
        {
            "counts": counts,
            "means": shape.means,
            "trace_variances": torch.zeros(num_classes, device="cpu"),
            "scatter": torch.zeros(1, width, width, device="cpu"),
        }
    )
    shares = {"accuracy": 1.0, "ncc_accuracy": 1.0, "nc4_agreement": 1.0, "margin_min": 1.0}
    metrics = [metric for metric in CATALOGUE.values() if metric.target is not None]
    values = values_of(Measured(moments, shape.W, None, shares), metrics)
    if bias:
        values |= dict.fromkeys(("margin_normalized", "margin_collapse_ratio"), math.nan)
    return {name: 0.0 if abs(value) < ROUNDING else value for name, value in values.items()}


def _sizes(moments: ClassMoments) -> tuple[int, ...]:
    return tuple(moments.counts[moments.present].tolist())
