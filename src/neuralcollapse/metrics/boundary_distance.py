"""Margins as distances: how far features lie from the boundary between two classes."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.head import checked_bias
from neuralcollapse.validation import finite_matrix, integer_labels


def boundary_distances(
    features: Any, labels: Any, weight: Any, bias: Any = None
) -> Float[Tensor, " n"]:
    r"""Return each sample's signed distance from the nearest point that is decided otherwise.

    .. math:: \min_{j \ne y} \frac{m_{yj}(x)}{\|w_y - w_j\|}, \qquad m_{yj} = s_y - s_j

    A feature that moves by less keeps its decision.

    Parameters
    ----------
    features
        (n, d) that enter the head, finite.
    labels
        (n,) in 0..K-1.
    weight, bias
        (K, d) and (K,) of the head. The bias moves the boundary, and does not change the norm.

    Returns
    -------
    Tensor of shape (n,), float64
        In the units of the features; negative where the sample is misclassified. NaN where a
        rival has the weights of the sample's own class.

    Raises
    ------
    NonFiniteError
        If an entry is NaN or infinite.
    NeuralCollapseError
        If shapes or labels do not fit.

    Examples
    --------
    >>> boundary_distances([[3.0, 0.0], [1.0, 2.0]], [0, 1], [[2.0, 0.0], [-2.0, 0.0]])
    tensor([ 3., -1.], dtype=torch.float64)
    """
    margins, true, head, _ = _pairwise(features, labels, weight, bias)
    distances = margins / torch.cdist(head, head)[true]
    return distances.scatter(1, true[:, None], float("inf")).amin(1)


def pair_boundary_distances(
    features: Any, labels: Any, weight: Any, bias: Any = None
) -> Float[Tensor, "K K"]:
    r"""Return the least distance of each class from its boundary with each other.

    .. math:: g_{ij} = \min_{x : y(x) = i} \frac{m_{ij}(x)}{\|w_i - w_j\|}
        = \frac{\gamma_{ij}}{\|w_i - w_j\|}

    Parameters
    ----------
    features, labels, weight, bias
        As in `boundary_distances`.

    Returns
    -------
    Tensor of shape (K, K), float64
        Not symmetric. NaN on the diagonal and for equal weights; inf in the row of an absent
        class. A larger head does not change it.

    Raises
    ------
    NonFiniteError, NeuralCollapseError
        As in `boundary_distances`.

    Notes
    -----
    Ours: the normalisation of the margins of Gao et al. 2023, Theorem 4.4.

    Examples
    --------
    >>> pair_boundary_distances([[3.0], [1.0], [-2.0]], [0, 0, 1], [[5.0], [-5.0]])
    tensor([[nan, 1.],
            [2., nan]], dtype=torch.float64)
    """
    margins, true, head, _ = _pairwise(features, labels, weight, bias)
    return _least(margins / torch.cdist(head, head)[true], true)


def cosine_margins(
    features: Any, labels: Any, weight: Any, bias: Any = None
) -> Float[Tensor, "K K"]:
    r"""Return the least cosine between the features of a class and the normal of each boundary.

    .. math:: c_{ij} = \min_{x : y(x) = i} \frac{m_{ij}(x)}{\|w_i - w_j\| \|z\|} \in [-1, 1]

    Neither a larger head nor a rescaling of any feature changes it. At a collapsed ETF all are
    sqrt(K / (2 (K - 1))).

    Parameters
    ----------
    features, labels, weight, bias
        As in `boundary_distances`; but a bias counts as one more feature, of value 1, in both
        norms.

    Returns
    -------
    Tensor of shape (K, K), float64
        Not symmetric. NaN on the diagonal, for equal weights, and in the row of a class with a
        feature of norm 0; inf in the row of an absent class.

    Raises
    ------
    NonFiniteError, NeuralCollapseError
        As in `boundary_distances`.

    Notes
    -----
    Ours.

    Examples
    --------
    >>> cosine_margins([[3.0, 4.0], [-2.0, 0.0]], [0, 1], [[1.0, 0.0], [-1.0, 0.0]])
    tensor([[   nan, 0.6000],
            [1.0000,    nan]], dtype=torch.float64)
    """
    margins, true, head, norms = _pairwise(features, labels, weight, bias, bias_is_a_feature=True)
    return _least(margins / torch.cdist(head, head)[true] / norms[:, None], true)


def _pairwise(
    features: Any, labels: Any, weight: Any, bias: Any, bias_is_a_feature: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return margins against every class (n, K), labels, rows of the head, norms of features."""
    rows = finite_matrix("features", features)
    head = finite_matrix("weight", weight).to(rows.device)
    if head.shape[1] != rows.shape[1] or len(head) < 2:
        raise NeuralCollapseError(
            "weight",
            f"shape (K, {rows.shape[1]}), K >= 2",
            str(tuple(head.shape)),
            "pass one row a class, of the layer that takes these features",
        )
    true = integer_labels("labels", labels, len(rows), len(head)).to(rows.device)
    scores = rows @ head.T
    if bias is not None:
        offset = checked_bias(torch.as_tensor(bias), head)
        scores = scores + offset
        if bias_is_a_feature:
            head = torch.cat([head, offset[:, None]], 1)
            rows = torch.cat([rows, torch.ones_like(rows[:, :1])], 1)
    margins = scores.gather(1, true[:, None]) - scores
    return margins, true, head, rows.norm(dim=1)


def _least(values: Tensor, true: Tensor) -> Tensor:
    """Return the least value of each class in each column, NaN where one is."""
    least = torch.full_like(values[:1], float("inf")).repeat(values.shape[1], 1)
    least.scatter_reduce_(0, true[:, None].expand_as(values), values, "amin")
    return least.fill_diagonal_(float("nan"))
