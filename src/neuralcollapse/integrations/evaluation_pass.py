"""Measure an epoch by a pass of its own: the network at rest, in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from neuralcollapse.measurement.collapse_report import CollapseReport
from neuralcollapse.measurement.passes import PassOptions, measured_passes


def measure_epoch(
    model: nn.Module,
    loader: Iterable[Any],
    test_loader: Iterable[Any] | Mapping[str, Iterable[Any]] | None = None,
    **options: Any,
) -> CollapseReport:
    """Measure a network as `measure` does, where each process may hold a part of the data.

    Parameters
    ----------
    model
        The network.
    loader, test_loader
        This process's part of training and validation data; it may be empty.
    options
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
    return measured_passes(model, loader, test_loader, PassOptions(**options), merged=True)
