"""Everything that needs each sample once the class means are known: NC4, accuracies, margins."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.margins import margins_in_place
from neuralcollapse.metrics.nearest_center import CenterScores, decide_alike
from neuralcollapse.validation import integer_labels

PAIR_CLASSES = 256  # up to so many, least margins of pairs cost little beside the scores


class Decisions:
    """Count the decisions of the head and of the nearest class mean, with one product a batch.

    Parameters
    ----------
    means
        (K, d) class means of training data; NaN rows are absent classes.
    weight, bias
        (K, d) and (K,) of the head; without them, logits must come with each batch or only the
        nearest class mean is judged.

    Raises
    ------
    NeuralCollapseError
        If no class has a mean, or the shapes differ.

    Examples
    --------
    >>> decisions = Decisions(torch.tensor([[-1.0], [1.0]]), weight=torch.tensor([[-1.0], [1.0]]))
    >>> decisions.update(torch.tensor([[-2.0], [0.5], [-0.1]]), [0, 1, 1])
    >>> decisions.agreement, round(decisions.accuracy, 4), decisions.margins.tolist()
    (1.0, 0.6667, [4.0, 1.0, -0.2000000])
    """

    def __init__(
        self, means: Tensor, weight: Tensor | None = None, bias: Tensor | None = None
    ) -> None:
        self._scores = CenterScores(means, weight, bias)
        self.num_classes = len(means)
        self._labels: list[Tensor] = []
        self._margins: list[Tensor] = []
        self._nearest_right: list[Tensor] = []
        self._agreeing: list[Tensor] = []
        self._pairs: Tensor | None = None

    def update(self, features: Tensor, labels: Any, logits: Tensor | None = None) -> None:
        """Add a batch.

        Parameters
        ----------
        features
            (n, d).
        labels
            (n,) in 0..K-1.
        logits
            (n, K), the network's own; from the head and the features if omitted.

        Raises
        ------
        NeuralCollapseError
            If the shapes or labels do not fit.
        """
        labels = torch.as_tensor(labels)
        if features.is_cpu:
            labels = integer_labels("labels", labels, len(features), self.num_classes)
        if features.ndim != 2 or features.shape[1] != self._scores.dim:
            raise NeuralCollapseError(
                "features",
                f"shape (n, {self._scores.dim})",
                str(tuple(features.shape)),
                "pass features as wide as the class means",
            )
        if logits is not None and logits.shape != (len(features), self.num_classes):
            raise NeuralCollapseError(
                "logits",
                f"shape {(len(features), self.num_classes)}",
                str(tuple(logits.shape)),
                "pass one column a class",
            )
        features, labels = features.detach(), labels.to(features.device)
        for start in range(0, len(features), self._scores.chunk_rows()):
            chunk = slice(start, start + self._scores.chunk_rows())
            distances, scores = self._scores(features[chunk])
            if logits is not None:
                scores = logits[chunk].detach().clone()
            true = labels[chunk]
            nearest_right = margins_in_place(distances, true) > 0
            self._labels.append(true)
            self._nearest_right.append(nearest_right)
            if scores.shape[1]:
                margins = margins_in_place(scores, true)
                self._add_pairs(scores, true)
                self._margins.append(margins)
                self._agreeing.append(_agreeing(nearest_right, margins > 0, distances, scores))

    @property
    def labels(self) -> Int[Tensor, " n"]:
        """Labels of all samples, (n,), in order."""
        return torch.cat(self._labels) if self._labels else torch.empty(0, dtype=torch.int64)

    @property
    def margins(self) -> Float[Tensor, " n"]:
        """Margin of each sample, (n,) float32 or float64; empty without logits."""
        if not self._margins:
            return torch.empty(0)
        margins = torch.cat(self._margins)
        return margins if margins.dtype == torch.float64 else margins.float()

    @property
    def pair_margins(self) -> Float[Tensor, "K K"] | None:
        """Least margin of each class against each other, as the function `pair_margins` has it.

        Inf in the row of a class without samples, NaN on the diagonal; None without logits, or
        with more than 256 classes.
        """
        if self._pairs is None:
            return None
        return self._pairs.cpu().double().fill_diagonal_(float("nan"))

    @property
    def ncc_accuracy(self) -> float:
        """Share whose nearest class mean is that of their label, in [0, 1]."""
        return _share(self._nearest_right)

    @property
    def agreement(self) -> float:
        """Share on which head and nearest class mean agree, in [0, 1]; NaN without logits."""
        return _share(self._agreeing)

    @property
    def accuracy(self) -> float:
        """Share of positive margins, in [0, 1]: a tie is an error. NaN without logits."""
        return _share([margin > 0 for margin in self._margins])

    @property
    def margin_min(self) -> float:
        """The least margin p_min; NaN without logits."""
        return float(self.margins.min()) if self._margins else float("nan")

    def per_class(self) -> dict[str, Float[Tensor, " K"]]:
        """Return accuracies and least margins of each class, (K,); NaN where there is no sample."""
        labels = self.labels
        sums = {"ncc_accuracy": torch.cat(self._nearest_right)} if self._nearest_right else {}
        if self._margins:
            sums["accuracy"] = self.margins > 0
            sums["nc4_agreement"] = torch.cat(self._agreeing)
        count = torch.bincount(labels, minlength=self.num_classes).double()
        table = {
            name: torch.bincount(labels, hits.double(), minlength=self.num_classes) / count
            for name, hits in sums.items()
        }
        if self._margins:
            least = torch.full((self.num_classes,), float("inf"), dtype=torch.float64)
            least = least.to(labels.device)
            least.scatter_reduce_(0, labels, self.margins.double(), "amin")
            table["margin_min"] = torch.where(count > 0, least, float("nan"))
        return table

    def _add_pairs(self, scores: Tensor, labels: Tensor) -> None:
        if self.num_classes > PAIR_CLASSES:
            return
        if self._pairs is None:
            self._pairs = torch.full_like(scores[:1], float("inf")).repeat(self.num_classes, 1)
        index = labels[:, None]
        differences = scores.gather(1, index) - scores
        self._pairs.scatter_reduce_(0, index.expand_as(differences), differences, "amin")


def _agreeing(nearest_right: Tensor, right: Tensor, distances: Tensor, scores: Tensor) -> Tensor:
    """Compare rankings only where both are wrong: a few samples, at a fourth of the work of all."""
    agreeing = nearest_right & right
    one_right = nearest_right | right
    if not one_right.all():
        both_wrong = (~one_right).nonzero().squeeze(1)
        agreeing[both_wrong] = decide_alike(distances[both_wrong], scores[both_wrong])
    return agreeing


def _share(hits: list[Tensor]) -> float:
    total = sum(len(hit) for hit in hits)
    return int(torch.stack([hit.sum() for hit in hits]).sum()) / total if total else float("nan")
