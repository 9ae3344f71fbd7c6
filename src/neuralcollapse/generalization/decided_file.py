"""Decisions on held-out samples from a file: logits, or features and a head, with labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.feature_files import of_classes
from neuralcollapse.measurement.feature_stream import read_scores
from neuralcollapse.metrics.head import Head, two_sided
from neuralcollapse.metrics.margins import sample_margins
from neuralcollapse.validation import (
    check_class_names,
    check_shape,
    distinct_labels,
    finite_matrix,
    finite_tensor,
    integer_labels,
    label_values,
)


@dataclass(frozen=True, eq=False)
class Decided:
    """The decisions of a classifier on held-out samples.

    Attributes
    ----------
    logits, labels
        (n, K) and (n,).
    class_names
        (K,), one for each class: their numbers if the file has no names.
    train_margins
        Margins of training samples, if the file has them beside test data.
    """

    logits: Tensor
    labels: Tensor
    class_names: Sequence[str]
    train_margins: Tensor | None

    @property
    def margins(self) -> Tensor:
        """Margin of each sample, (n,)."""
        return sample_margins(self.logits, self.labels)


def read_decided(path: str | Path, class_names: Sequence[str] | None = None) -> Decided:
    """Read the decisions of a classifier on samples that it was not trained on.

    Parameters
    ----------
    path
        As in `read_arrays`, with ``test_logits`` (or ``test_features`` and a head ``weight``,
        ``bias``) and ``test_labels``; what has no prefix is then training data. Without them,
        ``logits`` (or ``features``) and ``labels`` are the held-out samples. A single logit z a
        sample, (n,) or (n, 1), stands for -z/2 and z/2.
    class_names
        One for each class, if they are not in the file. They are not needed where the labels are
        words that name every class: the columns of the logits are then in alphabetical order.

    Raises
    ------
    NeuralCollapseError
        If the file cannot be read, or lacks logits and a head, or labels; or shapes do not fit.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/a.npz", logits=[[2.0, 1.0], [0.0, 3.0]], labels=["cat", "dog"])
    ...     read_decided(f"{folder}/a.npz").margins.tolist()
    [1.0, 3.0]
    """
    path = Path(path)
    arrays = of_classes(path)
    found = arrays.get("class_names") if class_names is None else class_names
    names = None if found is None else [str(name) for name in found]
    apart = any(name.startswith("test_") for name in arrays)
    prefix = "test_" if apart else ""
    logits = _logits(arrays, prefix, path)
    if logits is None or f"{prefix}labels" not in arrays:
        expected = f"{prefix}labels, and {prefix}logits or {prefix}features with a weight"
        got = f"{', '.join(sorted(arrays))} in {path.name}"
        remedy = "save the logits of held-out samples beside their labels"
        raise NeuralCollapseError("path", expected, got, remedy)
    if names is not None:
        names = check_class_names(names, logits.shape[1])
    labels, known = _labels(arrays[f"{prefix}labels"], logits, names)
    margins = None
    if apart and "labels" in arrays:
        scores = _logits(arrays, "", path)
        if scores is not None:
            margins = sample_margins(scores, _labels(arrays["labels"], scores, known)[0])
    numbers = [str(k) for k in range(logits.shape[1])]  # a class without a sample is one too
    return Decided(logits, labels, known or numbers, margins)


def _logits(arrays: dict[str, Any], prefix: str, path: Path) -> Tensor | None:
    if f"{prefix}logits" in arrays:
        name = f"{prefix}logits"
        return read_scores(name, finite_tensor(name, arrays[name]))
    if f"{prefix}features" not in arrays or "weight" not in arrays:
        return None
    weight = finite_matrix("weight", arrays["weight"])
    bias = arrays.get("bias")
    bias = None if bias is None else finite_tensor("bias", bias).flatten()
    if len(weight) == 1:
        weight, bias = two_sided(weight), None if bias is None else two_sided(bias)
    head = Head(path.name, weight, bias)
    rows = finite_matrix(f"{prefix}features", arrays[f"{prefix}features"])
    check_shape("weight", weight, ("K", rows.shape[1]), "pass the last layer")
    return head.logits(rows)


def _labels(
    given: Any, logits: Tensor, names: Sequence[str] | None
) -> tuple[Tensor, Sequence[str] | None]:
    """Return labels in 0..K-1; names that all occur are in alphabetical order."""
    num_rows, num_classes = logits.shape
    values = label_values("labels", given, num_classes)
    if not isinstance(values, Tensor) and names is None:
        found, places = distinct_labels("labels", values)
        if len(found) != num_classes:
            expected = f"the {num_classes} names, in the order of the columns of the logits"
            got = f"none, and {len(found)} different labels"
            raise NeuralCollapseError("class_names", expected, got, "store class_names in the file")
        return integer_labels("labels", places, num_rows, num_classes), [str(n) for n in found]
    return integer_labels("labels", given, num_rows, num_classes, names), names
