"""DecisionCounts: decisions counted class by class, in a fixed number of floats."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.metrics.decisions import TIED, alike

JUDGED, RIGHT, TIES, PLACED, PLACED_RIGHT, COMPARED, AGREEING = range(7)
SHARES = {
    "accuracy": (RIGHT, JUDGED),
    "ncc_accuracy": (PLACED_RIGHT, PLACED),
    "nc4_agreement": (AGREEING, COMPARED),
}
ROWS = 7


class DecisionCounts:
    """Per class: samples judged by the head, correct ones, ties, minimum margins; and NC4.

    Parameters
    ----------
    num_classes
        K.

    Attributes
    ----------
    table : Tensor
        (8, K) float64. Rows: samples with logits; those classified correctly; those whose largest
        logits tie; samples compared with class means; those nearest to their own mean; samples
        with both; those on which both agree; and the minimum margin, inf where there is none.

    Examples
    --------
    >>> counts = DecisionCounts(2)
    >>> own = torch.tensor([0, 1, 1])
    >>> counts.add_head(own, torch.tensor([2.0, 1.0, 0.0]), torch.tensor([0, 1, TIED]))
    >>> counts.by_class("accuracy"), counts.ties
    (tensor([1.0000, 0.5000], dtype=torch.float64), 1)
    """

    def __init__(self, num_classes: int) -> None:
        self.table = torch.zeros(ROWS + 1, num_classes, dtype=torch.float64, device="cpu")
        self.table[ROWS] = math.inf

    def add_head(self, labels: Tensor, margins: Tensor, winners: Tensor) -> None:
        """Add the decisions of a head: margins and winners of samples with labels, each (n,)."""
        self._count(labels, JUDGED, winners == labels, winners == TIED)
        self.table[ROWS].scatter_reduce_(0, labels, margins.to(torch.float64), "amin")

    def add_nearest(self, labels: Tensor, nearest: Tensor, winners: Tensor | None) -> None:
        """Add the nearest class mean of each sample (n,), and the decision of the head (n,)."""
        right, compared = nearest == labels, torch.ones_like(labels, dtype=torch.bool)
        agreeing = () if winners is None else (compared, alike(nearest, winners))
        self._count(labels, PLACED, right, *agreeing)

    def forget_nearest(self) -> None:
        """Drop what `add_nearest` counted, before comparing with other means."""
        self.table[PLACED : AGREEING + 1] = 0

    def merge(self, other: DecisionCounts) -> None:
        """Add the counts of other samples."""
        theirs = other.table.to(self.table.device)
        self.table[:ROWS] += theirs[:ROWS]
        self.table[ROWS] = torch.minimum(self.table[ROWS], theirs[ROWS])

    def by_class(self, name: str) -> Float[Tensor, " K"]:
        """Return a share for each class, (K,); NaN where no sample counts.

        Parameters
        ----------
        name
            A key of `SHARES`.
        """
        hits, total = (self.table[row] for row in SHARES[name])
        return hits / total

    def hits(self, name: str) -> tuple[int, int]:
        """Return numerator and denominator of a share: its hits, and the samples it is of."""
        hits, total = (int(self.table[row].sum()) for row in SHARES[name])
        return hits, total

    def share(self, name: str) -> float:
        """Return a share over all samples, in [0, 1]; NaN if none counts."""
        hits, total = self.hits(name)
        return hits / total if total else math.nan

    @property
    def told(self) -> list[str]:
        """The shares with a sample to count, keys of `SHARES`."""
        totals = self.table.sum(1)
        return [name for name, (_, total) in SHARES.items() if totals[total]]

    def shares(self) -> dict[str, float]:
        """Return the shares with a sample to count, and with the accuracy the minimum margin."""
        shares = {name: self.share(name) for name in self.told}
        return shares | {"margin_min": self.margin_min} if "accuracy" in shares else shares

    def per_class(self) -> dict[str, Float[Tensor, " K"]]:
        """Return the same for each class, (K,); NaN where no sample counts."""
        table = {name: self.by_class(name) for name in self.told}
        return table | {"margin_min": self.least_margins} if "accuracy" in table else table

    @property
    def judged(self) -> int:
        """The number of samples with logits."""
        return int(self.table[JUDGED].sum())

    @property
    def margin_min(self) -> float:
        """The minimum margin of all samples; NaN without logits."""
        return float(self.table[ROWS].min()) if self.judged else math.nan

    @property
    def ties(self) -> int:
        """The number of samples whose largest logits tie."""
        return int(self.table[TIES].sum())

    @property
    def least_margins(self) -> Float[Tensor, " K"]:
        """The minimum margin of each class, (K,); NaN where no sample has logits."""
        return self.table[ROWS].masked_fill(self.table[JUDGED] == 0, math.nan)

    def _count(self, labels: Tensor, first: int, *hits: Tensor) -> None:
        """Count the samples of each class in one row, and their hits in the rows that follow."""
        if self.table.device != labels.device:
            self.table = self.table.to(labels.device)
        rows = torch.stack([torch.ones_like(labels, dtype=torch.bool), *hits]).to(torch.float64)
        self.table[first : first + len(rows)].index_add_(1, labels, rows)
