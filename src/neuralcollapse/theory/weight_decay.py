"""The layer-peeled model with weight decay: its optimum, and a critical point that is none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.theory.separation import separation_optimum
from neuralcollapse.validation import check_size, decay_strength, smoothing_share, whole_number


@dataclass(frozen=True)
class WeightDecayPoint:
    """A critical point of cross-entropy with weight decay on head and features.

    Attributes
    ----------
    W
        (K, d) head; a rotation of it and of the features changes nothing.
    H
        (N, d) features, one point per class.
    labels
        (N,) class-major.
    margin
        q, the minimum margin, the same for every sample.
    value
        f, in nats.

    Examples
    --------
    >>> from neuralcollapse.theory import paired_critical_point
    >>> point = paired_critical_point(0.05, 0.05)
    >>> point.W.shape, point.margin > 0
    (torch.Size([4, 3]), True)
    """

    W: Float[Tensor, "K d"]
    H: Float[Tensor, "N d"]
    labels: Int[Tensor, " N"]
    margin: float
    value: float


@dataclass(frozen=True)
class WeightDecayOptimum(WeightDecayPoint):
    """The global minimum of cross-entropy with weight decay on head and features.

    Every other one is a rotation of it. ``margin`` q* is against every other class, and ``value``
    f* is log K at the origin.

    Attributes
    ----------
    status
        ``"collapsed"``, or ``"origin"`` where the decay is so strong that W = H = 0.
    zero_modes
        Multiplicity of the eigenvalue 0 of the Hessian, the directions of rotation; all other
        eigenvalues are positive.

    Examples
    --------
    >>> from neuralcollapse.theory import weight_decay_optimum
    >>> [weight_decay_optimum(2, 1, 1, decay, decay).status for decay in (0.1, 1.0)]
    ['collapsed', 'origin']
    """

    status: Literal["collapsed", "origin"]
    zero_modes: int


def weight_decay_optimum(
    num_classes: int,
    samples_per_class: int,
    dim: int,
    lambda_w: float,
    lambda_h: float,
    label_smoothing: float = 0.0,
) -> WeightDecayOptimum:
    r"""Minimise cross-entropy with weight decay over head and features, in closed form.

    .. math:: f = \frac1N L(W, H) + \frac{\lambda_W}{2} \|W\|^2 + \frac{\lambda_H}{2} \|H\|^2,
        \qquad r = \sqrt{\lambda_W \lambda_H}

    .. math:: c = r \sqrt n + \frac sK, \qquad q^* = \log\Bigl(\frac1c - K + 1\Bigr), \qquad
        f^* = \log(1 + (K-1) e^{-q^*}) + c (K-1) q^*

    for c < 1/K, with a simplex ETF as head and class means and
    ||W|| / ||H|| = sqrt(lambda_H / lambda_W). For larger c the minimum is the origin. A bias would
    change nothing. Label smoothing s, with targets (1 - s) e_k + s/K, is weight decay: it adds
    s / (K sqrt(n)) to r. Without decay the margin is finite, log(1 + K (1 - s) / s).

    Parameters
    ----------
    num_classes
        K >= 2.
    samples_per_class
        n >= 1.
    dim
        d >= K - 1.
    lambda_w, lambda_h
        Strengths of decay, above 0.
    label_smoothing
        s in [0, 1).

    Returns
    -------
    WeightDecayOptimum
        The minimiser, its margin, value and number of zero modes.

    Raises
    ------
    NeuralCollapseError
        If a strength is not above 0, s is not in [0, 1), n < 1, K < 2 or d < K - 1.

    References
    ----------
    Zhu et al. 2021, "A geometric analysis of neural collapse with unconstrained features",
    Theorem 3.1; the closed form of q*, label smoothing and the count of zero modes are ours.

    Examples
    --------
    >>> import math
    >>> from neuralcollapse.theory import weight_decay_optimum
    >>> best = weight_decay_optimum(2, 1, dim=1, lambda_w=0.1, lambda_h=0.1)
    >>> round(best.margin - math.log(9), 12), best.zero_modes
    (0.0, 0)
    >>> smoothed = weight_decay_optimum(2, 1, 1, 0.05, 0.05, label_smoothing=0.1)
    >>> round(smoothed.margin - best.margin, 12)  # 0.05 + 0.1 / 2
    0.0
    """
    lambda_w, lambda_h = decay_strength("lambda_w", lambda_w), decay_strength("lambda_h", lambda_h)
    smoothing = smoothing_share(label_smoothing)
    num_classes = whole_number("num_classes", num_classes, 2)
    samples_per_class = whole_number("samples_per_class", samples_per_class)
    check_size("num_classes", num_classes, num_classes)
    unit = separation_optimum([samples_per_class] * num_classes, dim)
    strength = math.sqrt(lambda_w * lambda_h)
    pull = strength * math.sqrt(samples_per_class) + smoothing / num_classes
    if pull * num_classes >= 1:
        zeros = torch.zeros_like(unit.W), torch.zeros_like(unit.H)
        return WeightDecayOptimum(*zeros, unit.labels, 0.0, math.log(num_classes), "origin", 0)
    margin = math.log(1 / pull - num_classes + 1)
    others = num_classes - 1
    balance = (lambda_h / lambda_w) ** 0.25
    spare = dim - num_classes + 1
    return WeightDecayOptimum(
        status="collapsed",
        W=unit.W * math.sqrt(margin) * balance,
        H=unit.H * math.sqrt(margin) / balance,
        labels=unit.labels,
        margin=margin,
        value=math.log1p(others * math.exp(-margin)) + pull * others * margin,
        zero_modes=(dim * (dim - 1) - spare * (spare - 1)) // 2,
    )


def paired_critical_point(
    lambda_w: float,
    lambda_h: float,
    samples_per_class: int = 1,
    dim: int = 3,
    num_classes: int = 4,
) -> WeightDecayPoint:
    r"""Return a critical point that is no minimum: classes in opposite pairs, with weight decay.

    Rows +-a e_i and features +-b e_i have logits ab, -ab and 0, and are critical where

    .. math:: f = \log(1 + (K-2) x + x^2) - c \log x, \qquad x = e^{-ab}, \qquad
        c = K \sqrt{n \lambda_W \lambda_H},

    is least, with :math:`a / b = (n \lambda_H / \lambda_W)^{1/2}`. For four classes
    :math:`ab = \log(2 / c - 1)`. The margin is ab against classes of other pairs.

    Parameters
    ----------
    lambda_w, lambda_h
        Strengths of decay, above 0.
    samples_per_class
        n >= 1.
    dim
        d >= K / 2; `weight_decay_escape` needs d >= K - 1.
    num_classes
        K, even, at least 4.

    Returns
    -------
    WeightDecayPoint
        The point.

    Raises
    ------
    NeuralCollapseError
        If a number is out of range, or c >= 1: the origin is then the only critical point.

    References
    ----------
    Ji et al. 2022, Example 3.1, for the pairs; with weight decay it is ours.

    Examples
    --------
    >>> import math
    >>> from neuralcollapse.theory import paired_critical_point, weight_decay_escape
    >>> point = paired_critical_point(0.05, 0.05)  # c = 0.2
    >>> round(point.margin - math.log(9), 12)
    0.0
    >>> weight_decay_escape(point.W, point.H, point.labels, 0.05, 0.05).status
    'escape'
    """
    lambda_w, lambda_h = decay_strength("lambda_w", lambda_w), decay_strength("lambda_h", lambda_h)
    n, num = (
        whole_number("samples_per_class", samples_per_class),
        whole_number("num_classes", num_classes, 4),
    )
    pairs, dim = num // 2, whole_number("dim", dim)
    if num % 2 or dim < pairs:
        where = "num_classes" if num % 2 else "dim"
        expected = "an even number" if num % 2 else f"dim >= num_classes / 2 = {pairs}"
        remedy = "each pair of classes needs a direction of its own"
        raise NeuralCollapseError(where, expected, str(num if num % 2 else dim), remedy)
    check_size("dim", num, dim)
    check_size("samples_per_class", num * n, dim)
    pull = num * math.sqrt(n * lambda_w * lambda_h)
    if pull >= 1:
        expected = "num_classes sqrt(samples_per_class lambda_w lambda_h) below 1"
        remedy = "with so much decay the origin alone is critical"
        raise NeuralCollapseError("lambda_w", expected, f"{pull:.4g}", remedy)
    cross = (num - 2) * (1 - pull)  # the positive root of (2 - c) x^2 + cross x - c
    x = 2 * pull / (cross + math.sqrt(cross**2 + 4 * pull * (2 - pull)))
    margin, balance = -math.log(x), (n * lambda_h / lambda_w) ** 0.25
    rows = torch.zeros(num, dim, dtype=torch.float64)
    rows[torch.arange(num), torch.arange(num) // 2] = 1 - 2.0 * (torch.arange(num) % 2).double()
    rows *= math.sqrt(margin)
    labels = torch.arange(num).repeat_interleave(n)
    value = math.log1p((num - 2) * x + x * x) + pull * margin
    return WeightDecayPoint(rows * balance, rows[labels] / balance, labels, margin, value)
