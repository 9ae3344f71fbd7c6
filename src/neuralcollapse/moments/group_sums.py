"""GroupSums: the sums of each class in 16 groups of samples, to leave out one at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

GROUPS = 16  # 10 and 20 cover alike


def deal(labels: Tensor, incoming: Tensor, seen: Tensor) -> Tensor:
    """Return the cell of each sample, (n,): its group times K, plus its class.

    The i-th sample of class k goes to group (i + k) mod 16: whatever the order of the data, the
    groups have equal parts of every class, and small classes are spread over all groups.

    Parameters
    ----------
    labels
        (n,) int64 in 0..K-1.
    incoming, seen
        (K,) samples of each class among them, and before.

    Examples
    --------
    >>> labels = torch.tensor([0, 0, 1])
    >>> deal(labels, labels.bincount(), torch.tensor([0, 0]))
    tensor([0, 2, 3])
    """
    order = labels.argsort(stable=True)
    place = torch.empty_like(labels)
    place[order] = torch.arange(len(labels), device=labels.device)
    # The place among the samples of its own class, before these and in them.
    place += (seen - (incoming.cumsum(0) - incoming))[labels]
    return (place + labels) % GROUPS * len(incoming) + labels


class GroupSums:
    r"""Count, sum and sum of squares of each class in each of 16 groups, about the class's shift.

    Parameters
    ----------
    num_classes, dim
        K and d.
    device
        Where the sums live.

    Attributes
    ----------
    count : Tensor
        (16, K) int64.
    square : Tensor
        (16, K) sums of \|x - c_k\|^2, float64.
    sum : Tensor
        (16, K, d) sums of x - c_k, float64.
    """

    def __init__(self, num_classes: int, dim: int, device: torch.device) -> None:
        shape = (GROUPS, num_classes)
        self.count = torch.zeros(shape, dtype=torch.int64, device=device)
        self.square = torch.zeros(shape, dtype=torch.float64, device=device)
        self.sum = torch.zeros(*shape, dim, dtype=torch.float64, device=device)

    def move(self, step: Tensor, classes: Tensor | slice = slice(None)) -> None:
        """Go over from sums of x - c to those of x - c + step, for steps (c, d) of some classes."""
        for count, square, total in zip(self.count, self.square, self.sum, strict=True):
            moved = count[classes, None] * step
            square[classes] += (step * (2 * total[classes] + moved)).sum(1)
            total[classes] += moved

    def merge(self, other: GroupSums) -> None:
        """Add the sums of other samples about the same shifts."""
        self.count += other.count
        self.square += other.square
        self.sum += other.sum

    def to(self, device: torch.device) -> GroupSums:
        """Return a copy on another device."""
        copy = GroupSums(self.sum.shape[1], self.sum.shape[2], device)
        for name in ("count", "square", "sum"):
            getattr(copy, name).copy_(getattr(self, name))
        return copy

    def about(self, miss: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield count (K,), sum (K, d) and squares (K,) of each group about c + miss."""
        for count, square, total in zip(self.count, self.square, self.sum, strict=True):
            moved = count[:, None] * miss
            yield count, total - moved, square - (miss * (2 * total - moved)).sum(1)
