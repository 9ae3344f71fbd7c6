"""The between-class scatter, restricted to the directions that the class means span."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.moments.checked_moments import checked_moments
from neuralcollapse.moments.class_moments import Center, ClassMoments, Weighting
from neuralcollapse.validation import check_choice

EPS = torch.finfo(torch.float64).eps
KNOWN = 10  # times the round-off: what is above it has a correct digit
STEEP = 1e-8  # of the largest eigenvalue: that of a smaller one has lost half of its digits


def require_two_classes(moments: ClassMoments) -> None:
    """Refuse moments that hold samples of fewer than two classes."""
    present = int(checked_moments(moments).present.sum())
    if present < 2:
        expected = "samples of at least 2 classes"
        remedy = "collapse compares classes: measure on data that has several"
        raise NeuralCollapseError("moments", expected, f"samples of {present}", remedy)


def weighted_means(moments: ClassMoments, weighting: Weighting, center: Center) -> Tensor:
    """Return rows R, one per present class, with R^T R = Sigma_B."""
    require_two_classes(moments)
    weights = moments.class_weights(weighting)[moments.present]
    return moments.centered_means(center).mul_(weights.sqrt()[:, None])


def between_whitener(moments: ClassMoments, weighting: Weighting, center: Center) -> Tensor:
    """Return B (r, d), r = rank of Sigma_B, with B^T B = Sigma_B^+; empty if all means equal."""
    require_two_classes(moments)
    check_choice("between", weighting, get_args(Weighting))
    check_choice("center", center, get_args(Center))
    if moments.balanced:
        weighting, center = "balanced", "class_mean"
    key = ("whitener", weighting, center)
    return moments.remembered(key, lambda: _whitener(moments, weighting, center))


def _whitener(moments: ClassMoments, weighting: Weighting, center: Center) -> Tensor:
    num, dim = int(moments.present.sum()), moments.dim
    if num <= dim:
        rows = weighted_means(moments, weighting, center)
        small = rows @ rows.T
    else:
        small = moments.between_scatter(weighting, center)
    values, vectors = torch.linalg.eigh(small)
    # Class means are known to round-off of their own size: below it there is no direction. The
    # means lie in a plane through the centre, so one direction fewer than classes.
    floor = max(max(num, dim) * EPS * float(values[-1]), (4 * moments.round_off) ** 2)
    kept = values > floor
    if num <= dim:
        kept[0] = False
    told = int(kept.sum())
    if told < min(num - 1, dim):
        told = max(told, _told_apart(moments, rows if num <= dim else None, small))
    # Squares have lost the digits of short directions, and do not show those told by features.
    if told > int(kept.sum()) or bool((values[kept] < STEEP * values[-1]).any()):
        rows = weighted_means(moments, weighting, center)
        _, lengths, directions = torch.linalg.svd(rows, full_matrices=False)
        return directions[:told] / lengths[:told, None]
    values, vectors = values[kept], vectors[:, kept]
    if num <= dim:
        return (vectors / values).T @ rows
    return (vectors / values.sqrt()).T


def leaves_out_classes(moments: ClassMoments) -> bool:
    """Return whether class means surely differ where `between_whitener` has no direction.

    They differ there by less than 1e-8 or so of their largest difference: no scatter tells how far
    samples spread, but means are known to twice the digits of their squares.

    Examples
    --------
    >>> turned = torch.tensor([[0.6, 0.8], [-0.8, 0.6]], dtype=torch.float64)
    >>> for apart in (1e-6, 1e-10, 0.0):
    ...     means = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, apart]], dtype=torch.float64)
    ...     leaves_out_classes(ClassMoments(3, 2).update(means @ turned, [0, 1, 2]))
    False
    True
    False
    """
    told = len(between_whitener(moments, "balanced", "class_mean"))
    most = min(int(moments.present.sum()) - 1, moments.dim)
    if told == most:
        return False
    lengths = torch.linalg.svdvals(weighted_means(moments, "balanced", "class_mean"))
    known = max(moments.round_off, max(moments.means.shape) * EPS * float(lengths[0]))
    return bool(lengths[told] > KNOWN * known)


def _told_apart(moments: ClassMoments, rows: Tensor | None, small: Tensor) -> int:
    """Return in how many directions class means differ, each feature in units of its own error.

    A massive feature is rounded more coarsely than the others, and hides none of them.
    """
    means, counts = moments.means[moments.present], moments.counts[moments.present, None]
    spread = moments.trace_variances[moments.present].mean() / moments.dim
    within = moments.within.diagonal() if moments.scatter else spread
    rounded = ((means.square() + within) / counts).sum(0).mul(moments.rounding).sqrt()
    errors = rounded + EPS * means.norm(dim=0)
    errors = errors.where(errors > 0, 1.0)
    if rows is not None:
        small = (rows / errors) @ (rows / errors).T
    values = torch.linalg.eigvalsh(small if rows is not None else small / errors / errors[:, None])
    floor = max(max(len(means), moments.dim) * EPS * float(values[-1]), 16 * moments.dim)
    return int((values[int(rows is not None) :] > floor).sum())  # one fewer than classes
