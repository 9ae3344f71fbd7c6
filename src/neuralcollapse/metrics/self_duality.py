"""NC3: whether the rows of the head point in the directions of the class means."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch

from neuralcollapse.metrics.class_vectors import ClassVectors, unit_rows
from neuralcollapse.metrics.equiangularity import product_distance
from neuralcollapse.validation import (
    ROW_A_CLASS,
    check_choice,
    check_shape,
    check_squares,
    finite_matrix,
)

PART = 4096  # classes compared at once
CLOSE = 1e-2  # below this square the closed form would lose digits
Variant = Literal["distance", "squared", "cosine", "uniform_dot", "uniform_cosine"]


def self_duality(
    weight: Any,
    means: Any,
    center: Any = None,
    center_head: bool = True,
    variant: Variant = "distance",
) -> float:
    r"""Return how far the normalised head is from the normalised class means.

    .. math:: \left\| W_c/\|W_c\|_F - M/\|M\|_F \right\|_F

    Parameters
    ----------
    weight
        (K, d) rows of the last linear layer.
    means
        (K, d) class means, in the same order.
    center
        (d,) what is subtracted from the means; the mean of the class means if omitted.
    center_head
        Whether to subtract the mean row of the head, which softmax does not see.
    variant
        ``"distance"``; its square, ``"squared"``, as in Papyan's code; ``"cosine"``: the mean over
        classes of 1 - cos(w_k, mu_k - c). Uniform self-duality only asks that all classes agree:
        ``"uniform_dot"`` and ``"uniform_cosine"`` are the coefficients of variation over classes
        of <w_k, mu_k - c> and of its cosine.

    Returns
    -------
    float
        In [0, 2] (squared: [0, 4]; the variations: [0, inf]); 0 when collapsed.

    Raises
    ------
    NeuralCollapseError
        If the shapes differ, or the variant is unknown.

    References
    ----------
    Papyan, Han & Donoho 2020, Figure 5; Wu & Papyan 2024 for the uniform ones.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.metrics import self_duality
    >>> round(self_duality(3 * torch.eye(3), torch.eye(3)), 12)
    0.0
    """
    check_choice("variant", variant, get_args(Variant))
    head, rows = _head_and_means(weight, means, center, center_head)
    if variant == "cosine":
        return float((1 - (unit_rows(head.rows) * unit_rows(rows.rows)).sum(1)).mean())
    if variant in ("uniform_dot", "uniform_cosine"):
        products = (head.rows * rows.rows).sum(1)
        if variant == "uniform_cosine":
            products /= head.norms * rows.norms
        return float(products.std(correction=0) / products.mean().abs())
    overlap = torch.dot(head.rows.reshape(-1), rows.rows.reshape(-1)) / head.norm / rows.norm
    squared = float(2 - 2 * overlap)
    if not squared > CLOSE:
        squared = 0.0
        for w, m in zip(head.rows.split(PART), rows.rows.split(PART), strict=True):
            squared += float((w / head.norm - m / rows.norm).square_().sum())
    return squared if variant == "squared" else math.sqrt(squared)


def product_duality(weight: Any, means: Any, center: Any = None, center_head: bool = True) -> float:
    r"""Return how far the logits of the class means are from a simplex ETF's.

    .. math:: \left\| \frac{W M^\top}{\|W M^\top\|_F} - \frac{I - 11^\top/K}{\sqrt{K-1}} \right\|_F

    This is not self-duality: W = A P and M = A P^-1, with A a simplex ETF, make it vanish for any
    invertible symmetric P, although W and M point in different directions.

    Parameters
    ----------
    weight, means, center, center_head
        As in `self_duality`.

    Returns
    -------
    float
        In [0, 2]; 0 when collapsed.

    Raises
    ------
    NeuralCollapseError
        If the shapes differ.

    References
    ----------
    Zhu et al. 2021, Section 4 (NC3).

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.metrics import product_duality
    >>> round(product_duality(3 * torch.eye(3), torch.eye(3)), 12)
    0.0
    """
    head, rows = _head_and_means(weight, means, center, center_head)
    return product_distance(head, rows)


def _head_and_means(
    weight: Any, means: Any, center: Any, center_head: bool
) -> tuple[ClassVectors, ClassVectors]:
    known = isinstance(weight, ClassVectors), isinstance(means, ClassVectors)
    head = weight.rows if known[0] else finite_matrix("weight", weight)
    rows = means.rows if known[1] else finite_matrix("means", means).to(head.device)
    check_shape("weight", head, rows.shape, ROW_A_CLASS)
    if not known[0]:
        check_squares("weight", head)
    if not known[1]:
        check_squares("means", rows)
    raw = None if center_head else head.new_zeros(head.shape[1])
    return (
        weight if known[0] else ClassVectors.of(head, raw),
        means if known[1] else ClassVectors.of(rows, center),
    )
