"""The scale of a margin, which makes margins comparable, and the share of the ceiling reached."""

from __future__ import annotations

import math
from typing import Any

import torch

from neuralcollapse.metrics.class_vectors import ClassVectors
from neuralcollapse.metrics.head import checked_bias, checked_head
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.validation import real_number, whole_number


def margin_ceiling(num_classes: int) -> float:
    """Return K/(K-1), the normalised margin of a collapsed classifier and the largest possible.

    Parameters
    ----------
    num_classes
        K >= 2.

    Returns
    -------
    float
        The ceiling for classes of equal size.

    Raises
    ------
    NeuralCollapseError
        If K < 2.

    Examples
    --------
    >>> from neuralcollapse.metrics import margin_ceiling
    >>> margin_ceiling(5)
    1.25
    """
    return whole_number("num_classes", num_classes, 2) / (num_classes - 1)


def margin_scale(moments: ClassMoments, weight: Any, bias: Any = None) -> float:
    r"""Return the scale tau that makes a margin comparable between networks and epochs.

    .. math:: \tau = \sqrt{\textstyle\sum_k \tfrac{n_k}{N} \|w_k - \bar w\|^2}
        \; \sqrt{\tfrac1N \textstyle\sum_i \|x_i\|^2}

    A bias counts as one more feature, of value 1. For classes of equal size the normalised
    margin ``p_min / tau`` is at most K/(K-1), with equality exactly at collapse, while the raw
    margin grows without limit with the norms.

    Parameters
    ----------
    moments
        Moments of the features that enter the head.
    weight, bias
        (K, d) and (K,) of the head.

    Returns
    -------
    float
        >= 0, in the units of a logit.

    Raises
    ------
    NeuralCollapseError
        If the shapes differ or there is no sample.

    Notes
    -----
    The normalisation and its ceiling are ours; the paper's raw margin is not scale-free.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import ClassMoments
    >>> from neuralcollapse.metrics import margin_scale
    >>> moments = ClassMoments(2, 1).update(torch.tensor([[-2.0], [2.0]]), [0, 1])
    >>> margin_scale(moments, torch.tensor([[-3.0], [3.0]]))
    6.000000
    """
    if isinstance(weight, ClassVectors):
        norms = weight.norms
    else:
        head = checked_head(moments, weight)
        norms = torch.linalg.vector_norm(head - head.mean(0), dim=1)
    head_squares, mean_square = norms.square(), moments.squared_norm / max(moments.num_samples, 1)
    if bias is not None:  # the weight of one more feature, of value 1
        offset = checked_bias(bias, norms[:, None])
        head_squares += (offset - offset.mean()).square()
        mean_square += 1
    head_square = float(moments.class_weights("pooled") @ head_squares)
    return math.sqrt(head_square) * math.sqrt(mean_square)


def normalized_margin(margin: float, scale: float) -> float:
    r"""Return q = p_min / tau, the minimum margin in units of its scale.

    Scaling the head or the features does not change it. For classes of equal size it is at most
    `margin_ceiling`.

    Parameters
    ----------
    margin
        p_min, see `margin_min`.
    scale
        tau, see `margin_scale`.

    Returns
    -------
    float
        q; NaN if tau = 0 (equal rows of the head, or features that are all zero).

    Notes
    -----
    Ours; the paper reports the raw p_min.

    Examples
    --------
    >>> from neuralcollapse.metrics import normalized_margin
    >>> normalized_margin(3.0, 6.0)
    0.5
    """
    margin, scale = real_number("margin", margin), real_number("scale", scale)
    return margin / scale if scale > 0 else math.nan


def margin_collapse_ratio(margin: float, scale: float, num_classes: int) -> float:
    r"""Return the share of the ceiling that the minimum margin reaches, 1 exactly at collapse.

    .. math:: \frac{p_{\min}}{\tau} \Big/ \frac{K}{K-1} \;\in\; (-\infty, 1]

    It is 1 if and only if every feature is the same positive multiple of the centred row of its
    class, and these rows form a simplex ETF: within-class collapse, the ETF and self-duality at
    once.

    Parameters
    ----------
    margin
        p_min, see `margin_min`.
    scale
        tau, see `margin_scale`.
    num_classes
        K >= 2 classes that have samples.

    Returns
    -------
    float
        At most 1 for classes of equal size; may exceed 1 for unequal ones. NaN if tau = 0.

    Raises
    ------
    NeuralCollapseError
        If K < 2.

    Notes
    -----
    Ours. The minimum margin is at most the mean of all m_ij, which is K/(K-1) times the mean of
    <m_y - mean, z>, and Cauchy-Schwarz does the rest.

    Examples
    --------
    >>> from neuralcollapse.metrics import margin_collapse_ratio
    >>> margin_collapse_ratio(3.0, 6.0, num_classes=2)
    0.25
    """
    return normalized_margin(margin, scale) / margin_ceiling(num_classes)
