"""The optimality conditions of minimum-norm separation, as residuals of a pair (W, H)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.theory.layer_peeled import LayerPeeledModel
from neuralcollapse.theory.separation_certificate import positive_margin
from neuralcollapse.validation import check_shape, finite_matrix


@dataclass(frozen=True)
class KKTResiduals:
    """How far a pair, scaled to margin 1, is from satisfying each optimality condition.

    Attributes
    ----------
    stationarity
        ||(W, H) - (A H, A^T W)|| / ||(W, H)||, A the dual matrix of the multipliers.
    dual
        The most negative multiplier, as a number >= 0, relative to the largest in absolute value.
    complementarity
        Mean of abs(q - 1) over all margins, weighted by the multipliers' absolute values.
    multipliers
        (N, K), one for each margin, 0 at the own class.

    Examples
    --------
    >>> from neuralcollapse.theory import kkt_residuals, separation_optimum
    >>> best = separation_optimum([2, 2], dim=2)
    >>> found = kkt_residuals(best.W, best.H, best.labels, best.multipliers)
    >>> found.largest < 1e-12
    True
    """

    stationarity: float
    dual: float
    complementarity: float
    multipliers: Float[Tensor, "N K"]

    @property
    def largest(self) -> float:
        """The largest of the three residuals."""
        return max(self.stationarity, self.dual, self.complementarity)


def kkt_residuals(W: Any, H: Any, labels: Any, multipliers: Any = None) -> KKTResiduals:
    r"""Measure how nearly a separating pair satisfies the KKT conditions, once scaled to margin 1.

    .. math:: W = A^\top H, \quad H = A W, \quad
        A_{ij} = -\lambda_{ij} \le 0 \ (j \ne y_i), \quad A \mathbf 1 = 0, \quad
        q_{ij} \ge 1, \quad \lambda_{ij} (q_{ij} - 1) = 0

    Zero residuals mean a KKT point, which need not be an optimum (see `paired_kkt_point`): the
    spectral norm of A tells (see `escape_direction`).

    Parameters
    ----------
    W
        (K, d) head.
    H
        (N, d) features.
    labels
        (N,) class indices 0..K-1 in any order, each class with a sample.
    multipliers
        (N, K), at margin 1; the entries at the own class are ignored. If omitted, the loss's own:
        the probabilities at the pair as given, so scaled that stationarity is least. They tend to
        the multipliers as the margins of a trajectory grow.

    Returns
    -------
    KKTResiduals
        The three residuals and the multipliers used.

    Raises
    ------
    NeuralCollapseError
        If shapes or labels do not fit, a margin is not positive, or all multipliers are zero.
    NonFiniteError
        If an entry is NaN or infinite.

    References
    ----------
    Ji et al. 2022, Theorem 3.2 and its proof; Lyu & Li 2020.

    Examples
    --------
    >>> from neuralcollapse.theory import kkt_residuals, separation_optimum
    >>> best = separation_optimum([3, 1, 2], dim=4)
    >>> kkt_residuals(best.W, best.H, best.labels, best.multipliers).largest < 1e-14
    True
    """
    W, H = finite_matrix("W", W), finite_matrix("H", H)
    model = LayerPeeledModel(labels, W.shape[1], len(W))
    scale = math.sqrt(positive_margin(model, W, H))
    own = model.labels[:, None]
    if multipliers is None:
        weights = model.residual(W, H).scatter(1, own, 0.0)
    else:
        given = finite_matrix("multipliers", multipliers)
        check_shape("multipliers", given, (len(H), len(W)), "give one for each sample and class")
        weights = given.scatter(1, own, 0.0)
        if not weights.any():
            raise NeuralCollapseError(
                "multipliers", "a positive multiplier", "only zeros", "omit them to use the loss's"
            )
    W, H = W / scale, H / scale
    dual = dual_matrix(weights, model.labels)
    point, image = torch.cat([W, H]), torch.cat([dual.T @ H, dual @ W])
    if multipliers is None:
        factor = (point * image).sum() / image.square().sum()
        weights, image = factor * weights, factor * image
    logits = H @ W.T
    margins = logits.gather(1, own) - logits
    total = weights.abs().sum()
    return KKTResiduals(
        stationarity=float((point - image).norm() / point.norm()),
        dual=max(0.0, -float(weights.min() / weights.abs().max())),
        complementarity=float((weights.abs() * (margins - 1).abs()).sum() / total),
        multipliers=weights,
    )


def dual_matrix(multipliers: Tensor, labels: Tensor) -> Float[Tensor, "N K"]:
    """Return the dual matrix of multipliers that are 0 at the own class; its rows sum to zero."""
    return (-multipliers).scatter(1, labels[:, None], multipliers.sum(1, keepdim=True))
