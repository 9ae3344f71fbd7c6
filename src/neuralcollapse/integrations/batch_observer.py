"""Measure an epoch from the batches that training itself runs, at no extra pass."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.collapse_report import (
    CollapseReport,
    SplitReport,
    check_class_names,
)
from neuralcollapse.measurement.feature_tap import FeatureTap
from neuralcollapse.metrics.catalogue import OwnMetrics, own_metrics
from neuralcollapse.metrics.over_ranks import over_ranks
from neuralcollapse.metrics.state import CollapseState


class BatchObserver:
    """Catch features and logits of each training batch between `open` and `close`.

    The network moves between the batches, is in training mode, and sees augmented inputs. So class
    means are those of a moving network, and the spread within classes includes its drift: expect a
    larger NC1 than that of an evaluation pass. Decisions are judged against the class means of the
    epoch before; in the first there are none, and NC4 is NaN.

    Parameters
    ----------
    model
        The network, not wrapped for several processes.
    head
        The last linear layer or its name; found by itself if omitted, see `FeatureTap`.
    metrics
        As in `measure`.

    Attributes
    ----------
    opened
        Whether the head is hooked.
    """

    def __init__(
        self,
        model: nn.Module,
        head: nn.Module | str | None = None,
        metrics: OwnMetrics | None = None,
    ) -> None:
        self._tap = FeatureTap(model, head)
        self._own = own_metrics(metrics)
        self._state: CollapseState | None = None
        self._centers: Tensor | None = None
        self.opened = False

    def open(self) -> None:
        """Attach to the head before a batch; what another batch left open is forgotten."""
        self.discard()
        self._tap.__enter__()
        self.opened = True

    def close(self, labels: Any) -> None:
        """Add the batch that ran since `open`, and detach from the head."""
        try:
            features, logits = self._tap.take()
            if len(labels) != len(features):
                raise NeuralCollapseError(
                    "labels",
                    f"{len(features)} labels, one for each sample that ran",
                    str(len(labels)),
                    "let each training batch run through the model once, or use mode='pass'",
                )
            if self._state is None:
                num_classes, dim = self._tap.weight.shape
                self._state = CollapseState(num_classes, dim, centers=self._centers)
            self._state.gather(features, labels, logits)
        finally:
            self.discard()

    def discard(self) -> None:
        """Detach from the head."""
        if self.opened:
            self._tap.__exit__(None, None, None)
            self.opened = False

    def finish(self) -> CollapseReport:
        """Return the measurement of the batches since the last call, and begin anew.

        Raises
        ------
        NeuralCollapseError
            If there were none.
        """
        if self._state is None:
            raise NeuralCollapseError(
                "mode",
                "training batches with labels between two measurements",
                "none",
                "see that batches go through the watched model, or use mode='pass'",
            )
        state, self._state = over_ranks(self._state), None
        weight, bias = self._tap.weight.clone(), self._tap.bias
        bias = None if bias is None else bias.clone()
        names = check_class_names(None, len(weight))
        self._centers = state.moments.means
        train = SplitReport.of(state, weight, bias, self._own)
        return CollapseReport(train, names, weight, bias, own=self._own)
