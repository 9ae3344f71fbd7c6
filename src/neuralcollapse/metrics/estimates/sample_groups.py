"""SampleGroups: the samples of each class dealt into groups, to leave out one at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from neuralcollapse.moments.class_moments import ClassMoments

GROUPS = 16  # 10 and 20 cover alike
GROUP_BYTES = 2**28  # of their sums, up to which they are kept unasked


def keeps_groups(intervals: bool | None, num_classes: int, dim: int) -> bool:
    """Return whether groups are kept: as said, or else where they take at most 256 MiB.

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


class SampleGroups:
    r"""Count, sum and sum of squares of each class in each of 16 groups.

    The i-th sample of class k goes to group (i + k) mod 16: whatever the order of the data, the
    groups have equal parts of every class, and small classes are spread over all groups.

    Parameters
    ----------
    num_classes, dim
        K and d.

    Attributes
    ----------
    moments : ClassMoments
        Of 16 K classes, one a group and class.

    Examples
    --------
    >>> groups = SampleGroups(2, 1)
    >>> groups.gather(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1]))
    >>> groups.moments.counts.nonzero().squeeze(1).tolist()  # (0, 0), (1, 0) and (1, 1)
    [0, 2, 3]
    """

    def __init__(self, num_classes: int, dim: int) -> None:
        self.num_classes = num_classes
        self.moments = ClassMoments(GROUPS * num_classes, dim, scatter=False)
        self._seen = torch.zeros(num_classes, dtype=torch.int64)

    def gather(self, features: Tensor, labels: Tensor) -> None:
        """Add samples (n, d) with int64 labels (n,) in 0..K-1, on one device."""
        self._seen = self._seen.to(labels.device)
        counts = torch.bincount(labels, minlength=self.num_classes)
        order = labels.argsort(stable=True)
        place = torch.empty_like(labels)
        place[order] = torch.arange(len(labels), device=labels.device)
        # Place among the samples of its own class, before this batch and in it.
        place += (self._seen - (counts.cumsum(0) - counts))[labels]
        self._seen += counts
        self.moments.update(features, (place + labels) % GROUPS * self.num_classes + labels)

    def merge(self, other: SampleGroups) -> None:
        """Add the samples of another object of the same sizes."""
        self.moments.merge(other.moments)
        self._seen = self._seen + other._seen.to(self._seen.device)

    @property
    def counts(self) -> Tensor:
        """Samples of each group and class, (16, K)."""
        return self.moments.counts.view(GROUPS, self.num_classes)

    def restore(self, moments: ClassMoments) -> None:
        """Go on from moments that were kept."""
        self.moments = moments
        self._seen = self.counts.sum(0)

    def leave_out(self, whole: ClassMoments) -> Iterator[Left]:
        r"""Yield the classes without each group in turn; a single sample stays.

        .. math:: \mu'_k - \mu_k = -\frac{s_{gk}}{n'_k}, \qquad
            (n'_k - 1) v'_k = q_k - q_{gk} - n'_k \|\mu'_k - \mu_k\|^2

        with s the sum and q the sum of squares about the mean of the whole class.

        Parameters
        ----------
        whole
            Moments of all samples.
        """
        present = whole.present
        sizes, means = whole.counts[present].double(), whole.means[present]
        squares = whole.trace_variances[present] * sizes
        shape = (GROUPS, self.num_classes)
        counts = self.counts.to(present.device)
        all_means = self.moments.means.to(present.device)
        variances = self.moments.trace_variances.view(shape).to(present.device)
        for group in range(GROUPS):
            taken = counts[group][present].double()
            apart = all_means.view(*shape, -1)[group][present].sub_(means).nan_to_num_()
            inside = variances[group][present].nan_to_num() + apart.square().sum(1)
            taken[sizes - taken < 1] = 0
            left = sizes - taken
            steps = apart.mul_(-(taken / left)[:, None])
            rest = squares - taken * inside - left * steps.square().sum(1)
            spreads = torch.where(left > 1, rest.clamp_min(0) / (left - 1), math.nan)
            yield Left(left, steps, spreads)
