"""measure: collapse of a network on its data, in one forward pass."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, Literal

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.collapse_report import CollapseReport, SplitReport
from neuralcollapse.measurement.evaluation import evaluating, run
from neuralcollapse.measurement.feature_tap import FeatureTap
from neuralcollapse.measurement.measure_features import check_class_names, split_report
from neuralcollapse.metrics.decisions import Decisions
from neuralcollapse.moments.class_moments import ClassMoments

Unpack = Callable[[Any], tuple[Any, Any]]
LABEL_KEYS = ("labels", "label", "targets", "target", "y")


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
        data = _Pass(model, loader, tap, where, unpack, show, "measuring")
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
        again = _Pass(model, loader, tap, where, unpack, show, "deciding (second pass)")
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
            data = _Pass(model, test_loader, tap, where, unpack, show, "measuring test data")
            for features, logits, labels in data:
                held_out.update(features, labels)
                decisions.update(features, labels, logits)
            test = split_report(held_out, decisions, weight, bias)
    return CollapseReport(train, names, weight, bias, test)


def unpack_batch(batch: Any) -> tuple[Any, Any]:
    """Split a batch into inputs and labels.

    Parameters
    ----------
    batch
        A sequence (inputs, labels), or a mapping with a key of `LABEL_KEYS`.

    Returns
    -------
    tuple
        Inputs, a mapping if the batch was one, and labels.

    Raises
    ------
    NeuralCollapseError
        If the batch is neither.

    Examples
    --------
    >>> unpack_batch({"input_ids": 1, "labels": 2})
    ({'input_ids': 1}, 2)
    """
    if isinstance(batch, Mapping):
        key = next((key for key in LABEL_KEYS if key in batch), None)
        if key is not None:
            return {name: value for name, value in batch.items() if name != key}, batch[key]
        got = f"a mapping with keys {', '.join(map(repr, batch))}"
    elif isinstance(batch, (list, tuple)) and len(batch) == 2:
        return batch[0], batch[1]
    else:
        got = type(batch).__name__
        if isinstance(batch, (list, tuple)):
            got += f" of length {len(batch)}"
    raise NeuralCollapseError(
        "loader",
        f"batches (inputs, labels), or mappings with a key among {', '.join(LABEL_KEYS)}",
        got,
        "pass unpack=, a function from a batch to (inputs, labels)",
    )


class _Pass:
    """One run of the network over a loader: an iterable of (features, logits, labels)."""

    def __init__(
        self,
        model: nn.Module,
        loader: Iterable[Any],
        tap: FeatureTap,
        device: torch.device,
        unpack: Unpack,
        show: bool,
        title: str,
    ) -> None:
        self._model, self._loader, self._tap, self._device = model, loader, tap, device
        self._unpack, self._show, self._title = unpack, show, title

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        batches: Iterable[Any] = self._loader
        if self._show:
            total = len(self._loader) if isinstance(self._loader, Sized) else None
            console = Console(stderr=True)
            batches = track(self._loader, self._title, total=total, transient=True, console=console)
        for batch in batches:
            inputs, labels = self._unpack(batch)
            run(self._model, inputs, self._device)
            features, logits = self._tap.take()
            yield features, logits, torch.as_tensor(labels).to(features.device)

    def require_rereadable(self, budget: int) -> None:
        """Refuse a loader that is used up by its first pass."""
        if iter(self._loader) is self._loader:
            raise NeuralCollapseError(
                "loader",
                f"at most {budget:,} bytes of features from a loader that can be read only once",
                "more",
                "pass a DataLoader or a list, or raise feature_budget",
            )
