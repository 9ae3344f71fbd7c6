"""Measured: everything that the value of a metric may depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor

from neuralcollapse.metrics.class_distance import CDNVStatistic
from neuralcollapse.metrics.class_vectors import ClassVectors
from neuralcollapse.metrics.equiangularity import EquiangularityStatistic
from neuralcollapse.metrics.head import checked_head
from neuralcollapse.metrics.margin_scale import margin_scale, normalized_margin
from neuralcollapse.metrics.pairs import sweep_pairs
from neuralcollapse.moments.class_moments import ClassMoments

if TYPE_CHECKING:
    from neuralcollapse.metrics.code_share import CodeShare

SOLVED = 512  # classes up to which each row's distance from the hull of the others is solved


@dataclass(frozen=True, eq=False)
class Measured:
    """What a pass over data leaves behind, and the argument of every metric's function.

    Attributes
    ----------
    moments
        Class moments of the features that enter the head.
    weight, bias
        (K, d) and (K,) of the head, or None.
    shares
        ``accuracy``, ``ncc_accuracy``, ``nc4_agreement`` and ``margin_min``, as far as they are
        known.

    Examples
    --------
    >>> import torch
    >>> moments = ClassMoments(2, 1).update(torch.tensor([[-2.0], [2.0]]), [0, 1])
    >>> Measured(moments).rows.tolist()
    [[-2.0], [2.0]]
    """

    moments: ClassMoments
    weight: Tensor | None = None
    bias: Tensor | None = None
    shares: Mapping[str, float] = field(default_factory=dict)

    @property
    def available(self) -> set[str]:
        """What is available, of all that a metric may need."""
        found = {"scatter"} if self.moments.scatter else set()
        if self.weight is not None:
            found |= {"head", *(code_needs(self.weight) if self.moments.present.all() else ())}
        return found | set(self.shares)

    @property
    def rows(self) -> Tensor:
        """Centred class means of the classes that have samples."""
        return self.means.rows

    @cached_property
    def means(self) -> ClassVectors:
        """The same, with lengths and second moment."""
        moments = self.moments
        rows, norms = moments.centered_means(), moments.centered_norms()
        # With a scatter, NC1 forms the same product. Without, the rows at hand are enough.
        shared = (lambda: moments.between_scatter() * len(rows)) if moments.scatter else None
        return ClassVectors(rows, shared, norms)

    @property
    def head(self) -> Tensor:
        """The head in float64, checked against the moments."""
        assert self.weight is not None
        return checked_head(self.moments, self.weight)

    @cached_property
    def head_vectors(self) -> ClassVectors:
        """The centred rows of the head."""
        head = self.head
        if self.weight is None or head.dtype == self.weight.dtype:
            return ClassVectors.of(head)
        head -= head[:1].clone()  # it is a copy already
        return ClassVectors(head.sub_(head.mean(0)))

    @cached_property
    def present_head(self) -> ClassVectors:
        """The centred rows of the head whose classes have samples."""
        present = self.moments.present
        if bool(present.all()):
            return self.head_vectors
        return ClassVectors.of(self.head[present])

    @cached_property
    def code(self) -> CodeShare:
        """Head and means compared with a softmax code, where no simplex fits."""
        from neuralcollapse.metrics.code_share import code_share  # needs scipy

        return code_share(self.head, self.moments.means)

    @cached_property
    def margin(self) -> float:
        """The minimum margin divided by its scale."""
        return normalized_margin(
            self.shares["margin_min"], margin_scale(self.moments, self.head_vectors, self.bias)
        )

    @cached_property
    def pairs(self) -> tuple[CDNVStatistic, EquiangularityStatistic]:
        """Distances and angles of all pairs of class means, from one sweep."""
        distances = CDNVStatistic(self.moments)
        angles = EquiangularityStatistic(len(self.rows))
        sweep_pairs(self.rows, [distances, angles])
        return distances, angles


def code_needs(weight: Tensor) -> set[str]:
    """Return the needs of softmax codes that are met if every class has samples.

    They are a comparison with a code, and the search for one.

    Parameters
    ----------
    weight
        (K, d) of the head.
    """
    num, dim = weight.shape
    if not 2 < dim + 1 < num <= SOLVED or not bool((weight.detach().norm(dim=1) > 0).all()):
        return set()
    from neuralcollapse.geometry.softmax_code import SEARCHED  # heavy, and seldom needed

    return {"code", "best_code"} if num <= SEARCHED else {"code"}
