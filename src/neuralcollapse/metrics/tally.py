"""Tally: what a stream of samples leaves behind, and how it packs into one vector."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.margins import margins_in_place
from neuralcollapse.metrics.nearest_center import CenterScores
from neuralcollapse.moments.class_moments import ClassMoments

Scatter = Literal["pooled", "per_class", False]
COUNTERS = ("judged", "right", "placed", "placed_right", "compared", "agreeing")


class Tally:
    """Class moments, and how the decisions about the samples fell, in a fixed number of floats.

    Parameters
    ----------
    num_classes, dim, scatter
        As in `ClassMoments`.

    Attributes
    ----------
    moments : ClassMoments
        Moments of the features.
    counters : Tensor
        (6,) float64: samples with logits, and with a positive margin; samples whose nearest
        centre was sought, and was their own; samples with both, and on which both agree.
    margin_min : Tensor
        The least margin, inf without logits; float64, zero axes.

    Examples
    --------
    >>> tally = Tally(2, 1, "pooled")
    >>> tally.add(torch.tensor([[1.0], [3.0]]), [0, 0], torch.tensor([[2.0, 0.0], [0.0, 5.0]]))
    >>> tally.shares()
    {'accuracy': 0.5, 'margin_min': -5.0}
    """

    def __init__(self, num_classes: int, dim: int, scatter: Scatter) -> None:
        self.moments = ClassMoments(num_classes, dim, scatter)
        self.counters = torch.zeros(len(COUNTERS), dtype=torch.float64)
        self.margin_min = torch.full((), math.inf, dtype=torch.float64)

    def add(
        self,
        features: Tensor,
        labels: Any,
        logits: Tensor | None = None,
        centers: CenterScores | None = None,
    ) -> None:
        """Add a batch: features (n, d), labels (n,), logits (n, K).

        Raises
        ------
        NeuralCollapseError
            If features, labels or logits do not fit; then nothing is added.
        """
        shape = (len(features), self.moments.num_classes)
        if logits is not None and logits.shape != shape:
            raise NeuralCollapseError(
                "logits", f"shape {shape}", str(tuple(logits.shape)), "pass one column a class"
            )
        self.moments.update(features, labels)
        if not len(features):
            return
        self.counters = self.counters.to(features.device)
        self.margin_min = self.margin_min.to(features.device)
        true = torch.as_tensor(labels).to(features.device, torch.int64)
        decided, nearest = None, None
        if logits is not None:
            logits = logits.detach().to(features.device)
            decided = logits.argmax(1)
            margins = margins_in_place(logits, true).to(torch.float64)
            self._count("judged", margins > 0)
            self.margin_min = torch.minimum(self.margin_min, margins.min())
        if centers is not None:
            nearest = centers.nearest(features.detach())
            self._count("placed", nearest == true)
        if decided is not None and nearest is not None:
            self._count("compared", nearest == decided)

    def merge(self, other: Tally) -> None:
        """Add the samples of another tally."""
        self.moments.merge(other.moments)
        self.counters = self.counters + other.counters.to(self.counters)
        self.margin_min = torch.minimum(self.margin_min, other.margin_min.to(self.margin_min))

    def shares(self) -> dict[str, float]:
        """Return accuracies, agreement and the least margin, of those that samples tell."""
        names = ("accuracy", "ncc_accuracy", "nc4_agreement")
        totals, hits = self.counters[::2].tolist(), self.counters[1::2].tolist()
        shares = {
            name: hit / total for name, hit, total in zip(names, hits, totals, strict=True) if total
        }
        if "accuracy" in shares:
            shares["margin_min"] = float(self.margin_min)
        return shares

    def to_vector(self) -> Float[Tensor, " s"]:
        """Return all of it as one float64 vector on the CPU."""
        parts = [self.margin_min.cpu(), self.counters.cpu(), *self.moments.state_dict().values()]
        return torch.cat([part.flatten() for part in parts])

    @classmethod
    def from_vector(cls, vector: Tensor, num_classes: int, dim: int, scatter: Scatter) -> Tally:
        """Rebuild a tally from `to_vector`.

        Raises
        ------
        NeuralCollapseError
            If the vector is of another length, or holds no moments.
        """
        scatters = {"pooled": 1, "per_class": num_classes, False: 0}[scatter]
        shapes = {
            "margin_min": (),
            "counters": (len(COUNTERS),),
            "counts": (num_classes,),
            "means": (num_classes, dim),
            "trace_variances": (num_classes,),
            "scatter": (scatters, dim, dim),
        }
        sizes = [math.prod(shape) for shape in shapes.values()]
        if vector.shape != (sum(sizes),):
            raise NeuralCollapseError(
                "state",
                f"{sum(sizes)} numbers for num_classes, dim = {num_classes}, {dim}",
                f"shape {tuple(vector.shape)}",
                "restore it into a metric of the same sizes",
            )
        parts = vector.detach().to(torch.float64).split(sizes)
        state = {
            name: part.reshape(shape).clone()
            for (name, shape), part in zip(shapes.items(), parts, strict=True)
        }
        tally = cls(num_classes, dim, scatter)
        tally.margin_min, tally.counters = state.pop("margin_min"), state.pop("counters")
        tally.moments = ClassMoments.from_state_dict(state)
        return tally

    @classmethod
    def sum(
        cls, vectors: Iterable[Tensor], num_classes: int, dim: int, scatter: Scatter
    ) -> Float[Tensor, " s"]:
        """Return the vector of all samples from those of disjoint parts, some perhaps empty."""
        total = cls(num_classes, dim, scatter)
        for vector in vectors:
            total.merge(cls.from_vector(vector, num_classes, dim, scatter))
        return total.to_vector()

    def _count(self, name: str, hits: Tensor) -> None:
        index = COUNTERS.index(name)
        self.counters[index] += len(hits)
        self.counters[index + 1] += hits.sum()
