"""SecondLook: what each group of samples adds to the scatter along a few directions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from neuralcollapse.metrics.estimates.class_sample import ClassSample
from neuralcollapse.metrics.estimates.corrected import PROBES
from neuralcollapse.metrics.estimates.sample_groups import FEWEST
from neuralcollapse.metrics.head import linear_scores
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.moments.group_sums import GROUPS, deal
from neuralcollapse.moments.slab import part_rows

MOST_PAIRED = 2048  # classes, up to which K x K matrices are held
CHEAP_SHARE = 8  # directions may be so many times fewer than features,
CHEAP_PRODUCTS = 2**29  # or their products this many in all, for a look that was not requested


class SecondLook:
    r"""Sums of \|L (x - mu_y)\|^2 over each group of samples, for the metrics of the scatter.

    To leave a group out of a d x d scatter S takes its own, of which there would be 16. But a
    metric moves with S by tr(L dS L^T) to first order, L being `Corrected.probe`: of each group
    one number is enough. It needs the class means, and so a second look at the samples.

    Parameters
    ----------
    moments
        Of all samples, with their scatter.

    Attributes
    ----------
    sums : Tensor
        (metrics, 16), in the order of `PROBES`; NaN for a metric that these samples do not tell.

    Examples
    --------
    >>> features, labels = torch.tensor([[1.0], [3.0], [5.0], [9.0]]), torch.tensor([0, 0, 1, 1])
    >>> look = SecondLook(ClassMoments(2, 1).update(features, labels))
    >>> look.add(features, labels)
    >>> look.sums[0, :3] / look.sums[0].sum()  # squares 1, then 1 + 4, then 4
    tensor([0.1000, 0.5000, 0.4000], dtype=torch.float64)
    """

    def __init__(self, moments: ClassMoments) -> None:
        sample = ClassSample.of(moments)
        found = [probe(sample) for probe in PROBES]
        self._parts = [0 if rows is None else len(rows) for rows in found]
        rows = [rows for rows in found if rows is not None]
        self._rows = torch.cat([sample.rows[:0], *rows]) / sample.unit
        self._means = moments.means.nan_to_num()
        self._seen = torch.zeros_like(moments.counts)
        self._cast: dict[torch.dtype, tuple[Tensor, Tensor, Tensor]] = {}
        missing = torch.tensor([rows is None for rows in found], device="cpu")
        self.sums = torch.zeros(len(PROBES), GROUPS, dtype=torch.float64, device="cpu")
        self.sums[missing] = torch.nan

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Add samples (n, d) with int64 labels (n,), in the order of the first look."""
        wide = features.dtype == torch.float64 or not features.is_floating_point()
        rows, centers, rest = self._in(torch.float64 if wide else torch.float32, features.device)
        incoming = torch.bincount(labels, minlength=len(self._seen))
        self._seen = self._seen.to(labels.device)
        groups = deal(labels, incoming, self._seen) // len(incoming)
        self._seen = self._seen + incoming
        size, found = part_rows(features.shape[1], features.device), []
        for part, classes in zip(features.split(size), labels.split(size), strict=True):
            # The class mean is taken off before the product, so that collapsed classes keep digits.
            apart = centers.index_select(0, classes)
            torch.sub(part.to(rows.dtype), apart, out=apart)  # a third array would cost as much
            found.append(linear_scores(apart, rows).T)
        along = torch.cat(found, 1).T.sub_(rest.index_select(0, labels)).double()
        for place, part in enumerate(along.square_().split(self._parts, dim=1)):
            self.sums[place] += torch.bincount(groups, part.sum(1), minlength=GROUPS).cpu()

    def _in(self, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Return directions, class means in a dtype, and what these lack, along the directions."""
        if dtype not in self._cast:
            rows, means = self._rows.to(device), self._means.to(device)
            centers = means.to(dtype)
            rest = (means - centers) @ rows.T
            self._cast[dtype] = rows.to(dtype), centers, rest.to(dtype)
        return self._cast[dtype]


def looks_again(intervals: bool | None, moments: ClassMoments) -> bool:
    """Return whether samples are looked at again: if requested, or if that costs little.

    Parameters
    ----------
    intervals
        Whether intervals were requested; None if the caller did not say.
    moments
        Of all samples.
    """
    counts = moments.counts[moments.present]
    total, rank = int(counts.sum()), len(counts) - 1
    if not (moments.groups and moments.scatter and 0 < rank < MOST_PAIRED):
        return False
    if int(counts.min()) < FEWEST or not float(moments.trace_variances.nansum()) > 0:
        return False
    directions = rank * len(PROBES)
    few = CHEAP_SHARE * directions <= moments.dim
    return bool(intervals) or few or total * moments.dim * directions <= CHEAP_PRODUCTS


def scatter_changes(
    rows: Tensor, sample: ClassSample, replicates: Sequence[ClassSample], sums: Tensor
) -> list[float]:
    r"""Return how far tr(L S L^T) moves without each group.

    .. math:: \nu' S' = \nu S - \sum_{i \in g} (x_i - \mu)(x_i - \mu)^\top
        - \sum_k n'_k (\mu'_k - \mu_k)(\mu'_k - \mu_k)^\top

    Parameters
    ----------
    rows
        L, (m, d).
    sample, replicates
        The whole, and it without each group.
    sums
        (16,) of `SecondLook`.
    """
    nu = sample.pooled.nu
    whole = float(((rows @ sample.pooled.matrix) * rows).sum()) * nu
    changes = []
    for part, taken in zip(replicates, sums.tolist(), strict=True):
        assert part.left is not None
        steps = part.left.steps / sample.unit
        moved = float(part.left.sizes @ (steps @ rows.T).square().sum(1))
        left = float(part.sizes.sum()) - len(part)
        changes.append((whole - taken - moved) / left - whole / nu)
    return changes
