"""One batch of samples as it enters a state: features, labels and logits on one device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.validation import integer_labels


def read_batch(
    features: Tensor, labels: Any, logits: Tensor | None, num_classes: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return features, int64 labels and logits, detached and beside each other.

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
        If the shapes do not fit, or labels are out of range. The range of labels on an
        accelerator is not looked at, since it would stall the device.

    Examples
    --------
    >>> read_batch(torch.ones(2, 3), [0, 1], None, num_classes=2)[1]
    tensor([0, 1])
    """
    features = features.detach()
    if features.device.type == "mps":  # has no float64
        features = features.cpu()
    shape = (len(features), num_classes)
    if logits is not None and logits.shape != shape:
        raise NeuralCollapseError(
            "logits", f"shape {shape}", str(tuple(logits.shape)), "pass one column a class"
        )
    there = isinstance(labels, Tensor) and not labels.is_cpu and labels.device == features.device
    if not there or labels.shape != shape[:1] or labels.is_floating_point():
        labels = integer_labels("labels", labels, *shape)
    labels = labels.to(features.device, torch.int64)
    return features, labels, None if logits is None else logits.detach().to(features.device)


def within(labels: Tensor, num_classes: int) -> Tensor:
    """Return labels that are safe as an index, also those on an accelerator, not looked at yet.

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
