"""measure: collapse of a network on its data, in one forward pass."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import nn

from neuralcollapse.measurement.collapse_report import CollapseReport
from neuralcollapse.measurement.feature_pass import Unpack
from neuralcollapse.measurement.passes import FEATURE_BUDGET, measured_passes
from neuralcollapse.metrics.catalogue import OwnMetrics


def measure(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    head: nn.Module | str | None = None,
    test_loader: Iterable[Any] | None = None,
    device: torch.device | str | None = None,
    class_names: Sequence[str] | None = None,
    scatter: Literal["pooled", "per_class"] | bool = "pooled",
    feature_budget: int = FEATURE_BUDGET,
    unpack: Unpack | None = None,
    metrics: OwnMetrics | None = None,
    progress: bool | None = None,
) -> CollapseReport:
    """Measure the neural collapse of a classifier on the data of a loader.

    The network runs once over the data, in evaluation mode and without gradients; features are
    the input of its last linear layer, logits its output. Afterwards modes, random states and
    hooks are as before, also if an error occurred.

    Parameters
    ----------
    model
        The classifier. It may return a tensor, a tuple or a dict: logits are taken at the head.
    loader
        Batches (inputs, labels), or mappings with one of the keys labels, label, targets, target,
        y, whose other entries are passed to the model by name. Labels are 0..K-1.
    head
        The last linear layer or its name; found by itself if omitted, see `FeatureTap`.
    test_loader
        Test data; its decisions are judged against the class means of the training data.
    device
        Where to run; where the model is if omitted. The model is moved there and back.
    class_names
        One name a class; numbers if omitted.
    scatter
        As in `ClassMoments`; False leaves out ``nc1_pinv`` and ``vci``, in O(K d) memory.
    feature_budget
        Bytes. NC4 needs every feature once the class means are known: up to so many are kept from
        the one pass; beyond, the network runs over the loader a second time.
    unpack
        From a batch to (inputs, labels), if batches are of another kind.
    metrics
        Metrics of one's own, by name: functions of what was measured (`moments`, `weight`, `bias`,
        `shares`), each to a number. `metrics.register` adds one everywhere.
    progress
        Show a progress bar; on a terminal if omitted.

    Returns
    -------
    CollapseReport
        The report; ``print`` it, or look up ``report["nc1_pinv"]``.

    Raises
    ------
    NonFiniteError
        If a batch gives features that are NaN or infinite: which batch, how many.
    NeuralCollapseError
        If the loader is empty, batches or labels are of the wrong form, the head is not found or
        ambiguous, fewer than two classes have samples, or a loader that can be read only once
        gives more features than the budget.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> batches = [(torch.randn(30, 2), torch.arange(30) % 3) for _ in range(4)]
    >>> report = measure(model, batches)
    >>> report.train.moments.num_samples, 0 <= report["nc4_agreement"] <= 1
    (120, True)
    """
    return measured_passes(
        model,
        loader,
        test_loader,
        head=head,
        device=device,
        class_names=class_names,
        scatter=scatter,
        feature_budget=feature_budget,
        unpack=unpack,
        metrics=metrics,
        show=sys.stderr.isatty() if progress is None else progress,
    )
