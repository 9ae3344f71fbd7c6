"""CollapseState: what a stream of samples leaves behind, from which all of collapse is read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.decision_counts import DecisionCounts
from neuralcollapse.metrics.decisions import decide
from neuralcollapse.metrics.estimates.sample_groups import SampleGroups
from neuralcollapse.metrics.kept_samples import Batch, KeptSamples
from neuralcollapse.metrics.left_out import LeftOut
from neuralcollapse.metrics.margins import lower_pairs
from neuralcollapse.metrics.measured import Measured
from neuralcollapse.metrics.metric import Metric
from neuralcollapse.metrics.nearest_center import NearestCenter
from neuralcollapse.metrics.packing import pack, unpack
from neuralcollapse.metrics.sample_batch import (
    decided_batches,
    read_batch,
    refuse_margins,
    within,
)
from neuralcollapse.metrics.summary import values_of
from neuralcollapse.moments.class_moments import ClassMoments

PAIR_CLASSES = 256  # up to so many, least margins of pairs cost little beside the scores


class CollapseState:
    """Class moments and decisions of samples, gathered in one pass and settled in a second.

    `gather` takes batches: moments of the features, and what the head decided. Which class mean
    is the nearest is known when the means are: `settle` goes through the samples again, from the
    features kept or from the data. Both count by class, and whatever counts merges, in any order.

    Parameters
    ----------
    num_classes, dim, scatter
        As in `ClassMoments`.
    centers
        (K, d) class means that are known beforehand, NaN for absent classes: of training data
        where these are test data, or of an earlier epoch. Samples are then settled as they pass.
    keep
        Whether to remember margin and label of every sample, and least margins of pairs of up to
        256 classes.
    feature_budget
        Bytes of features to keep for `settle`, without a copy.
    groups
        Whether to keep the sums of 16 groups of samples, which intervals need (16 K d numbers).

    Attributes
    ----------
    moments : ClassMoments
        Of the features.
    nearest : NearestCenter or None
        What samples are settled by as they pass.
    samples : KeptSamples or None
        Labels, margins and features, as far as they are kept.
    groups : SampleGroups or None
        Sums of groups of samples, if they are kept.
    left_out : Tensor
        (2,) samples nearest to the mean of the others of their class, and those it was asked of.
    pairs : Tensor or None
        (K, K) least margin of each class against each other, if they are kept.

    Raises
    ------
    NeuralCollapseError
        If a size is below 1, or centres are of another shape.

    Examples
    --------
    >>> state = CollapseState(2, 1, keep=True, feature_budget=2**20)
    >>> features = torch.tensor([[-1.0], [-3.0], [2.0], [-0.5]])
    >>> state.gather(features, [0, 0, 1, 1], logits=features * torch.tensor([-1.0, 1.0]))
    >>> state.accuracy, state.margins.tolist(), state.agreement
    (0.75, [2.0, 6.0, 4.0, -1.0], nan)
    >>> state.settle(state.moments.means)
    >>> state.ncc_accuracy, state.agreement
    (1.0, 0.75)
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        scatter: Literal["pooled", "per_class"] | bool = "pooled",
        *,
        centers: Tensor | NearestCenter | None = None,
        keep: bool = False,
        feature_budget: int = 0,
        groups: bool = False,
    ) -> None:
        self.moments = ClassMoments(num_classes, dim, scatter)
        self.groups = SampleGroups(num_classes, dim) if groups else None
        self._counts = DecisionCounts(num_classes)
        self._suspect = torch.zeros((), dtype=torch.int64)  # margins found not finite later
        self.nearest = NearestCenter(centers) if isinstance(centers, Tensor) else centers
        nearest = self.nearest
        if nearest is not None and (nearest.num_classes, nearest.dim) != (num_classes, dim):
            raise NeuralCollapseError(
                "centers",
                f"shape {(num_classes, dim)}",
                str((nearest.num_classes, nearest.dim)),
                "pass one row a class, as wide as the features",
            )
        self.samples = KeptSamples(feature_budget) if keep or feature_budget else None
        self.left_out = torch.zeros(2, dtype=torch.int64)
        self.pairs: Tensor | None = None
        self.keeps_pairs = keep and num_classes <= PAIR_CLASSES

    # ---------------------------------------------------------------- filling

    def gather(self, features: Any, labels: Any, logits: Any = None) -> None:
        """Add a batch.

        Parameters
        ----------
        features
            (n, d), as `ClassMoments.update` takes them.
        labels
            (n,) in 0..K-1.
        logits
            (n, K), the network's own.

        Raises
        ------
        NonFiniteError
            If a feature, or a logit that a margin depends on, is NaN or infinite.
        NeuralCollapseError
            If shapes or labels do not fit. On the CPU, nothing is then added.
        """
        features, true, logits = read_batch(features, labels, logits, self.moments.num_classes)
        safe = within(true, self.moments.num_classes)
        margins = winners = None
        if logits is not None and len(features):
            margins, winners = decide(logits, safe)
            self._check(margins, features)
        self.moments.update(features, true)
        if not len(features):
            return
        if logits is not None and margins is not None and winners is not None:
            self._counts.add_head(safe, margins, winners)
            if self.keeps_pairs:
                self.pairs = lower_pairs(self.pairs, logits, safe)
        if self.nearest is not None:
            self._counts.add_nearest(safe, self.nearest.winners(features, safe), winners)
        if self.groups is not None:
            self.groups.gather(features, safe)
        if self.samples is not None:
            self.samples.add(features, safe, margins, winners)

    @property
    def whole(self) -> bool:
        """Whether the features of every sample are kept, so that `settle` needs no data."""
        return self.samples is not None and self.samples.features is not None

    def drop_features(self) -> None:
        """Forget the features kept; `settle` then needs the data once more."""
        if self.samples is not None:
            self.samples.features = None

    def settle(
        self,
        means: Tensor,
        again: Iterable[tuple[Tensor, Tensor | None, Any]] | None = None,
        whole: ClassMoments | None = None,
    ) -> None:
        """Seek the nearest of the class means of every sample; kept features are then dropped.

        Parameters
        ----------
        means
            (K, d) class means of all (training) samples, NaN for absent classes.
        again
            The same batches once more, (features, logits, labels), read if features were dropped.
        whole
            Moments that the means are of, if these samples are a part of theirs.

        Raises
        ------
        NeuralCollapseError
            If features were dropped and there is no `again`, or it has other samples.
        """
        nearest, left_out, seen = NearestCenter(means), LeftOut(whole or self.moments), 0
        self._counts.forget_nearest()
        self.left_out.zero_()
        for features, labels, winners in self._settled_from(again):
            found, own, ahead = nearest.judged(features, labels)
            self._counts.add_nearest(labels, found, winners)
            self.left_out += left_out.count(labels, own, ahead)
            seen += len(labels)
        self.drop_features()
        if seen != self.moments.num_samples:
            raise NeuralCollapseError(
                "loader",
                f"the same {self.moments.num_samples} samples in the second pass",
                f"{seen}",
                "raise feature_budget so that one pass is enough",
            )

    def merge(self, other: CollapseState) -> None:
        """Add the samples of another state; order and grouping matter to round-off alone.

        Parameters
        ----------
        other
            State of the same sizes; its values are unchanged.
        """
        self.moments.merge(other.moments)
        self._counts.merge(other.counts)
        self.left_out += other.left_out
        if self.groups is not None and other.groups is not None:
            self.groups.merge(other.groups)
        if other.pairs is not None and self.keeps_pairs:
            pairs = other.pairs if self.pairs is None else self.pairs
            self.pairs = torch.minimum(pairs, other.pairs.to(pairs.device))
        if self.samples is not None and other.samples is not None:
            self.samples.merge(other.samples)

    # ---------------------------------------------------------------- reading

    @property
    def labels(self) -> Int[Tensor, " n"]:
        """Labels of all samples, (n,), in order; empty unless they are kept."""
        return KeptSamples(0).labels if self.samples is None else self.samples.labels

    @property
    def margins(self) -> Float[Tensor, " n"]:
        """Margin of each sample, (n,), in order; empty without logits or unless they are kept."""
        return KeptSamples(0).margins if self.samples is None else self.samples.margins

    @property
    def decided(self) -> Int[Tensor, " n"]:
        """Class decided for, (n,), -1 for a tie; empty without logits or unless they are kept."""
        return KeptSamples(0).decided if self.samples is None else self.samples.decided

    @property
    def pair_margins(self) -> Float[Tensor, "K K"] | None:
        """Least margin of each class against each other, as the function `pair_margins` has it.

        Inf in the row of a class without samples, NaN on the diagonal; None without logits, with
        more than 256 classes, or unless they are kept.
        """
        if self.pairs is None:
            return None
        return self.pairs.cpu().double().fill_diagonal_(math.nan)

    @property
    def accuracy(self) -> float:
        """Share of positive margins, in [0, 1]: a tie is an error. NaN without logits."""
        return self.counts.share("accuracy")

    @property
    def ncc_accuracy(self) -> float:
        """Share whose nearest class mean is that of their label, in [0, 1]; NaN till settled."""
        return self.counts.share("ncc_accuracy")

    @property
    def agreement(self) -> float:
        """NC4: share on which head and nearest mean agree, in [0, 1]; NaN till settled."""
        return self.counts.share("nc4_agreement")

    @property
    def margin_min(self) -> float:
        """The least margin p_min; NaN without logits."""
        return self.counts.margin_min

    @property
    def ties(self) -> int:
        """The number of samples whose largest logits tie; they count as wrong."""
        return self.counts.ties

    def per_class(self) -> dict[str, Float[Tensor, " K"]]:
        """Return accuracies and least margins of each class, (K,); NaN where no sample tells."""
        return self.counts.per_class()

    def shares(self) -> dict[str, float]:
        """Return accuracies, agreement and the least margin, of those that samples tell."""
        return self.counts.shares()

    def values(
        self,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        metrics: Iterable[Metric] | None = None,
    ) -> dict[str, float]:
        """Return every metric of collapse that the samples so far tell.

        Parameters
        ----------
        weight, bias
            (K, d) and (K,) of the head, for what the catalogue says of it.
        metrics
            Those to compute; the catalogue if omitted.

        Raises
        ------
        NeuralCollapseError
            As `summarize`.
        """
        return values_of(self.measured(weight, bias), metrics)

    def measured(self, weight: Tensor | None = None, bias: Tensor | None = None) -> Measured:
        """Return what metrics are functions of: these samples, and the head."""
        return Measured(self.moments, weight, bias, self.shares())

    # ---------------------------------------------------------------- packing

    def to_vector(self) -> Float[Tensor, " s"]:
        """Return moments and counts as one float64 vector on the CPU, without what is kept."""
        groups = [] if self.groups is None else [self.groups.moments]
        return pack(self.counts.table, self.moments, *groups)

    @classmethod
    def from_vector(
        cls,
        vector: Tensor,
        num_classes: int,
        dim: int,
        scatter: Literal["pooled", "per_class"] | bool = "pooled",
        groups: bool = False,
    ) -> CollapseState:
        """Rebuild a state from `to_vector`; it goes on from where it stood.

        Parameters
        ----------
        vector
            What `to_vector` returned.
        num_classes, dim, scatter, groups
            Those of the state.

        Raises
        ------
        NeuralCollapseError
            If the vector is of another length, or holds no moments.
        """
        state = cls(num_classes, dim, scatter, groups=groups)
        kept = [] if state.groups is None else [state.groups.moments]
        state._counts.table, (state.moments, *kept) = unpack(
            vector, state._counts.table, state.moments, *kept
        )
        if state.groups is not None:
            state.groups.restore(*kept)
        return state

    # ---------------------------------------------------------------- batches

    def _settled_from(self, again: Iterable[Any] | None) -> Iterator[Batch]:
        """Yield features, labels and winners: those kept, or else those of the data once more."""
        if self.samples is not None and self.samples.features is not None:
            yield from self.samples.chunks()
        else:
            yield from decided_batches(again or (), self.moments.num_classes)

    def _check(self, margins: Tensor, features: Tensor) -> None:
        """Refuse margins that are not finite; on an accelerator, when the counts are read."""
        bad = (~torch.isfinite(margins)).sum()
        if not margins.is_cpu:
            self._suspect = self._suspect.to(margins.device) + bad
        elif bad and bool(torch.isfinite(features).all()):  # or the moments refuse the features
            refuse_margins(int(bad))

    @property
    def counts(self) -> DecisionCounts:
        """Decisions by class."""
        if not self._suspect.is_cpu:
            refuse_margins(int(self._suspect))
        return self._counts
