"""Measure an epoch by a pass of its own: the network at rest, in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from neuralcollapse.measurement.collapse_report import CollapseReport
from neuralcollapse.measurement.feature_pass import Unpack
from neuralcollapse.measurement.passes import FEATURE_BUDGET, measured_passes
from neuralcollapse.metrics.catalogue import OwnMetrics


def measure_epoch(
    model: nn.Module,
    loader: Iterable[Any],
    test_loader: Iterable[Any] | None = None,
    *,
    head: nn.Module | str | None = None,
    unpack: Unpack | None = None,
    feature_budget: int = FEATURE_BUDGET,
    metrics: OwnMetrics | None = None,
) -> CollapseReport:
    """Measure a network as `measure` does, where each process may hold a part of the data.

    Parameters
    ----------
    model
        The network, not wrapped for several processes.
    loader, test_loader
        This process's part of training and validation data; it may be empty.
    head, unpack, feature_budget, metrics
        As in `measure`.

    Returns
    -------
    CollapseReport
        Of the data of all processes. A sampler that fills up the last part with samples seen
        already, as that of torch does, has these counted twice.

    Raises
    ------
    NeuralCollapseError
        As `measure`.
    """
    return measured_passes(
        model,
        loader,
        test_loader,
        head=head,
        unpack=unpack,
        feature_budget=feature_budget,
        metrics=metrics,
        merged=True,
    )
