"""EpochTally: the collapse of one epoch's samples, merged over the processes that saw them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from neuralcollapse.metrics.collapse import CollapseMetrics
from neuralcollapse.metrics.tally import Tally
from neuralcollapse.moments.class_moments import ClassMoments


@dataclass(frozen=True, eq=False)
class EpochMeasurement:
    """What was measured of one epoch, the same on every process.

    Attributes
    ----------
    values
        Metric name to value; those of validation data have the prefix ``test_``.
    moments
        Class moments of the training features of all processes.
    weight
        (K, d) head.
    class_accuracy
        (K,) share of each class that is decided right, if asked for.
    """

    values: dict[str, float]
    moments: ClassMoments
    weight: Tensor
    class_accuracy: Tensor | None = None


class EpochTally:
    """Add batches on every process; then read the metrics of all of them together.

    Parameters
    ----------
    head
        The last linear layer.
    centers
        (K, d) class means for the nearest-mean metrics.
    details
        Whether to count right decisions for each class.
    """

    def __init__(
        self, head: nn.Module, centers: Tensor | None = None, details: bool = False
    ) -> None:
        self.head = head
        weight = head.get_parameter("weight")
        self._num_classes, self._dim = weight.shape
        linear = cast(nn.Linear, head)  # or a layer like it: weight, and perhaps bias
        self._metrics = CollapseMetrics(self._num_classes, self._dim, linear, centers).to(
            weight.device
        )
        self._recall = None
        if details:
            recall = MulticlassAccuracy(self._num_classes, average=None)
            self._recall = recall.to(weight.device)

    def add(self, features: Tensor, labels: Any, logits: Tensor | None = None) -> None:
        """Add a batch, see `CollapseMetrics.update`."""
        self._metrics.update(features, labels, logits)
        if self._recall is not None and logits is not None and len(features):
            self._recall.update(logits.detach(), torch.as_tensor(labels).to(logits.device))

    def moments(self) -> ClassMoments:
        """Return the class moments of all processes."""
        with self._metrics.sync_context():
            packed = self._metrics.packed
        return Tally.from_vector(packed, self._num_classes, self._dim, "pooled").moments

    def measurement(self, test: EpochTally | None = None) -> EpochMeasurement:
        """Return the metrics of all processes, with those of validation data."""
        values = {name: float(value) for name, value in self._metrics.compute().items()}
        if test is not None:
            held_out = test._metrics.compute()
            values |= {f"test_{name}": float(value) for name, value in held_out.items()}
        weight = self.head.get_parameter("weight").detach().clone()
        accuracy = None if self._recall is None else self._recall.compute()
        return EpochMeasurement(values, self.moments(), weight, accuracy)
