"""KeptSamples: what is remembered about single samples, within a budget."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import torch
from jaxtyping import Float, Int
from torch import Tensor

CHUNK_ROWS = 2048  # fewer rows would cost more in calls than in work, more rows a large copy
Batch = tuple[Tensor, Tensor, Tensor | None]  # features, labels, winners


class KeptSamples:
    """Margin and label of every sample, and features until the class means are known.

    Features are kept as they are passed, without a copy, until their budget is spent; then all
    are dropped, since keeping only some would not save the second pass over the data.

    Parameters
    ----------
    budget
        Bytes of features to keep.
    labels, margins, decided, confidences
        (n,) values of earlier samples, whose features are not kept.

    Examples
    --------
    >>> kept = KeptSamples(budget=100)
    >>> margins, winners = torch.tensor([0.5, -1.0]), torch.tensor([0, 0])
    >>> kept.add(torch.ones(2, 3), torch.tensor([0, 1]), margins, winners)
    >>> kept.labels.tolist(), kept.margins.tolist(), len(kept.features)
    ([0, 1], [0.5, -1.0], 1)
    """

    def __init__(
        self,
        budget: float,
        labels: Tensor | None = None,
        margins: Tensor | None = None,
        decided: Tensor | None = None,
        confidences: Tensor | None = None,
    ) -> None:
        self.room = budget
        self.features: list[Batch] | None = []
        self._labels: list[Tensor] = [] if labels is None else [labels]
        self._margins: list[Tensor] = [] if margins is None else [margins]
        self._decided: list[Tensor] = [] if decided is None else [decided]
        self._confidences: list[Tensor] = [] if confidences is None else [confidences]

    def add(
        self,
        features: Tensor,
        labels: Tensor,
        margins: Tensor | None,
        winners: Tensor | None,
        confidences: Tensor | None = None,
    ) -> None:
        """Add a batch: features (n, d), labels, margins, winners and confidences (n,)."""
        self._labels.append(labels.to(torch.int32))
        if margins is not None and winners is not None:
            self.judge(margins, winners, confidences)
        if self.features is not None:
            self.room -= features.nbytes
            self.features.append((features, self._labels[-1], winners))
            if self.room < 0:
                self.features = None

    def judge(self, margins: Tensor, winners: Tensor, confidences: Tensor | None) -> None:
        """Add the decisions of a head on samples that were added without: each of shape (n,)."""
        self._margins.append(margins)
        self._decided.append(winners.to(torch.int32))
        if confidences is not None:
            self._confidences.append(confidences)

    def merge(self, other: KeptSamples) -> None:
        """Append other samples; features stay only if both have kept all of theirs."""
        self._labels += other._labels
        self._margins += other._margins
        self._decided += other._decided
        self._confidences += other._confidences
        if self.features is None or other.features is None:
            self.features = None
        else:
            self.features = self.features + other.features

    def chunks(self, size: int = CHUNK_ROWS) -> Iterator[Batch]:
        """Yield the kept features, labels (int64) and winners, about `size` rows at a time."""
        size = min(size, CHUNK_ROWS)
        for _, alike in groupby(self.features or (), key=_kind):
            pending, rows = [], 0
            for batch in alike:
                pending.append(batch)
                rows += len(batch[0])
                if rows >= size:
                    yield _joined(pending)
                    pending, rows = [], 0
            if pending:
                yield _joined(pending)

    @property
    def labels(self) -> Int[Tensor, " n"]:
        """Labels in order, (n,) int64."""
        return _cat(self._labels).long()

    @property
    def margins(self) -> Float[Tensor, " n"]:
        """Margins in order, (n,), float32 or as wide as the widest logits; empty without logits."""
        return _cat(self._margins)

    @property
    def confidences(self) -> Float[Tensor, " n"]:
        """Logarithms of the largest softmax probabilities in order, (n,); empty unless kept."""
        return _cat(self._confidences)

    @property
    def decided(self) -> Int[Tensor, " n"]:
        """Class that the head predicts, (n,) int64, -1 for a tie; empty without logits."""
        return _cat(self._decided).long()


def _cat(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts) if parts else torch.empty(0, device="cpu")


def _kind(batch: Batch) -> tuple[torch.dtype, bool]:
    """Return a key of batches that can be joined: same dtype, all with logits or all without."""
    return batch[0].dtype, batch[2] is None


def _joined(batches: list[Batch]) -> Batch:
    if len(batches) == 1:
        features, labels, winners = batches[0]
        return features, labels.long(), winners
    features = torch.cat([rows for rows, _, _ in batches])
    labels = torch.cat([own for _, own, _ in batches])
    decided = [batch[2] for batch in batches if batch[2] is not None]
    return features, labels.long(), torch.cat(decided) if decided else None
