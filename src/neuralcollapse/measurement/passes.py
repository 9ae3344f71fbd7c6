"""The passes of a measurement: gather, settle, then test data; on one process or several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.collapse_report import (
    CollapseReport,
    SplitReport,
    check_class_names,
)
from neuralcollapse.measurement.feature_pass import FeaturePass, Unpack, evaluating, unpack_batch
from neuralcollapse.measurement.feature_tap import FeatureTap
from neuralcollapse.metrics.catalogue import OwnMetrics, own_metrics
from neuralcollapse.metrics.over_ranks import over_ranks, shared_head
from neuralcollapse.metrics.state import CollapseState

Scatter = Literal["pooled", "per_class"] | bool
FEATURE_BUDGET = 2**30  # bytes of features kept, so that NC4 needs no second pass


def measured_passes(
    model: nn.Module,
    loader: Iterable[Any],
    test_loader: Iterable[Any] | None = None,
    *,
    head: nn.Module | str | None = None,
    device: torch.device | str | None = None,
    class_names: Sequence[str] | None = None,
    scatter: Scatter = "pooled",
    feature_budget: int = FEATURE_BUDGET,
    unpack: Unpack | None = None,
    metrics: OwnMetrics | None = None,
    show: bool = False,
    merged: bool = False,
) -> CollapseReport:
    """Run a network over its data, and report its collapse.

    Parameters
    ----------
    model, loader, test_loader, head, device, class_names, scatter, feature_budget, unpack, metrics
        As in `measure`.
    show
        Whether to show progress.
    merged
        Whether the data of all processes is put together, where there are several. Every process
        must call; its part of the data may be empty.

    Returns
    -------
    CollapseReport
        The same on every process, if merged.

    Raises
    ------
    NeuralCollapseError
        As `measure`.
    """
    own = own_metrics(metrics)
    unpack, together = unpack or unpack_batch, over_ranks if merged else _alone
    with evaluating(model, device) as where, FeatureTap(model, head) as tap:

        def run(data: Iterable[Any], title: str) -> FeaturePass:
            return FeaturePass(model, data, tap, where, unpack, show, title)

        state = _gathered(run(loader, "measuring"), tap, scatter, feature_budget)
        found = None if state is None else (tap.weight.clone(), tap.bias)
        if merged:
            found = shared_head(found)
        if found is None:
            raise NeuralCollapseError(
                "loader", "at least one batch with samples", "none", "check the data set"
            )
        weight, bias = found[0], None if found[1] is None else found[1].clone()
        num_classes, dim = weight.shape
        names = check_class_names(class_names, num_classes)
        state = state or CollapseState(num_classes, dim, scatter, keep=True)
        means = together(state).moments.means
        state.settle(means, run(loader, "deciding (second pass)"))
        train, test = SplitReport.of(together(state), weight, bias, own), None
        if test_loader is not None:
            held_out = CollapseState(num_classes, dim, scatter, centers=means, keep=True)
            for features, logits, labels in run(test_loader, "measuring test data"):
                held_out.gather(features, labels, logits)
            test = SplitReport.of(together(held_out), weight, bias, own)
    return CollapseReport(train, names, weight, bias, test, own)


def _gathered(
    data: FeaturePass, tap: FeatureTap, scatter: Scatter, feature_budget: int
) -> CollapseState | None:
    """Gather the samples of a pass; None if it has none."""
    state: CollapseState | None = None
    whole = True
    for features, logits, labels in data:
        if state is None:
            (num_classes, dim), budget = tap.weight.shape, feature_budget
            state = CollapseState(num_classes, dim, scatter, keep=True, feature_budget=budget)
        state.gather(features, labels, logits)
        if whole and not state.whole:
            whole = False
            data.require_rereadable(feature_budget)
    return state if state is not None and state.moments.num_samples else None


def _alone(state: CollapseState) -> CollapseState:
    return state
