"""measure_features: collapse of features that are already at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.collapse_report import CollapseReport, SplitReport
from neuralcollapse.measurement.readings import READINGS
from neuralcollapse.metrics.decisions import Decisions
from neuralcollapse.metrics.head import checked_bias
from neuralcollapse.metrics.summary import summarize
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.validation import as_tensor, distinct_labels, finite_matrix, integer_labels

BATCH_ROWS = 8192


def measure_features(
    features: Any,
    labels: Any,
    weight: Any = None,
    bias: Any = None,
    *,
    test_features: Any = None,
    test_labels: Any = None,
    class_names: Sequence[str] | None = None,
    scatter: Literal["pooled", "per_class"] | bool = "pooled",
) -> CollapseReport:
    """Measure the collapse of features, and of the linear layer that takes them.

    Parameters
    ----------
    features
        (N, d) array, tensor or data frame, of any real dtype, finite.
    labels
        (N,) or (N, 1) class of each row, or one-hot or soft rows (N, K), whose largest entry is
        the class. With `weight` or `class_names`: 0..K-1, or text out of `class_names`. Without:
        any integers or strings; the classes are then the values that occur, in order.
    weight, bias
        (K, d) and (K,) of the last linear layer; without them there is no NC3, NC4 or margin.
    test_features, test_labels
        (N', d) and (N',) of test data, judged against the class means of `features`.
    class_names
        One name a class; the labels if omitted.
    scatter
        As in `ClassMoments`; False leaves out ``nc1_pinv`` and ``vci``, in O(K d) memory.

    Returns
    -------
    CollapseReport
        The report; ``print`` it, or look up ``report["nc1_pinv"]``.

    Raises
    ------
    NonFiniteError
        If features or the head hold NaN or infinity.
    NeuralCollapseError
        If shapes or labels do not fit, or fewer than two classes have samples.

    Examples
    --------
    >>> import torch
    >>> features = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]])
    >>> report = measure_features(features, ["cat", "cat", "dog", "dog"])
    >>> round(report["nc1_trace_ratio"], 6), report.class_names
    (0.25, ['cat', 'dog'])
    """
    rows = _matrix("features", features)
    head = None if weight is None else finite_matrix("weight", weight)
    if bias is not None and head is None:
        raise NeuralCollapseError("bias", "a weight beside it", "no weight", "pass weight= too")
    offset = (
        None
        if bias is None or head is None
        else checked_bias(as_tensor("bias", bias).flatten(), head)
    )
    if head is None and class_names is None:
        found, labels = distinct_labels("labels", labels)
        if test_labels is not None:
            _, test_labels = distinct_labels("test_labels", test_labels, found)
        class_names = [str(name) for name in found]
    num_classes = len(head) if head is not None else len(class_names or ())
    names = check_class_names(class_names, num_classes)
    moments = ClassMoments(num_classes, rows.shape[1], scatter, rows.device)
    true = integer_labels("labels", labels, len(rows), num_classes, class_names)
    for part in _parts(len(rows)):
        moments.update(rows[part], true[part])
    train = _judged(moments, rows, true, moments.means, head, offset)
    test = None
    if test_features is not None:
        rows = _matrix("test_features", test_features)
        true = integer_labels("test_labels", test_labels, len(rows), num_classes, class_names)
        held_out = ClassMoments(num_classes, moments.dim, scatter, rows.device)
        for part in _parts(len(rows)):
            held_out.update(rows[part], true[part])
        test = _judged(held_out, rows, true, moments.means, head, offset)
    return CollapseReport(train, names, head, offset, test)


def split_report(
    moments: ClassMoments, decisions: Decisions, weight: Tensor | None, bias: Tensor | None
) -> SplitReport:
    """Assemble the values of one data set from its moments and decisions."""
    margin = decisions.margin_min if weight is not None else None
    values = summarize(moments, weight, bias, margin)
    values["ncc_accuracy"] = decisions.ncc_accuracy
    if margin is not None:
        values["nc4_agreement"] = decisions.agreement
        values["accuracy"] = decisions.accuracy
        values["margin_min"] = margin
    ordered = {name: values[name] for name in READINGS if name in values}
    return SplitReport(ordered, moments, decisions)


def check_class_names(class_names: Sequence[str] | None, num_classes: int) -> list[str]:
    """Return one name a class: those given, or the numbers."""
    names = list(map(str, range(num_classes) if class_names is None else class_names))
    if len(names) != num_classes:
        raise NeuralCollapseError(
            "class_names", f"{num_classes} names, one a class", str(len(names)), "name every class"
        )
    return names


def _judged(
    moments: ClassMoments,
    rows: Tensor,
    labels: Tensor,
    means: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
) -> SplitReport:
    decisions = Decisions(means, weight, bias)
    for part in _parts(len(rows)):
        decisions.update(rows[part], labels[part])
    return split_report(moments, decisions, weight, bias)


def _parts(num_rows: int) -> list[slice]:
    return [slice(start, start + BATCH_ROWS) for start in range(0, num_rows, BATCH_ROWS)]


def _matrix(argument: str, value: Any) -> Tensor:
    """Return a matrix in its own dtype; each batch of it is checked and converted in turn."""
    matrix = as_tensor(argument, value)
    if matrix.ndim != 2:
        raise NeuralCollapseError(
            argument,
            "shape (N, d), one row a sample",
            str(tuple(matrix.shape)),
            "flatten or pool each sample to one row",
        )
    return matrix.detach()
