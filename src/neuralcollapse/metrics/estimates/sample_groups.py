"""Classes with one group of their samples left out in turn, for the jackknife."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.moments.group_sums import GROUPS

FEWEST = 5  # samples of a class, below which there is no interval
GROUP_BYTES = 2**28  # size of their sums up to which they are kept by default


def keeps_groups(intervals: bool | None, num_classes: int, dim: int) -> bool:
    """Return whether groups are kept: as requested, or by default up to 256 MiB.

    Examples
    --------
    >>> keeps_groups(None, 1000, 2048), keeps_groups(None, 1000, 4096), keeps_groups(True, 10**5, 1)
    (True, False, True)
    """
    if intervals is None:
        return GROUPS * num_classes * dim * 8 <= GROUP_BYTES
    return intervals


@dataclass(frozen=True, eq=False)
class Left:
    """Classes without the samples of one group.

    Attributes
    ----------
    sizes
        (P,) samples left of each class that has any.
    steps
        (P, d) how far their means have moved.
    spreads
        (P,) variance about the mean, with n_k - 1; of a class with one sample NaN.
    """

    sizes: Tensor
    steps: Tensor
    spreads: Tensor


def leave_out(moments: ClassMoments) -> Iterator[Left]:
    r"""Yield the classes without each group in turn; a single sample stays.

    .. math:: \mu'_k - \mu_k = -\frac{s_{gk}}{n'_k}, \qquad
        (n'_k - 1) v'_k = q_k - q_{gk} - n'_k \|\mu'_k - \mu_k\|^2

    with s the sum and q the sum of squares of the group about the mean of the whole class.

    Parameters
    ----------
    moments
        With groups.

    Examples
    --------
    >>> features = torch.tensor([[1.0], [3.0], [5.0]])
    >>> moments = ClassMoments(2, 1, groups=True).update(features, torch.tensor([0, 0, 1]))
    >>> first = next(leave_out(moments))  # without the first sample of the first class
    >>> first.sizes.tolist(), first.steps.tolist()
    ([1.0, 1.0], [[1.0], [-0.0]])
    """
    present = moments.present
    sizes = moments.counts[present].double()
    squares = moments.trace_variances[present] * sizes
    for count, total, square in moments.by_group():
        taken = count[present].double()
        stays = sizes - taken >= 1
        left = sizes - taken * stays
        steps = total[present].mul_(-(stays / left)[:, None])
        rest = squares - square[present] * stays - left * steps.square().sum(1)
        spreads = torch.where(left > 1, rest.clamp_min(0) / (left - 1), math.nan)
        yield Left(left, steps, spreads)
