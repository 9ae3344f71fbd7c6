"""SampleStatistics: moments and decisions of a stream of samples, gathered and settled."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.decision_counts import DecisionCounts
from neuralcollapse.metrics.decisions import decide, log_confidences
from neuralcollapse.metrics.estimates.corrected import PROBES
from neuralcollapse.metrics.estimates.sample_groups import keeps_groups
from neuralcollapse.metrics.estimates.second_look import SecondLook, looks_again
from neuralcollapse.metrics.head import Head
from neuralcollapse.metrics.kept_samples import Batch, KeptSamples
from neuralcollapse.metrics.left_out import LeftOut
from neuralcollapse.metrics.margins import lower_pairs
from neuralcollapse.metrics.nearest_center import NearestCenter
from neuralcollapse.metrics.sample_batch import (
    decided_batches,
    read_batch,
    refuse_margins,
    within,
)
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.moments.group_sums import GROUPS
from neuralcollapse.moments.lasting import lasting
from neuralcollapse.validation import byte_budget, whole_number

PAIR_CLASSES = 256  # up to so many, minimum margins of pairs cost little beside the scores


class SampleStatistics:
    """The gathering half of `CollapseState`: samples in batches, mergeable.

    Parameters and errors are those of `CollapseState`.
    """

    @lasting
    def __init__(
        self,
        num_classes: int,
        dim: int,
        scatter: Literal["pooled", "per_class"] | bool = "pooled",
        *,
        centers: Tensor | NearestCenter | None = None,
        keep: bool = False,
        feature_budget: float = 0,
        intervals: bool | None = False,
        confidences: bool = False,
    ) -> None:
        num_classes, dim = whole_number("num_classes", num_classes), whole_number("dim", dim)
        feature_budget = byte_budget("feature_budget", feature_budget)
        groups = keeps_groups(intervals, num_classes, dim)
        self.moments = ClassMoments(num_classes, dim, scatter, groups=groups)
        self._intervals = intervals
        self.looked = torch.full((len(PROBES), GROUPS), math.nan, dtype=torch.float64, device="cpu")
        self._counts = DecisionCounts(num_classes)
        # Margins found not finite later.
        self._suspect = torch.zeros((), dtype=torch.int64, device="cpu")
        self.nearest = None if centers is None else self._nearest_to("centers", centers)
        if self.nearest is not None and not groups:
            feature_budget = 0  # nothing is left to look for
        self.samples = KeptSamples(feature_budget) if keep or feature_budget else None
        self.left_out = torch.zeros(2, dtype=torch.int64, device="cpu")
        self.pairs: Tensor | None = None
        self.keeps_pairs = keep and num_classes <= PAIR_CLASSES
        self.keeps_confidences = keep and confidences

    @lasting
    def gather(self, features: Any, labels: Any, logits: Any = None) -> None:
        """Add a batch.

        Parameters
        ----------
        features
            (n, d), as `ClassMoments.update` takes them.
        labels
            (n,) in 0..K-1.
        logits
            (n, K) logits of the network.

        Raises
        ------
        NonFiniteError
            If a feature, or a logit that a margin depends on, is NaN or infinite.
        NeuralCollapseError
            If shapes or labels do not fit. On the CPU, nothing has been added then.
        """
        features, true, logits = read_batch(features, labels, logits, self.moments.num_classes)
        safe = within(true, self.moments.num_classes)
        margins = winners = None
        if logits is not None and len(features):
            margins, winners = self._decided(features, safe, logits)
        self.moments.update(features, true)
        if not len(features):
            return
        if logits is not None and margins is not None and winners is not None:
            self._add_head(safe, logits, margins, winners)
        if self.nearest is not None:
            self._counts.add_nearest(safe, self.nearest.winners(features, safe), winners)
        if self.samples is not None:
            sure = None if logits is None else self._confidences(logits)
            self.samples.add(features, safe, margins, winners, sure)

    @property
    def whole(self) -> bool:
        """Whether the features of every sample are kept, so that `settle` needs no second pass."""
        return self.samples is not None and self.samples.features is not None

    def drop_features(self) -> None:
        """Drop the kept features; `settle` then needs the data a second time."""
        if self.samples is not None:
            self.samples.features = None

    @lasting
    def settle(
        self,
        means: Tensor,
        again: Iterable[tuple[Tensor, Tensor | None, Any]] | None = None,
        whole: ClassMoments | None = None,
        head: Head | None = None,
    ) -> None:
        """Find the nearest class mean of every sample, and drop the kept features.

        Parameters
        ----------
        means
            (K, d) class means of all (training) samples, NaN for absent classes.
        again
            The same batches again, (features, logits, labels), read if features were dropped.
        whole
            Moments that the means come from, if these samples are only a part of theirs.
        head
            A linear head to decide by, in one product with the means, if no logits were gathered.

        Raises
        ------
        NonFiniteError
            If a logit that a margin depends on is infinite.
        NeuralCollapseError
            If features were dropped and there is no `again`, or it has other samples.
        """
        nearest, seen = self._nearest_to("means", means, head), 0
        left_out = LeftOut(whole or self.moments)
        look = self._second_look(whole or self.moments)
        self._counts.forget_nearest()
        self.left_out.zero_()
        for features, labels, winners in self._settled_from(again, nearest.batch_rows):
            found, own, ahead, logits = nearest.judged(features, labels)
            if logits is not None:
                margins, winners = self._decided(features, labels, logits)
                self._add_head(labels, logits, margins, winners)
                if self.samples is not None:
                    self.samples.judge(margins, winners, self._confidences(logits))
            self._counts.add_nearest(labels, found, winners)
            self.left_out += left_out.count(labels, own, ahead)
            if look is not None:
                look.add(features, labels)
            seen += len(labels)
        self.drop_features()
        if seen != self.moments.num_samples:
            expected = f"the same {self.moments.num_samples} samples in the second pass"
            remedy = "raise feature_budget so that one pass is enough"
            raise NeuralCollapseError("loader", expected, f"{seen}", remedy)

    @lasting
    def look_again(self, whole: ClassMoments | None = None) -> None:
        """Look a second time at features that were settled as they passed, and drop them.

        If they were not kept, the metrics that need this second look have no interval.

        Parameters
        ----------
        whole
            Moments of which these samples are a part.
        """
        if self.samples is not None and self.samples.features is not None:
            look = self._second_look(whole or self.moments)
            if look is not None:
                for features, labels, _ in self.samples.chunks():
                    look.add(features, labels)
        self.drop_features()

    @lasting
    def merge(self, other: SampleStatistics) -> None:
        """Add the samples of another state; order and grouping change only the round-off.

        Parameters
        ----------
        other
            State of the same sizes; its values are unchanged.
        """
        self.moments.merge(other.moments)
        self._counts.merge(other.counts)
        self.left_out += other.left_out
        self.looked = self.looked + other.looked
        if other.pairs is not None and self.keeps_pairs:
            pairs = other.pairs if self.pairs is None else self.pairs
            self.pairs = torch.minimum(pairs, other.pairs.to(pairs.device))
        if self.samples is not None and other.samples is not None:
            self.samples.merge(other.samples)

    def _nearest_to(self, name: str, means: Any, head: Head | None = None) -> NearestCenter:
        nearest = means if isinstance(means, NearestCenter) else NearestCenter(means, head)
        sizes = (self.moments.num_classes, self.moments.dim)
        if (nearest.num_classes, nearest.dim) != sizes:
            got = str((nearest.num_classes, nearest.dim))
            remedy = "pass one row per class, as wide as the features"
            raise NeuralCollapseError(name, f"shape {sizes}", got, remedy)
        return nearest

    def _second_look(self, whole: ClassMoments) -> SecondLook | None:
        if not looks_again(self._intervals, whole):
            return None
        look = SecondLook(whole)
        self.looked = look.sums
        return look

    @property
    def counts(self) -> DecisionCounts:
        """Decisions by class."""
        if not self._suspect.is_cpu:
            refuse_margins(int(self._suspect))
        return self._counts

    def _decided(self, features: Tensor, labels: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return margins and winners, if the margins are finite."""
        margins, winners = decide(logits, labels)
        self._check(margins, features)
        return margins, winners

    def _add_head(self, labels: Tensor, logits: Tensor, margins: Tensor, winners: Tensor) -> None:
        self._counts.add_head(labels, margins, winners)
        if self.keeps_pairs:
            self.pairs = lower_pairs(self.pairs, logits, labels)

    def _confidences(self, logits: Tensor) -> Tensor | None:
        return log_confidences(logits) if self.keeps_confidences else None

    def _settled_from(self, again: Iterable[Any] | None, size: int) -> Iterator[Batch]:
        """Yield features, labels and winners: those kept, or else those of the data once more."""
        if self.samples is not None and self.samples.features is not None:
            yield from self.samples.chunks(size)
        else:
            yield from decided_batches(again or (), self.moments.num_classes)

    def _check(self, margins: Tensor, features: Tensor) -> None:
        """Refuse margins that are not finite; on an accelerator, when the counts are read."""
        bad = (~torch.isfinite(margins)).sum()
        if not margins.is_cpu:
            self._suspect = self._suspect.to(margins.device) + bad
        elif bad and bool(torch.isfinite(features).all()):  # or the moments refuse the features
            refuse_margins(int(bad))
