"""One batch of samples as it enters a state: features, labels and logits on one device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import starmap
from typing import Any

import torch
from torch import Tensor

from neuralcollapse.errors import NonFiniteError
from neuralcollapse.metrics.decisions import decide
from neuralcollapse.metrics.kept_samples import Batch
from neuralcollapse.validation import as_tensor, check_shape, integer_labels


def read_batch(
    features: Any, labels: Any, logits: Any, num_classes: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return features, int64 labels and logits, detached and on one device.

    Parameters
    ----------
    features
        (n, d).
    labels
        (n,) in 0..K-1.
    logits
        (n, K) or None.
    num_classes
        K.

    Raises
    ------
    NeuralCollapseError
        If the shapes do not fit, or labels are out of range. On an accelerator the range is not
        checked here, since that would stall the device.

    Examples
    --------
    >>> read_batch(torch.ones(2, 3), [0, 1], None, num_classes=2)[1]
    tensor([0, 1])
    """
    features = as_tensor("features", features).detach()
    logits = None if logits is None else as_tensor("logits", logits).detach()
    if features.device.type == "mps":  # has no float64
        features = features.cpu()
    shape = (len(features), num_classes)
    if logits is not None:
        check_shape("logits", logits, shape, "pass one column per class")
    there = isinstance(labels, Tensor) and not labels.is_cpu and labels.device == features.device
    if not there or labels.shape != shape[:1] or labels.is_floating_point():
        labels = integer_labels("labels", labels, *shape)
    labels = labels.to(features.device, torch.int64)
    return features, labels, None if logits is None else logits.to(features.device)


def within(labels: Tensor, num_classes: int) -> Tensor:
    """Return labels that are safe as an index, even if their range has not been checked yet.

    Parameters
    ----------
    labels
        (n,) int64.
    num_classes
        K.

    Examples
    --------
    >>> within(torch.tensor([0, 1]), 2)
    tensor([0, 1])
    """
    return labels if labels.is_cpu else labels.clamp(0, num_classes - 1)


def decided_batches(
    batches: Iterable[tuple[Tensor, Tensor | None, Any]], num_classes: int
) -> Iterator[Batch]:
    """Return features, labels and winners of batches that are read a second time.

    Parameters
    ----------
    batches
        Features (n, d), logits (n, K) or None, labels (n,).
    num_classes
        K.
    """
    return starmap(partial(_decided, num_classes), batches)  # which refers to none of them later


def _decided(num_classes: int, rows: Tensor, scores: Tensor | None, given: Any) -> Batch:
    features, labels, logits = read_batch(rows, given, scores, num_classes)
    labels = within(labels, num_classes)
    return features, labels, None if logits is None else decide(logits, labels)[1]


def refuse_margins(bad: int) -> None:
    """Refuse logits if some margins are not finite.

    Parameters
    ----------
    bad
        How many are not.

    Raises
    ------
    NonFiniteError
        If there are any.
    """
    if bad:
        expected = "a finite margin for every sample"
        remedy = "look for NaN or infinity in the head, its bias and the features"
        raise NonFiniteError("logits", expected, f"NaN or infinity for {bad} of them", remedy)
