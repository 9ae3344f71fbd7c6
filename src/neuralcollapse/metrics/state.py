"""CollapseState: what a stream of samples leaves behind, from which all of collapse is read."""

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


class CollapseState(SampleStatistics):
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
        Whether to remember margin and label of every sample, and minimum margins of pairs of up to
        256 classes.
    feature_budget
        Bytes of features to keep for `settle`, without a copy.
    intervals
        Whether to keep what intervals need: sums of 16 groups of samples (16 K d numbers), and
        those of a second look. None where that takes at most 256 MiB, and little time.
    confidences
        Whether to remember the largest softmax probability, too, where samples are remembered.

    Attributes
    ----------
    moments : ClassMoments
        Of the features.
    nearest : NearestCenter or None
        What samples are settled by as they pass.
    samples : KeptSamples or None
        Labels, margins and features, as far as they are kept.
    left_out : Tensor
        (2,) samples nearest to the mean of the others of their class, and those it was asked of.
    looked : Tensor
        (metrics, 16) sums of `SecondLook`; NaN till there was one.
    pairs : Tensor or None
        (K, K) minimum margin of each class against each other, if they are kept.

    Raises
    ------
    NeuralCollapseError
        If a size is below 1, or centres are of another shape.

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
        """Class decided for, (n,), -1 for a tie; empty without logits or unless they are kept."""
        return KeptSamples(0).decided if self.samples is None else self.samples.decided

    @property
    def pair_margins(self) -> Float[Tensor, "K K"] | None:
        """Minimum margin of each class against each other, as the function `pair_margins` has it.

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
        """The minimum margin p_min; NaN without logits."""
        return self.counts.margin_min

    @property
    def ties(self) -> int:
        """The number of samples whose largest logits tie; they count as wrong."""
        return self.counts.ties

    def per_class(self) -> dict[str, Float[Tensor, " K"]]:
        """Return accuracies and minimum margins of each class, (K,); NaN where no sample tells."""
        return self.counts.per_class()

    def shares(self) -> dict[str, float]:
        """Return accuracies, agreement and the minimum margin, of those that samples tell."""
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
        return pack(self.counts.table, self.moments)

    @classmethod
    def from_vector(
        cls,
        vector: Tensor,
        num_classes: int,
        dim: int,
        scatter: Literal["pooled", "per_class"] | bool = "pooled",
        intervals: bool | None = False,
    ) -> CollapseState:
        """Rebuild a state from `to_vector`; it goes on from where it stood.

        Parameters
        ----------
        vector
            What `to_vector` returned.
        num_classes, dim, scatter, intervals
            Those of the state.

        Raises
        ------
        NeuralCollapseError
            If the vector is of another length, or holds no moments.
        """
        state = cls(num_classes, dim, scatter, intervals=intervals)
        state._counts.table, state.moments = unpack(vector, state._counts.table, state.moments)
        return state
