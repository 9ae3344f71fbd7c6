"""measure: the collapse of a network on its data, in one forward pass."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from neuralcollapse.measurement.collapse_report import CollapseReport
from neuralcollapse.measurement.pass_options import FEATURE_BUDGET, PassOptions
from neuralcollapse.measurement.passes import measured_passes
from neuralcollapse.measurement.samples import Forward, Unpack
from neuralcollapse.metrics.catalogue import OwnMetrics


def measure(
    model: Any,
    loader: Iterable[Any],
    *,
    head: nn.Module | str | None = None,
    test_loader: Iterable[Any] | Mapping[str, Iterable[Any]] | None = None,
    device: torch.device | str | None = None,
    class_names: Sequence[str] | None = None,
    scatter: Literal["pooled", "per_class"] | bool = "pooled",
    feature_budget: int = FEATURE_BUDGET,
    unpack: Unpack | None = None,
    metrics: OwnMetrics | None = None,
    forward: Forward | None = None,
    ignore_index: int = -100,
    shift_labels: bool | None = None,
    max_batches: int | None = None,
    min_samples: int = 1,
    layers: Sequence[str] = (),
    merge: bool = True,
    intervals: bool | None = None,
    progress: bool | None = None,
) -> CollapseReport:
    """Measure the neural collapse of a classifier on the data of a loader.

    The network runs once over the data, in evaluation mode, eagerly and without gradients;
    features are the input of its last linear layer, logits its output. Afterwards modes, weights,
    random states and the generators of loaders are as before, even after an error.

    A head that is applied to every token or pixel gives one sample per position, with labels of the
    same shape. A mask in the batch (``attention_mask``, ``mask``, ``pixel_mask``) is respected.

    Parameters
    ----------
    model
        The classifier. It may return a tensor, a tuple or a dict: logits are taken at the head. A
        single logit z stands for the logits -z/2 and z/2.
    loader
        Batches (inputs, labels), or mappings with one of the keys labels, label, targets, target,
        y, whose other entries are passed to the model by name; also named tuples, packed
        sequences, and objects with ``.to`` and an attribute of such a name. Labels are 0..K-1.
    head
        The last linear layer or its name; found automatically if omitted, see `FeatureTap`.
    test_loader
        Loader of test data, or several by name; decisions are compared with the class means of the
        training data. Without samples of two classes, the values are NaN, with a warning.
    device
        Where to run; the device of the model if omitted. The model is moved there and back.
    class_names
        One name per class; numbers if omitted.
    scatter
        As in `ClassMoments`; False leaves out ``nc1_pinv`` and ``vci``, in O(K d) memory.
    feature_budget
        In bytes. NC4 needs every feature again once the class means are known: up to this budget
        they are kept; beyond it, the network runs over the loader a second time.
    unpack
        Function from a batch to (inputs, labels), if batches have another form.
    metrics
        Metrics of your own, by name: functions of one argument, what was measured, with attributes
        `moments`, `weight`, `bias` and `shares`, each returning a number. `metrics.register` adds
        one everywhere.
    forward
        Function from the network and the inputs of a batch to the output, if that is not
        ``model(inputs)``.
    ignore_index
        A label that is not a class: samples with it are left out.
    shift_labels
        Whether each position is judged by the label after it. If omitted, this is done for the
        causal language models of Transformers (``*ForCausalLM``), as in their training; the
        report says so.
    max_batches
        The largest number of batches to read.
    min_samples
        Classes with fewer samples are left out, at the cost of another pass.
    layers
        Names of further layers, whose values are in ``report.layers``.
    merge
        Whether to merge the data of several processes, as under ``torchrun``: then every process
        must call, and gets the same report.
    intervals
        Whether to keep what the intervals of `report.estimates` need; by default, if that takes at
        most 256 MiB.
    progress
        Whether to show a progress bar; by default, on a terminal.

    Returns
    -------
    CollapseReport
        The report; ``print`` it, or look up ``report["nc1_pinv"]``.

    Raises
    ------
    NonFiniteError
        If the features of a batch are NaN or infinite; the message says which batch and how many.
    NeuralCollapseError
        If the loader is empty, batches or labels have the wrong form, the head is not found or
        ambiguous, fewer than two classes have samples, or a loader that can be read only once
        yields more features than the budget.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from neuralcollapse import measure
    >>> _ = torch.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> batches = [(torch.randn(30, 2), torch.arange(30) % 3) for _ in range(4)]
    >>> report = measure(model, batches)
    >>> report.train.moments.num_samples, 0 <= report["nc4_agreement"] <= 1
    (120, True)
    """
    options = PassOptions(
        head=head,
        device=device,
        scatter=scatter,
        feature_budget=feature_budget,
        unpack=unpack,
        metrics=metrics,
        forward=forward,
        ignore_index=ignore_index,
        shift_labels=shift_labels,
        max_batches=max_batches,
        min_samples=min_samples,
        layers=layers,
        intervals=intervals,
        class_names=class_names,
    )
    show = sys.stderr.isatty() if progress is None else progress
    return measured_passes(model, loader, test_loader, options, show=show, merged=merge)
