"""CDNV: the spread of two classes relative to their distance, pair by pair."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from neuralcollapse.metrics.between import require_two_classes
from neuralcollapse.metrics.pairs import PairMean, PairTile, sweep_pairs
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.validation import check_choice


def cdnv(
    moments: ClassMoments,
    reduce: Literal["mean", "max", "median"] = "mean",
    ddof: Literal[0, 1] = 0,
) -> float:
    r"""Return the class-distance normalised variance, over pairs of classes.

    .. math:: V_{ij} = \frac{v_i + v_j}{2 \|\mu_i - \mu_j\|^2}

    Parameters
    ----------
    moments
        Moments, also with ``scatter=False``.
    reduce
        ``"mean"`` over pairs, ``"max"`` (the worst pair), or ``"median"`` (the lower of the two
        middle values), which holds all K (K - 1) / 2 values in memory.
    ddof
        0: v_k is the mean squared distance to the class mean; 1: divided by n_k - 1 instead of
        n_k, infinite or undefined for a class of one sample.

    Returns
    -------
    float
        In [0, inf]; 0 when collapsed, inf if two class means coincide. A pair whose means
        coincide and which has no spread either is left out; NaN if that leaves no pair.

    Raises
    ------
    NeuralCollapseError
        If fewer than two classes have samples, or an option is unknown.

    References
    ----------
    Galanti, György & Hutter 2022, Definition 2.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import ClassMoments
    >>> from neuralcollapse.metrics import cdnv
    >>> features = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]])
    >>> cdnv(ClassMoments(2, 1).update(features, [0, 0, 1, 1]))
    0.062500
    """
    check_choice("reduce", reduce, ("mean", "max", "median"))
    check_choice("ddof", ddof, (0, 1))
    statistic = CDNVStatistic(moments, ddof, keep_all=reduce == "median")
    sweep_pairs(moments.centered_means(), [statistic])
    if reduce == "median":
        every = torch.cat(statistic.every)
        return float(every.median()) if len(every) else math.nan
    if reduce == "mean" or not statistic.values.count:
        return statistic.values.mean
    return statistic.values.maximum


class CDNVStatistic:
    """CDNV of every pair in a sweep over class means: mean, maximum and the worst pairs.

    Parameters
    ----------
    moments
        Moments of at least two classes.
    ddof
        See `cdnv`.
    worst
        How many of the worst pairs to keep.
    keep_all
        Keep the values of all pairs as well.

    Attributes
    ----------
    values : PairMean
        Mean and maximum over pairs.
    every : list of Tensor
        With `keep_all`, all values, in no particular order.
    undefined : int
        How many pairs were left out because they coincide and have no spread: 0/0.
    """

    def __init__(
        self, moments: ClassMoments, ddof: int = 0, worst: int = 10, keep_all: bool = False
    ) -> None:
        require_two_classes(moments)
        present = moments.present
        counts = moments.counts[present].to(torch.float64)  # integers would divide in float32
        self.values = PairMean()
        self._variances = moments.trace_variances[present] * (counts / (counts - ddof))
        self._labels = present.nonzero().squeeze(1)
        self._worst: list[tuple[float, int, int]] = []
        self._keep = worst
        self._keep_all = keep_all
        self.every: list[Tensor] = []
        self.undefined = 0

    def add(self, tile: PairTile) -> None:
        """Take the pairs of one tile into account."""
        a, b = tile.of_pairs((self._variances / (2 * tile.unit**2)).to(tile.gram.dtype))
        values, distances = a + b, tile.squared_distances
        i, j = (index.expand(values.shape) for index in (tile.i, tile.j))
        if tile.coincide:
            defined = (values != 0) | (distances != 0)
            self.undefined += int((~defined).sum())
            values, distances, i, j = (part[defined] for part in (values, distances, i, j))
        values.div_(distances)
        largest = self.values.add(values)
        if self._keep_all:
            self.every.append(values.flatten())
        # The top of a tile is looked for only where it can enter the list.
        floor = self._worst[-1][0] if len(self._worst) == self._keep else float("-inf")
        if largest > floor:
            top, flat = values.flatten().topk(min(self._keep, values.numel()))
            labels = (self._labels[index.flatten()[flat]].tolist() for index in (i, j))
            found = [*self._worst, *zip(top.tolist(), *labels, strict=True)]
            self._worst = sorted(found, key=lambda pair: -pair[0])[: self._keep]

    @property
    def worst_pairs(self) -> list[tuple[int, int, float]]:
        """The pairs (class i, class j, CDNV) with the largest CDNV, worst first."""
        return [(i, j, value) for value, i, j in self._worst]


def worst_pairs(moments: ClassMoments, count: int) -> list[tuple[int, int, float]]:
    """Return the pairs (class i, class j, CDNV) with the largest CDNV, worst first."""
    statistic = CDNVStatistic(moments, worst=count)
    sweep_pairs(moments.centered_means(), [statistic])
    return statistic.worst_pairs
