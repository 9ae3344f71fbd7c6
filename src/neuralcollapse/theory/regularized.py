"""The regularised MSE model with free features: every minimiser, in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.geometry.rotation import random_isometry
from neuralcollapse.theory.sufficient_statistics import class_means, sample_counts
from neuralcollapse.validation import (
    check_shape,
    check_size,
    decay_strength,
    finite_matrix,
    integer_labels,
    whole_number,
)


@dataclass(frozen=True)
class RegularizedMinimizer:
    """A global minimiser of the regularised MSE model.

    Attributes
    ----------
    W
        (K, d) head weight.
    H
        (Kn, d) features, class-major, collapsed: every row its class mean.
    means
        (K, d) class means.
    labels
        (Kn,) class of each row of H.
    value
        Least value of the loss.

    Examples
    --------
    >>> from neuralcollapse.theory import regularized_mse_minimizer
    >>> best = regularized_mse_minimizer(3, 2, 5, lambda_w=0.5, lambda_h=0.02)
    >>> best.labels.tolist(), bool((best.H == best.means[best.labels]).all())
    ([0, 0, 1, 1, 2, 2], True)
    """

    W: Float[Tensor, "K d"]
    H: Float[Tensor, "N d"]
    means: Float[Tensor, "K d"]
    labels: Int[Tensor, " N"]
    value: float


@dataclass(frozen=True)
class Optimality:
    """How far a pair (W, H) is from a global minimiser; all zero exactly at one.

    Attributes
    ----------
    gap
        Loss above its least value; within 1e-14 of the loss, of either sign, it is rounding.
    gradient_norm
        Frobenius norm of the gradient over W and H together.
    within
        Root mean square distance of the features from their class means.
    frame
        Frobenius distance of the Gram matrix of the class means (of their coordinates, if d < K)
        from the optimal multiple of the identity.
    duality
        Frobenius distance of W from sqrt(lambda_h / lambda_w) times the class means.

    Examples
    --------
    >>> from neuralcollapse.theory import regularized_mse_minimizer, regularized_mse_optimality
    >>> best = regularized_mse_minimizer(3, 2, 5, lambda_w=0.5, lambda_h=0.02)
    >>> check = regularized_mse_optimality(1.1 * best.W, best.H, best.labels, 0.5, 0.02)
    >>> check.gap > 0, check.within < 1e-12, check.duality > 0.01
    (True, True, True)
    """

    gap: float
    gradient_norm: float
    within: float
    frame: float
    duality: float


def regularized_mse_minimizer(
    K: int,
    n: int,
    d: int,
    lambda_w: float,
    lambda_h: float,
    generator: torch.Generator | None = None,
) -> RegularizedMinimizer:
    r"""Return a global minimiser of the regularised MSE model, at random among all of them.

    .. math:: f(W, H) = \frac1{2Kn} \|H W^\top - Y\|^2 + \frac{\lambda_W}{2K} \|W\|^2
                        + \frac{\lambda_H}{2Kn} \|H\|^2

    With :math:`c = \sqrt{\lambda_H \lambda_W} < 1` the minimisers are exactly the collapsed ones
    with class means :math:`\sqrt\rho\, R`, :math:`\rho = (1 - c) \sqrt{\lambda_W / \lambda_H}`, and
    :math:`W = \sqrt{\lambda_H / \lambda_W} \sqrt\rho\, R`, where the (K, d) matrix R has
    orthonormal rows (columns, if d < K); with :math:`r = \min(K, d)` the least value is
    :math:`\frac12 - \frac rK \frac{(1 - c)^2}2`. With :math:`c \ge 1` only zero minimises.

    Parameters
    ----------
    K
        Number of classes, at least 2.
    n
        Samples in each class, at least 1.
    d
        Dimension of the features, at least 1.
    lambda_w, lambda_h
        Strengths of the regularisation, above 0.
    generator
        Random state of the orientation R (Haar measure); torch's global one if omitted.

    Returns
    -------
    RegularizedMinimizer
        Head, features and the least value.

    Raises
    ------
    NeuralCollapseError
        If a size or a strength is out of range.

    References
    ----------
    Tirer, Huang & Niles-Weed 2023, Theorem 2.1. The least value, d < K and c >= 1 are ours.

    Examples
    --------
    >>> from neuralcollapse.theory import regularized_mse_minimizer
    >>> minimizer = regularized_mse_minimizer(3, 2, 5, lambda_w=0.5, lambda_h=0.02)
    >>> minimizer.means.square().sum(1)  # rho = 0.9 * 5
    tensor([4.5000, 4.5000, 4.5000], dtype=torch.float64)
    >>> round(minimizer.value, 6)  # c - c^2 / 2 with c = 0.1
    0.095
    """
    K, n, d = whole_number("K", K, 2), whole_number("n", n), whole_number("d", d)
    ratio = math.sqrt(decay_strength("lambda_h", lambda_h) / decay_strength("lambda_w", lambda_w))
    check_size("d", K, d)
    check_size("n", K * n, d)
    frame = random_isometry(min(K, d), max(K, d), generator)
    means = math.sqrt(_radius_squared(lambda_w, lambda_h)) * (frame.T if d < K else frame)
    labels = torch.arange(K).repeat_interleave(n)
    value = _least_value(K, d, lambda_w, lambda_h)
    return RegularizedMinimizer(ratio * means, means[labels], means, labels, value)


def regularized_mse_loss(W: Any, H: Any, labels: Any, lambda_w: float, lambda_h: float) -> float:
    r"""Evaluate the regularised MSE loss, for classes of any sizes.

    .. math:: f(W, H) = \frac1{2N} \|H W^\top - Y\|^2 + \frac{\lambda_W}{2K} \|W\|^2
                        + \frac{\lambda_H}{2N} \|H\|^2

    Parameters
    ----------
    W
        (K, d) head weight.
    H
        (N, d) features.
    labels
        (N,) class indices 0..K-1, in any order.
    lambda_w, lambda_h
        Strengths of the regularisation, above 0.

    Returns
    -------
    float
        The loss.

    Raises
    ------
    NeuralCollapseError
        If the shapes do not fit together or a strength is not positive.
    NonFiniteError
        If an entry of W or H is NaN or infinite.

    References
    ----------
    Tirer, Huang & Niles-Weed 2023, Equation 1.

    Examples
    --------
    >>> from neuralcollapse.theory import regularized_mse_loss
    >>> regularized_mse_loss([[0.0], [0.0]], [[1.0], [1.0]], [0, 1], lambda_w=1, lambda_h=1)
    1.000000
    """
    W, H, labels = _checked(W, H, labels)
    residual = _residual(W, H, labels)
    num_samples, num_classes = residual.shape
    squared = residual.square().sum() + decay_strength("lambda_h", lambda_h) * H.square().sum()
    decay = decay_strength("lambda_w", lambda_w) * W.square().sum() / num_classes
    return float(squared / num_samples + decay) / 2


def regularized_mse_optimality(
    W: Any, H: Any, labels: Any, lambda_w: float, lambda_h: float
) -> Optimality:
    """Measure how far a pair (W, H) is from the global minimisers of the regularised MSE model.

    Parameters
    ----------
    W
        (K, d) head weight.
    H
        (N, d) features.
    labels
        (N,) class indices, every class the same number of times.
    lambda_w, lambda_h
        Strengths of the regularisation, above 0.

    Returns
    -------
    Optimality
        Gap to the least value, gradient norm, and the distance from each structural property.

    Raises
    ------
    NeuralCollapseError
        If the shapes do not fit together, class sizes differ or a strength is not positive.
    NonFiniteError
        If an entry of W or H is NaN or infinite.

    References
    ----------
    Tirer, Huang & Niles-Weed 2023, Theorem 2.1.

    Examples
    --------
    >>> from neuralcollapse.theory import regularized_mse_minimizer, regularized_mse_optimality
    >>> optimum = regularized_mse_minimizer(3, 2, 5, 0.5, 0.02)
    >>> check = regularized_mse_optimality(optimum.W, optimum.H, optimum.labels, 0.5, 0.02)
    >>> abs(check.gap) < 1e-14, check.gradient_norm < 1e-14, check.duality < 1e-14
    (True, True, True)
    """
    W, H, labels = _checked(W, H, labels)
    num_classes, dim = W.shape
    counts = balanced_counts(labels)
    check_shape("W", W, (len(counts), "d"), "pass one row per class of the labels")
    gap = regularized_mse_loss(W, H, labels, lambda_w, lambda_h)
    gap -= _least_value(num_classes, dim, lambda_w, lambda_h)
    means = class_means(H, labels, counts)
    gram = means @ means.T if num_classes <= dim else means.T @ means
    optimal = _radius_squared(lambda_w, lambda_h) * torch.eye(len(gram), dtype=torch.float64)
    return Optimality(
        gap=gap,
        gradient_norm=joint_gradient_norm(W, H, labels, lambda_w, lambda_h * H),
        within=float((H - means[labels]).norm()) / math.sqrt(len(H)),
        frame=float((gram - optimal).norm()),
        duality=float((W - math.sqrt(lambda_h / lambda_w) * means).norm()),
    )


def joint_gradient_norm(
    W: Float[Tensor, "K d"],
    H: Float[Tensor, "N d"],
    labels: Int[Tensor, " N"],
    lambda_w: float,
    pull: Float[Tensor, "N d"],
) -> float:
    """Return the norm of the gradient of a regularised MSE loss over head and features together.

    Parameters
    ----------
    W, H, labels, lambda_w
        As in `regularized_mse_loss`, checked.
    pull
        (N, d) N times the gradient of what else the loss has by the features: their decay, and
        what holds them.

    Examples
    --------
    >>> H, labels = torch.eye(2).double(), torch.tensor([0, 1])
    >>> joint_gradient_norm(H / 2, H, labels, 1.0, H / 4)  # of the optimal head, at rest
    0.0
    """
    residual = _residual(W, H, labels)
    by_head = residual.T @ H / len(H) + lambda_w / len(W) * W
    by_features = (residual @ W + pull) / len(H)
    return math.hypot(float(by_head.norm()), float(by_features.norm()))


def balanced_counts(labels: Int[Tensor, " N"]) -> Int[Tensor, " K"]:
    """Count the samples of each class, refusing unequal sizes.

    Parameters
    ----------
    labels
        (N,) class indices.

    Returns
    -------
    Tensor of shape (K,), int64
        The counts, all the same.

    Raises
    ------
    NeuralCollapseError
        If class sizes differ.

    Examples
    --------
    >>> balanced_counts(torch.tensor([0, 1, 1, 0]))
    tensor([2, 2])
    """
    counts = sample_counts(labels)
    if bool((counts != counts[0]).any()):
        got = f"sizes from {int(counts.min())} to {int(counts.max())}"
        remedy = "the closed form holds for balanced classes only: subsample the larger ones"
        raise NeuralCollapseError("labels", "classes of equal size", got, remedy)
    return counts


def _radius_squared(lambda_w: float, lambda_h: float) -> float:
    """Squared norm rho of the optimal class means (0 where regularisation wins)."""
    return max(0.0, math.sqrt(lambda_w / lambda_h) - lambda_w)


def _least_value(num_classes: int, dim: int, lambda_w: float, lambda_h: float) -> float:
    c, share = min(1.0, math.sqrt(lambda_h * lambda_w)), min(1, dim / num_classes)
    return (1 - share) / 2 + share * c * (1 - c / 2)


def _residual(W: Tensor, H: Tensor, labels: Tensor) -> Tensor:
    residual = H @ W.T
    residual[torch.arange(len(H)), labels] -= 1
    return residual


def _checked(W: Any, H: Any, labels: Any) -> tuple[Tensor, Tensor, Tensor]:
    W, H = finite_matrix("W", W).cpu(), finite_matrix("H", H).cpu()
    if W.shape[1] != H.shape[1]:
        raise NeuralCollapseError(
            "W", f"{H.shape[1]} columns, as H", f"{W.shape[1]}", "pass W as (K, d), H as (N, d)"
        )
    return W, H, integer_labels("labels", labels, H.shape[0], W.shape[0]).cpu()
