"""measure: collapse of a network on its data, in one forward pass."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.collapse_report import CollapseReport, SplitReport
from neuralcollapse.measurement.feature_pass import (
    FeaturePass,
    Unpack,
    evaluating,
    unpack_batch,
)
from neuralcollapse.measurement.feature_tap import FeatureTap
from neuralcollapse.measurement.measure_features import check_class_names, split_report
from neuralcollapse.metrics.decisions import Decisions
from neuralcollapse.moments.class_moments import ClassMoments


def measure(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    head: nn.Module | str | None = None,
    test_loader: Iterable[Any] | None = None,
    device: torch.device | str | None = None,
    class_names: Sequence[str] | None = None,
    scatter: Literal["pooled", "per_class"] | bool = "pooled",
    feature_budget: int = 2**30,
    unpack: Unpack | None = None,
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
    show = sys.stderr.isatty() if progress is None else progress
    unpack = unpack or unpack_batch
    with evaluating(model, device) as where, FeatureTap(model, head) as tap:
        data = FeaturePass(model, loader, tap, where, unpack, show, "measuring")
        moments: ClassMoments | None = None
        kept: list[tuple[Tensor, Tensor, Tensor]] | None = []
        room = feature_budget
        for features, logits, labels in data:
            if moments is None:
                num_classes, dim = tap.weight.shape
                moments = ClassMoments(num_classes, dim, scatter, features.device)
            moments.update(features, labels)
            room -= features.nbytes + logits.nbytes
            if room >= 0 and kept is not None:
                kept.append((features, logits, labels))
            elif kept is not None:
                kept = None
                data.require_rereadable(feature_budget)
        if moments is None or not moments.num_samples:
            raise NeuralCollapseError(
                "loader", "at least one batch with samples", "none", "check the data set"
            )
        names = check_class_names(class_names, moments.num_classes)
        means = moments.means
        decisions = Decisions(means)
        again = FeaturePass(model, loader, tap, where, unpack, show, "deciding (second pass)")
        for features, logits, labels in again if kept is None else kept:
            decisions.update(features, labels, logits)
        if len(decisions.labels) != moments.num_samples:
            raise NeuralCollapseError(
                "loader",
                f"the same {moments.num_samples} samples in the second pass",
                f"{len(decisions.labels)}",
                "raise feature_budget so that one pass is enough",
            )
        weight, bias = tap.weight.clone(), tap.bias
        bias = None if bias is None else bias.clone()
        train = split_report(moments, decisions, weight, bias)
        test: SplitReport | None = None
        if test_loader is not None:
            held_out = ClassMoments(moments.num_classes, moments.dim, scatter, moments.device)
            decisions = Decisions(means)
            data = FeaturePass(model, test_loader, tap, where, unpack, show, "measuring test data")
            for features, logits, labels in data:
                held_out.update(features, labels)
                decisions.update(features, labels, logits)
            test = split_report(held_out, decisions, weight, bias)
    return CollapseReport(train, names, weight, bias, test)
