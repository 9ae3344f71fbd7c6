"""KKT points of minimum-norm separation that are not optimal, with their multipliers.

All are balanced: a pair for one sample per class becomes one for n samples by repeating the
features and moving a factor n^{1/4} to the head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.geometry.simplex_etf import standard_simplex
from neuralcollapse.validation import as_tensor, check_size, class_counts, whole_number


@dataclass(frozen=True)
class KKTPoint:
    """A KKT point of minimum-norm separation, scaled to margin 1.

    Attributes
    ----------
    W
        (K, d) head.
    H
        (N, d) features, one point per class.
    labels
        (N,) class-major.
    multipliers
        (N, K), one for each margin, 0 at the own class and where the margin is slack.
    value
        (||W||^2 + ||H||^2) / 2, the sum of the multipliers; the optimum has (K - 1) sqrt(n).

    Examples
    --------
    >>> from neuralcollapse.theory import paired_kkt_point, separation_value
    >>> point = paired_kkt_point()  # a KKT point that is no optimum
    >>> point.value > separation_value([1, 1, 1, 1])
    True
    """

    W: Float[Tensor, "K d"]
    H: Float[Tensor, "N d"]
    labels: Int[Tensor, " N"]
    multipliers: Float[Tensor, "N K"]
    value: float


def paired_kkt_point(samples_per_class: int = 1, dim: int = 3) -> KKTPoint:
    """Return four classes in two opposite pairs: rows e_1, -e_1, e_2, -e_2.

    Its value is 4 sqrt(n), where the simplex ETF has 3 sqrt(n).

    Parameters
    ----------
    samples_per_class
        n >= 1.
    dim
        d >= 2; the least in which it can be escaped is 3.

    Returns
    -------
    KKTPoint
        The pair, each with multipliers 1 / (2 sqrt(n)) on the two classes of the other pair.

    Raises
    ------
    NeuralCollapseError
        If n < 1 or d < 2.

    References
    ----------
    Ji et al. 2022, Example 3.1.

    Examples
    --------
    >>> from neuralcollapse.theory import paired_kkt_point
    >>> paired_kkt_point().value
    4.000000
    """
    return simplex_groups_kkt_point([2, 2], samples_per_class, dim)


def simplex_groups_kkt_point(
    group_sizes: Sequence[int], samples_per_class: int = 1, dim: int | None = None
) -> KKTPoint:
    r"""Return groups of classes, each group a simplex ETF in a subspace of its own.

    Classes of one group have margins above 1 and multiplier 0; those of different groups have
    margin 1, and a sample of a group of m classes the multiplier 1 / ((K - m) sqrt(n)).

    Parameters
    ----------
    group_sizes
        Classes in each group, at least two groups of at least 2; K is their sum.
    samples_per_class
        n >= 1.
    dim
        d >= K - (number of groups); K - 1 if omitted.

    Returns
    -------
    KKTPoint
        Of value K sqrt(n).

    Raises
    ------
    NeuralCollapseError
        If a group is too small, there is only one, n < 1, or d is too small.

    References
    ----------
    Ours; groups of two are Ji et al. 2022, Example 3.1.

    Examples
    --------
    >>> from neuralcollapse.theory import simplex_groups_kkt_point
    >>> point = simplex_groups_kkt_point([2, 3])
    >>> round(point.value, 6), (point.multipliers[0] * 3).round(decimals=6)
    (5.0, tensor([0., 0., 1., 1., 1.], dtype=torch.float64))
    """
    sizes = as_tensor("group_sizes", group_sizes)
    if sizes.ndim != 1 or len(sizes) < 2 or not bool((sizes >= 2).all()):
        expected = "at least two groups of at least 2 classes"
        remedy = "one group is the optimum, and a class alone has no simplex"
        raise NeuralCollapseError("group_sizes", expected, str(sizes.tolist()), remedy)
    sizes = class_counts("group_sizes", sizes).cpu()
    check_size("group_sizes", int(sizes.sum()), int(sizes.sum()))
    vertices = torch.block_diag(*(standard_simplex(size) for size in sizes.tolist()))
    group = torch.repeat_interleave(sizes)
    across = (group[:, None] != group).to(torch.float64)
    return _balanced_point(vertices, across / across.sum(1, keepdim=True), samples_per_class, dim)


def polygon_kkt_point(
    num_classes: int, samples_per_class: int = 1, dim: int | None = None
) -> KKTPoint:
    r"""Return K classes at the corners of a regular polygon in the plane.

    Only the margins to the two neighbours are active, with multipliers
    :math:`1 / (2 \sqrt n (1 - \cos(2\pi/K)))`.

    Parameters
    ----------
    num_classes
        K >= 4; the triangle is the optimum itself.
    samples_per_class
        n >= 1.
    dim
        d >= 2; K - 1 if omitted.

    Returns
    -------
    KKTPoint
        Of value K sqrt(n) / (1 - cos(2 pi / K)).

    Raises
    ------
    NeuralCollapseError
        If K < 4, n < 1 or d < 2.

    References
    ----------
    Ours.

    Examples
    --------
    >>> from neuralcollapse.theory import polygon_kkt_point
    >>> round(polygon_kkt_point(5, samples_per_class=2).value, 6)
    10.233345
    """
    num_classes = whole_number("num_classes", num_classes, 0)
    if num_classes < 4:
        raise NeuralCollapseError(
            "num_classes", "at least 4 classes", str(num_classes), "a triangle is already optimal"
        )
    check_size("num_classes", num_classes, num_classes)
    angles = 2 * math.pi * torch.arange(num_classes, dtype=torch.float64) / num_classes
    gap = 1 - math.cos(2 * math.pi / num_classes)
    vertices = torch.stack([angles.cos(), angles.sin()], 1) / math.sqrt(gap)
    here = torch.eye(num_classes, dtype=torch.float64)
    neighbours = here.roll(1, 1) + here.roll(-1, 1)
    return _balanced_point(vertices, neighbours / (2 * gap), samples_per_class, dim)


def _balanced_point(
    vertices: Tensor, multipliers: Tensor, samples_per_class: int, dim: int | None
) -> KKTPoint:
    """Lift W = H = vertices, one sample per class, to n samples per class in d dimensions."""
    num_classes, least_dim = vertices.shape
    dim = num_classes - 1 if dim is None else whole_number("dim", dim)
    samples_per_class = whole_number("samples_per_class", samples_per_class)
    if dim < least_dim:
        raise NeuralCollapseError(
            "dim", f"dim >= {least_dim}", f"dim = {dim}", "the point spans that many dimensions"
        )
    check_size("dim", num_classes, dim)
    check_size("samples_per_class", num_classes * samples_per_class, max(dim, num_classes))
    vertices = torch.nn.functional.pad(vertices, (0, dim - least_dim))
    labels = torch.arange(num_classes).repeat_interleave(samples_per_class)
    quarter = samples_per_class**0.25
    return KKTPoint(
        W=vertices * quarter,
        H=vertices[labels] / quarter,
        labels=labels,
        multipliers=multipliers[labels] / quarter**2,
        value=float(vertices.square().sum()) * quarter**2,
    )
