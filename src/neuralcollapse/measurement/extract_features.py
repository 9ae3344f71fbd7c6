"""extract_features: what enters the head of a network, for all of its data."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.at_rest import evaluating
from neuralcollapse.measurement.feature_pass import FeaturePass
from neuralcollapse.measurement.feature_tap import FeatureTap
from neuralcollapse.measurement.pass_options import PassOptions


def extract_features(
    model: Any, loader: Iterable[Any], *, progress: bool | None = None, **options: Any
) -> dict[str, Tensor]:
    """Run a network once over its data, and return what enters its head.

    Parameters
    ----------
    model, loader
        As in `measure`. One pass is made, and everything is restored likewise.
    progress
        Whether to show a progress bar; by default, on a terminal.
    options
        The options of `measure` for reading: head, device, unpack, forward, ignore_index,
        shift_labels, max_batches.

    Returns
    -------
    dict
        ``features`` (N, d) and ``labels`` (N,) on the CPU and, if there are any, ``weight`` (K, d)
        and ``bias`` (K,): the arguments of `measure_features` and `write_features`.

    Raises
    ------
    NeuralCollapseError
        As `measure`.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from neuralcollapse import extract_features
    >>> from neuralcollapse.measurement import measure, measure_features
    >>> _ = torch.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> batches = [(torch.randn(30, 2), torch.arange(30) % 3) for _ in range(4)]
    >>> arrays = extract_features(model, batches)
    >>> {name: tuple(array.shape) for name, array in arrays.items()}
    {'features': (120, 8), 'labels': (120,), 'weight': (3, 8), 'bias': (3,)}
    >>> saved, direct = measure_features(**arrays), measure(model, batches)
    >>> abs(saved["nc1_pinv"] / direct["nc1_pinv"] - 1) < 1e-5
    True
    """
    asked = PassOptions.of(options, extract_features)
    show = sys.stderr.isatty() if progress is None else progress
    kept: list[tuple[Tensor, Tensor]] = []
    with evaluating(model, asked.device, loader) as where, FeatureTap(model, asked.head) as tap:
        samples = asked.samples(model)
        data = FeaturePass(
            model, loader, tap, where, samples, show, "extracting features", asked.max_batches
        )
        for features, _, labels in data:
            kept.append((features.cpu(), labels.cpu().clone()))  # the loader may reuse theirs
        if not kept:
            raise NeuralCollapseError(
                "loader", "at least one batch with samples", "none", "check the data set"
            )
        head = tap.read()
        head = head and head.copy()  # before the weights are as they were
    features, labels = (torch.cat(parts) for parts in zip(*kept, strict=True))
    arrays = {"features": features, "labels": labels}
    if head is not None:
        arrays["weight"] = head.weight.cpu()
        if head.bias is not None:
            arrays["bias"] = head.bias.cpu()
    return arrays
