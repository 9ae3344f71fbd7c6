"""Prediction: what theory says of these classes, as data that the catalogue judges values by."""

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
from neuralcollapse.theory.predicted_geometry import PredictedGeometry, predicted_geometry

ROUNDING = 1e-9  # below it a target is 0, to round-off


def setting_of(
    moments: ClassMoments,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    trained: ClassMoments | None = None,
) -> Setting:
    """Return what the values of a data set are judged against.

    Parameters
    ----------
    moments
        Of the data set.
    weight, bias
        The head, or None.
    trained
        Moments of the training data if these are others: its class sizes shape the geometry.
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
    return predicted_geometry(torch.tensor(class_sizes), dim, bias=bias)


@lru_cache(maxsize=16)
def targets(class_sizes: tuple[int, ...], dim: int, bias: bool) -> dict[str, float]:
    """Return the value of each metric at the predicted geometry; none for equal classes.

    Shares and margins of samples are 1. Under a free bias of unequal classes the margin over its
    scale has no limit, since the bias outgrows the rest: NaN.
    """
    if len(set(class_sizes)) == 1:
        return {}
    shape = predicted(class_sizes, min(dim, len(class_sizes) - 1), bias)
    if shape is None:
        return {}
    (num_classes, width), counts = shape.means.shape, torch.tensor(class_sizes)
    moments = ClassMoments.from_state_dict(
        {
            "counts": counts,
            "means": shape.means,
            "trace_variances": torch.zeros(num_classes),
            "scatter": torch.zeros(1, width, width),
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
