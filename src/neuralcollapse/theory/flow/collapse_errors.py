"""The four errors of neural collapse that Ji et al. follow along the flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from neuralcollapse.theory.sufficient_statistics import class_means
from neuralcollapse.validation import (
    as_tensor,
    check_shape,
    check_squares,
    finite_matrix,
    occupied_labels,
)


@dataclass(frozen=True)
class CollapseErrors:
    r"""How far a pair (W, H) is from neural collapse; every error is zero exactly at collapse.

    With M the (K, d) class means less their mean and C = W less its mean row:

    Attributes
    ----------
    equinorm_means, equinorm_head, equinorm_rows
        Coefficient of variation (population) of the norms of the rows of M, of C, of W.
    within_class
        Mean distance of a sample from its class mean, over the mean norm of the rows of M.
    cosines_means, cosines_head, cosines_rows
        Mean over pairs of classes of \|cosine + 1/(K-1)\|, for the rows of M, of C, of W.
    self_duality
        \|\|C / \|\|C\|\| - M / \|\|M\|\| \|\|, Frobenius norms; in [0, 2].

    Examples
    --------
    >>> from neuralcollapse.theory import collapse_errors, separation_optimum
    >>> best = separation_optimum([2, 2, 2], dim=4)
    >>> errors = collapse_errors(best.W, best.H, best.labels)
    >>> all(error < 1e-7 for error in vars(errors).values())
    True
    """

    equinorm_means: Float[Tensor, "*t"]
    equinorm_head: Float[Tensor, "*t"]
    equinorm_rows: Float[Tensor, "*t"]
    within_class: Float[Tensor, "*t"]
    cosines_means: Float[Tensor, "*t"]
    cosines_head: Float[Tensor, "*t"]
    cosines_rows: Float[Tensor, "*t"]
    self_duality: Float[Tensor, "*t"]


def collapse_errors(W: Any, H: Any, labels: Any) -> CollapseErrors:
    r"""Measure how far pairs (W, H) are from neural collapse, as Ji et al. do along the flow.

    The panels of the paper's Figure 2: (a) equal norms, (b) within-class variation, (c) equal
    angles, (d) self-duality. Its panels (a) and (c) are of the classifier's own rows, here
    ``equinorm_rows`` and ``cosines_rows``.

    Parameters
    ----------
    W
        (..., K, d) heads, along any leading axes.
    H
        (..., N, d) features.
    labels
        (N,) class indices 0..K-1 in any order, each class with a sample.

    Returns
    -------
    CollapseErrors
        Each of the shape of the leading axes; NaN where a norm is zero.

    Raises
    ------
    NeuralCollapseError
        If shapes or labels do not fit, or squares leave float64.
    NonFiniteError
        If an entry is NaN or infinite.

    References
    ----------
    Ji et al. 2022, Figure 2.

    Examples
    --------
    >>> from neuralcollapse.theory import collapse_errors
    >>> errors = collapse_errors([[1.0], [-1.0]], [[3.0], [1.0], [-2.0]], [0, 0, 1])
    >>> float(errors.within_class), float(errors.self_duality)  # (1 + 1 + 0) / 3 over 2
    (0.3333333333333333, 0.0)
    """
    pair = [as_tensor(name, value).double().cpu() for name, value in (("W", W), ("H", H))]
    for name, value in zip(("W", "H"), pair, strict=True):
        finite_matrix(name, value.reshape(-1, value.shape[-1]) if value.ndim > 2 else value)
        check_squares(name, value)
    W, H = pair
    labels = occupied_labels("labels", labels, W.shape[-2]).cpu()
    remedy = "one row per label, and the columns and leading axes of W"
    check_shape("H", H, (*W.shape[:-2], len(labels), W.shape[-1]), remedy)
    means = class_means(H, labels, labels.bincount())
    spread = (H - means[..., labels, :]).norm(dim=-1).mean(-1)
    centered = means - means.mean(-2, keepdim=True)
    head = W - W.mean(-2, keepdim=True)
    directions = [points / points.norm(dim=(-2, -1), keepdim=True) for points in (head, centered)]
    return CollapseErrors(
        equinorm_means=_variation(centered),
        equinorm_head=_variation(head),
        equinorm_rows=_variation(W),
        within_class=spread / centered.norm(dim=-1).mean(-1),
        cosines_means=_cosine_deviation(centered),
        cosines_head=_cosine_deviation(head),
        cosines_rows=_cosine_deviation(W),
        self_duality=(directions[0] - directions[1]).norm(dim=(-2, -1)),
    )


def _variation(points: Tensor) -> Tensor:
    norms = points.norm(dim=-1)
    mean = norms.mean(-1, keepdim=True)
    return (norms / mean - 1).square().mean(-1).sqrt()


def _cosine_deviation(points: Tensor) -> Tensor:
    num_classes = points.shape[-2]
    units = points / points.norm(dim=-1, keepdim=True)
    deviation = (units @ units.mT + 1 / (num_classes - 1)).abs()
    off_diagonal = deviation.sum((-2, -1)) - deviation.diagonal(dim1=-2, dim2=-1).sum(-1)
    return off_diagonal / (num_classes * (num_classes - 1))
