"""How far a separating pair (W, H) can be from the minimum norm: bounds that need no optimum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.theory.layer_peeled import LayerPeeledModel
from neuralcollapse.theory.separation import separation_value
from neuralcollapse.validation import finite_matrix


@dataclass(frozen=True)
class SeparationCertificate:
    """Bounds on the optimal value D of minimum-norm separation: lower <= D <= nuclear <= upper.

    Attributes
    ----------
    lower
        Value of the dual point that the loss's own gradient gives.
    nuclear
        Nuclear norm of the centred logits, at margin 1.
    upper
        (||W||^2 + ||H||^2) / 2 at margin 1.
    gap
        upper - lower, an upper bound on the suboptimality of (W, H).

    Examples
    --------
    >>> from neuralcollapse.theory import separation_certificate, separation_optimum
    >>> best = separation_optimum([2, 2, 2], dim=2)
    >>> found = separation_certificate(30 * best.W, best.H, best.labels)
    >>> found.lower <= best.value * (1 + 1e-9), found.gap >= 0
    (True, True)
    """

    lower: float
    upper: float
    nuclear: float

    @property
    def gap(self) -> float:
        """The duality gap, zero exactly at an optimum in the limit of large margins."""
        return self.upper - self.lower

    @property
    def relative_gap(self) -> float:
        """The duality gap in units of the lower bound: `upper` is within it of the optimum."""
        return self.gap / self.lower


def separation_certificate(W: Any, H: Any, labels: Any) -> SeparationCertificate:
    r"""Bound the least norm of separation from both sides, from one separating pair.

    .. math:: \frac{\sum_i (1 - p_{i y_i})}{\|P - Y\|_2} \;\le\; D \;\le\;
        \frac{\|H W^\top C\|_*}{q_{\min}} \;\le\; \frac{\|W\|^2 + \|H\|^2}{2\, q_{\min}}

    The lower bound is weak duality: (Y - P) / ||P - Y||_2 is always feasible for the dual. All
    three hold for any class sizes and any dimension; at d < K - 1, D is the value with K - 1
    dimensions, which bounds that with d from below.

    Parameters
    ----------
    W
        (K, d) head.
    H
        (N, d) features.
    labels
        (N,) class indices 0..K-1 in any order, each class with a sample.

    Returns
    -------
    SeparationCertificate
        The three bounds and their gap, rigorous up to rounding.

    Raises
    ------
    NeuralCollapseError
        If shapes or labels do not fit, or a margin is not positive.
    NonFiniteError
        If an entry is NaN or infinite.

    References
    ----------
    Ji et al. 2022, for the separation problem; the certificate is ours.

    Examples
    --------
    >>> from neuralcollapse.theory import separation_certificate
    >>> bounds = separation_certificate([[1.0], [-1.0]], [[4.0], [-4.0]], [0, 1])
    >>> round(bounds.lower, 6), round(bounds.nuclear, 6), round(bounds.upper, 6)
    (1.0, 1.0, 2.125)
    """
    W, H = finite_matrix("W", W), finite_matrix("H", H)
    model = LayerPeeledModel(labels, W.shape[1], len(W))
    least = positive_margin(model, W, H)
    ghat = model.residual(W, H)
    off = -float(ghat.gather(1, model.labels[:, None]).sum())
    lower = off / float(torch.linalg.matrix_norm(ghat, 2))
    upper = float(W.square().sum() + H.square().sum()) / (2 * least)
    nuclear = float(torch.linalg.svdvals(H @ (W - W.mean(0)).T).sum()) / least
    return SeparationCertificate(lower, upper, nuclear)


def positive_margin(model: LayerPeeledModel, W: Tensor, H: Tensor) -> float:
    """Return the minimum margin of all samples, refusing a pair that does not separate."""
    least = float(model.margins(W, H).min())
    if least <= 0:
        expected = "positive margins: every sample on its own side"
        remedy = "train until all samples are classified correctly"
        raise NeuralCollapseError("W, H", expected, f"a minimum margin of {least:.3g}", remedy)
    return least


@dataclass(frozen=True)
class LeastMarginBound:
    """The chain of the margin bound: margin <= nuclear <= product <= mean_square.

    Attributes
    ----------
    margin
        The minimum margin q_min over samples and other classes.
    nuclear
        ||H W^T||_* / D.
    product
        ||W|| ||H|| / D.
    mean_square
        (||W||^2 + ||H||^2) / (2 D).
    value
        D, the least norm of separation with margin 1.

    Examples
    --------
    >>> from neuralcollapse.theory import least_margin_bound, separation_optimum
    >>> best = separation_optimum([2, 2, 2], dim=2)
    >>> bound = least_margin_bound(best.W, best.H, best.labels)
    >>> round(bound.margin, 6), round(bound.mean_square, 6)  # equal: nothing does better
    (1.0, 1.0)
    """

    margin: float
    nuclear: float
    product: float
    mean_square: float
    value: float


def least_margin_bound(W: Any, H: Any, labels: Any) -> LeastMarginBound:
    r"""Bound the minimum margin by the norms of head and features.

    .. math:: q_{\min} \;\le\; \frac{\|H W^\top\|_*}{D} \;\le\; \frac{\|W\| \|H\|}{D} \;\le\;
        \frac{\|W\|^2 + \|H\|^2}{2 D}

    All are equal exactly at collapse with ||W|| = ||H||. D is (K - 1) sqrt(n) for balanced
    classes. The bound holds for every (W, H), separating or not.

    Parameters
    ----------
    W
        (K, d) head.
    H
        (N, d) features.
    labels
        (N,) class indices 0..K-1 in any order, each class with a sample.

    Returns
    -------
    LeastMarginBound
        Each term of the chain.

    Raises
    ------
    NeuralCollapseError
        If shapes or labels do not fit.
    NonFiniteError
        If an entry is NaN or infinite.

    References
    ----------
    Ji et al. 2022, Theorem 3.1, for balanced classes; the steps between, and any class sizes,
    are ours.

    Examples
    --------
    >>> from neuralcollapse.theory import least_margin_bound
    >>> bound = least_margin_bound([[1.0], [-1.0]], [[4.0], [-4.0]], [0, 1])
    >>> bound.margin, round(bound.product, 6), round(bound.mean_square, 6)
    (8.0, 8.0, 17.0)
    """
    W, H = finite_matrix("W", W), finite_matrix("H", H)
    model = LayerPeeledModel(labels, W.shape[1], len(W))
    value = separation_value(torch.bincount(model.labels))
    norm_w, norm_h = float(torch.linalg.matrix_norm(W)), float(torch.linalg.matrix_norm(H))
    return LeastMarginBound(
        margin=float(model.margins(W, H).min()),
        nuclear=float(torch.linalg.svdvals(H @ W.T).sum()) / value,
        product=norm_w * norm_h / value,
        mean_square=(norm_w**2 + norm_h**2) / (2 * value),
        value=value,
    )
