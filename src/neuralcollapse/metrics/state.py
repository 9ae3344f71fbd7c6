"""CollapseState: what a stream of samples leaves behind, from which every metric is read."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor

from neuralcollapse.metrics.kept_samples import KeptSamples
from neuralcollapse.metrics.measured import Measured
from neuralcollapse.metrics.metric import Metric
from neuralcollapse.metrics.packing import pack, unpack
from neuralcollapse.metrics.sample_statistics import SampleStatistics
from neuralcollapse.metrics.summary import values_of
from neuralcollapse.moments.lasting import lasting


class CollapseState(SampleStatistics):
    """Class moments and decisions of samples, gathered in one pass and settled in a second.

    `gather` takes batches: it adds to the moments of the features, and counts the decisions of the
    head. The nearest class mean can only be found once the means are known: `settle` goes through
    the samples again, from kept features or from the data. All counts are per class, and states
    merge in any order.

    Parameters
    ----------
    num_classes, dim, scatter
        As in `ClassMoments`.
    centers
        (K, d) class means that are known beforehand, NaN for absent classes: those of the training
        data if these are test data, or those of an earlier epoch. Samples are then settled as
        they pass.
    keep
        Whether to remember margin and label of every sample, and, for up to 256 classes, the
        minimum margins of pairs.
    feature_budget
        Bytes of features to keep for `settle`, without a copy.
    intervals
        Whether to keep what intervals need: sums of 16 groups of samples (16 K d numbers), and
        those of a second look. If None, where that takes at most 256 MiB and little time.
    confidences
        Whether to remember the largest softmax probability of each remembered sample as well.

    Attributes
    ----------
    moments : ClassMoments
        Class moments of the features.
    nearest : NearestCenter or None
        What samples are settled by as they pass, if `centers` were given.
    samples : KeptSamples or None
        Labels, margins and features, as far as they are kept.
    left_out : Tensor
        (2,) number of samples nearest to the mean of the others of their class, and of samples
        tested.
    looked : Tensor
        (metrics, 16) sums of `SecondLook`; NaN before there was one.
    pairs : Tensor or None
        (K, K) minimum margin of each class against each other class, if they are kept.

    Raises
    ------
    NeuralCollapseError
        If a size is below 1, or the centres have another shape.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.metrics import CollapseState
    >>> state = CollapseState(2, 1, keep=True, feature_budget=2**20)
    >>> features = torch.tensor([[-1.0], [-3.0], [2.0], [-0.5]])
    >>> state.gather(features, [0, 0, 1, 1], logits=features * torch.tensor([-1.0, 1.0]))
    >>> state.accuracy, state.margins.tolist(), state.agreement
    (0.75, [2.0, 6.0, 4.0, -1.0], nan)
    >>> state.settle(state.moments.means)
    >>> state.ncc_accuracy, state.agreement
    (1.0, 0.75)
    """

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
        """Predicted class, (n,), -1 for a tie; empty without logits or unless they are kept."""
        return KeptSamples(0).decided if self.samples is None else self.samples.decided

    @property
    def pair_margins(self) -> Float[Tensor, "K K"] | None:
        """Minimum margin of each class against each other class, see the function `pair_margins`.

        Inf in the row of a class without samples, NaN on the diagonal; None without logits, with
        more than 256 classes, or unless they are kept.
        """
        if self.pairs is None:
            return None
        return self.pairs.cpu().double().fill_diagonal_(math.nan)

    @property
    def accuracy(self) -> float:
        """Share of positive margins, in [0, 1]: ties are errors. NaN without logits."""
        return self.counts.share("accuracy")

    @property
    def ncc_accuracy(self) -> float:
        """Share of samples nearest to the mean of their class, in [0, 1]; NaN until settled."""
        return self.counts.share("ncc_accuracy")

    @property
    def agreement(self) -> float:
        """NC4: share on which head and nearest mean agree, in [0, 1]; NaN until settled."""
        return self.counts.share("nc4_agreement")

    @property
    def margin_min(self) -> float:
        """The minimum margin p_min; NaN without logits."""
        return self.counts.margin_min

    @property
    def ties(self) -> int:
        """The number of samples whose largest logits tie; they count as wrong."""
        return self.counts.ties

    def per_class(self) -> dict[str, Float[Tensor, " K"]]:
        """Return accuracies and minimum margins per class, (K,); NaN where no sample counts."""
        return self.counts.per_class()

    def shares(self) -> dict[str, float]:
        """Return accuracies, agreement and the minimum margin, as far as they are known."""
        return self.counts.shares()

    def values(
        self,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        metrics: Iterable[Metric] | None = None,
    ) -> dict[str, float]:
        """Return every metric of collapse that can be computed from the samples so far.

        Parameters
        ----------
        weight, bias
            (K, d) and (K,) of the head, for the metrics that need it.
        metrics
            The metrics to compute; the catalogue if omitted.

        Raises
        ------
        NeuralCollapseError
            As `summarize`.
        """
        return values_of(self.measured(weight, bias), metrics)

    def measured(self, weight: Tensor | None = None, bias: Tensor | None = None) -> Measured:
        """Return the argument of the metrics: what these samples and the head say."""
        return Measured(self.moments, weight, bias, self.shares())

    # ---------------------------------------------------------------- packing

    def to_vector(self) -> Float[Tensor, " s"]:
        """Return moments and counts as one float64 vector on the CPU, without kept samples."""
        return pack(self.counts.table, self.moments)

    @classmethod
    @lasting
    def from_vector(
        cls,
        vector: Tensor,
        num_classes: int,
        dim: int,
        scatter: Literal["pooled", "per_class"] | bool = "pooled",
        intervals: bool | None = False,
    ) -> CollapseState:
        """Rebuild a state from `to_vector`; it can gather further samples.

        Parameters
        ----------
        vector
            What `to_vector` returned.
        num_classes, dim, scatter, intervals
            Those of the state.

        Raises
        ------
        NeuralCollapseError
            If the vector has another length, or does not hold moments.
        """
        state = cls(num_classes, dim, scatter, intervals=intervals)
        state._counts.table, state.moments = unpack(vector, state._counts.table, state.moments)
        return state
