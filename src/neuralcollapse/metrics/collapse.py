"""CollapseMetrics: all metrics of collapse as one torchmetrics module, for any number of ranks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.catalogue import CATALOGUE, needed
from neuralcollapse.metrics.nearest_center import NearestCenter
from neuralcollapse.metrics.state import CollapseState
from neuralcollapse.validation import as_tensor, check_shape

Scatter = Literal["pooled", "per_class", False]


class CollapseMetrics(Metric):
    """All metrics of collapse of a stream of features: add batches, then compute.

    The state is one float64 vector of centred moments, which ranks merge pairwise as Chan et al.
    do. So the result equals that of a single process up to round-off, even if ranks have unequal
    numbers of samples, or none.

    Parameters
    ----------
    num_classes
        K >= 2.
    dim
        d >= 1, the width of the features.
    head
        The last linear layer, read when the metrics are computed; adds the metrics of the head.
    centers
        (K, d) class means of the training data, NaN for absent classes: adds ``ncc_accuracy``.
        They must be known beforehand, since each sample is compared with them as it passes: take
        those of an earlier epoch or, on test data, of a pass over the training data.
    scatter
        As in `ClassMoments`; with False, ``nc1_pinv`` and ``vci`` are left out.
    kwargs
        Options of `torchmetrics.Metric`, such as ``process_group``.

    Raises
    ------
    NeuralCollapseError
        If the head or the centres have another shape.

    Notes
    -----
    A forward call, ``metric(features, labels)``, returns the values of this batch on this process,
    NaN if the batch holds a single class; `update` alone is cheaper. In a `MetricCollection`,
    metrics with different centres need ``compute_groups=False``, since torchmetrics treats states
    that agree on the first batch as one.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import CollapseMetrics
    >>> metric = CollapseMetrics(num_classes=2, dim=1)
    >>> metric.update(torch.tensor([[-3.0], [-1.0]]), torch.tensor([0, 0]))
    >>> metric.update(torch.tensor([[1.0], [3.0]]), torch.tensor([1, 1]))
    >>> metric.compute()["nc1_pinv"]
    tensor(0.1250, dtype=torch.float64)
    """

    full_state_update = False
    is_differentiable = False
    _state: Tensor | CollapseState

    def __init__(
        self,
        num_classes: int,
        dim: int,
        head: nn.Linear | None = None,
        centers: Tensor | None = None,
        scatter: Scatter = "pooled",
        **kwargs: Any,
    ) -> None:
        # The head may change between two calls of compute, without an update.
        super().__init__(**{"compute_with_cache": False, **kwargs})
        for name, tensor in (("head", head), ("centers", centers)):
            tensor = tensor.weight if isinstance(tensor, nn.Linear) else tensor
            if tensor is not None:
                remedy = "pass one row per class, as wide as the features"
                check_shape(name, as_tensor(name, tensor), (num_classes, dim), remedy)
        self._sizes = (num_classes, dim, scatter)
        self._head = (head,)  # in a tuple: the layer belongs to the model, not to its metric
        self._nearest = None if centers is None else NearestCenter(centers)
        merge = partial(_merge_rows, sizes=self._sizes)
        self.add_state("packed", CollapseState(*self._sizes).to_vector(), merge, persistent=True)

    # Torchmetrics reads and writes its state by this name: on sync, merge, checkpoint and reset.
    # Between these, samples go into a state.

    @property
    def packed(self) -> Tensor:
        """The state: one float64 vector, moments and counters."""
        if isinstance(self._state, CollapseState):
            self._state = self._state.to_vector().to(self.device)
        return self._state

    @packed.setter
    def packed(self, vector: Tensor) -> None:
        self._state = vector
        self._unpacked()  # refuse a state that does not fit now, not at the next batch

    def _unpacked(self) -> CollapseState:
        if isinstance(self._state, Tensor):
            self._state = CollapseState.from_vector(self._state, *self._sizes)
            self._state.nearest = self._nearest
        return self._state

    def update(self, features: Any, labels: Any, logits: Any = None) -> None:
        """Add a batch.

        Parameters
        ----------
        features
            (n, d) features that enter the head.
        labels
            (n,) in 0..K-1.
        logits
            (n, K); adds ``accuracy`` and ``margin_min``, with a head also ``margin_normalized``
            and ``margin_collapse_ratio``, and with centres ``nc4_agreement``.

        Raises
        ------
        NeuralCollapseError
            As `ClassMoments.update`, or if the logits have another shape.
        """
        self._unpacked().gather(features, labels, logits)

    def compute(self) -> dict[str, Tensor]:
        """Return the metrics of all samples of all ranks, as float64 scalars.

        Raises
        ------
        NeuralCollapseError
            If fewer than two classes have samples.
        """
        try:
            return self._values(self._unpacked())
        except NeuralCollapseError:
            self.unsync(self._is_synced)  # or each rank would continue from the merged state
            raise

    def forward(
        self, features: Tensor, labels: Any, logits: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Add a batch, and return the metrics of this batch alone, see `update`."""
        batch = CollapseState(*self._sizes, centers=self._nearest)
        batch.gather(features, labels, logits)
        self._unpacked().merge(batch)
        self._update_count += 1
        self._computed = None
        values = self._values(batch, allow_single_class=True)
        # torchmetrics declares one tensor here, and keeps what forward returned.
        self._forward_cache = values  # type: ignore[assignment]
        return values

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the samples of another metric of the same sizes, or of its ``metric_state``.

        Raises
        ------
        NeuralCollapseError
            If its state does not fit.
        """
        known = incoming_state
        known = known if isinstance(known, dict) else getattr(known, "metric_state", {})
        CollapseState.from_vector(as_tensor("incoming_state", known.get("packed")), *self._sizes)
        super().merge_state(incoming_state)

    def _apply(self, fn: Callable, exclude_state: Sequence[str] = "") -> nn.Module:
        """Move to another device; the state stays float64, also in a model that is narrowed."""
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), exclude_state)

    def _values(self, state: CollapseState, allow_single_class: bool = False) -> dict[str, Tensor]:
        (head,) = self._head
        weight, bias = (None, None) if head is None else (head.weight, head.bias)
        if allow_single_class and int(state.moments.present.sum()) < 2:
            measured = state.measured(weight, bias)
            metrics = (m for m in CATALOGUE.values() if needed(m, measured.available))
            values = {m.name: measured.shares.get(m.name, math.nan) for m in metrics}
        else:
            values = state.values(weight, bias)
        return {
            name: torch.tensor(value, dtype=torch.float64, device=self.device)
            for name, value in values.items()
        }

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_state": self.packed}

    # That of torchmetrics depends on the identity of the state, which is packed anew.
    __hash__ = nn.Module.__hash__


def _merge_rows(rows: Tensor, sizes: tuple[int, int, Scatter]) -> Tensor:
    total = CollapseState(*sizes)
    for row in rows:
        total.merge(CollapseState.from_vector(row, *sizes))
    return total.to_vector().to(rows.device)
