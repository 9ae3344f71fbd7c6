"""measure_features: the collapse of features that are already computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any, Literal

from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.collapse_report import CollapseReport
from neuralcollapse.measurement.feature_stream import FeatureStream, measure_stream, read_scores
from neuralcollapse.measurement.split_report import SplitReport
from neuralcollapse.metrics.catalogue import OwnMetrics, own_metrics
from neuralcollapse.metrics.head import Head, checked_bias, two_sided
from neuralcollapse.metrics.nearest_center import CHUNK_ROWS
from neuralcollapse.metrics.state import CollapseState
from neuralcollapse.validation import (
    as_matrix,
    as_tensor,
    check_class_names,
    check_shape,
    distinct_labels,
    finite_matrix,
    integer_labels,
    label_values,
    listed_names,
)

BATCH_ROWS = 2048
BATCH_LOGITS = 2**21  # logits held at once


def measure_features(
    features: Any,
    labels: Any = None,
    weight: Any = None,
    bias: Any = None,
    *,
    logits: Any = None,
    test_features: Any = None,
    test_labels: Any = None,
    test_logits: Any = None,
    class_names: Sequence[str] | None = None,
    scatter: Literal["pooled", "per_class"] | bool = "pooled",
    metrics: OwnMetrics | None = None,
    feature_budget: int = 2**30,
    intervals: bool | None = None,
) -> CollapseReport:
    """Measure the collapse of features, and of the linear layer that follows them.

    Parameters
    ----------
    features
        (N, d) array, tensor or data frame, of any real dtype, finite; or, without `labels`, an
        iterable of batches (features, labels) or (features, labels, logits).
    labels
        (N,) or (N, 1) class of each row, or one-hot or soft rows (N, K), whose largest entry is
        the class. With `weight` or `class_names`: 0..K-1, or names listed in `class_names`. Without
        either: any integers or strings; the classes are then the values that occur, in order.
    weight, bias
        (K, d) and (K,) of the last linear layer; without a weight there is no NC3, and without
        logits too no NC4 or margin. A single row, which gives one logit z, stands for the logits
        -z/2 and z/2.
    logits
        (N, K) logits of the network to decide by; those of `weight` and `bias` if omitted. If they
        are given, labels that are numbers must be 0..K-1 even without a weight.
    test_features, test_labels, test_logits
        (N', d), (N',) and (N', K) of test data, compared with the class means of `features`.
    class_names
        One name per class; the labels if omitted.
    scatter
        As in `ClassMoments`; False leaves out ``nc1_pinv`` and ``vci``, in O(K d) memory.
    metrics
        Metrics of your own, by name: functions of one argument, what was measured, with attributes
        `moments`, `weight`, `bias` and `shares`, each returning a number. `metrics.register` adds
        one everywhere.
    feature_budget
        Bytes of features of a stream to keep; beyond this, the stream is read a second time.
    intervals
        Whether to keep what the intervals of `report.estimates` need; by default, if that takes at
        most 256 MiB.

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
    >>> from neuralcollapse import measure_features
    >>> features = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]])
    >>> report = measure_features(features, ["cat", "cat", "dog", "dog"])
    >>> round(report["nc1_trace_ratio"], 6), report.class_names
    (0.25, ['cat', 'dog'])
    """
    own = own_metrics(metrics)
    head = None if weight is None else finite_matrix("weight", weight).detach()
    if bias is not None and head is None:
        raise NeuralCollapseError("bias", "a weight along with it", "no weight", "pass weight= too")
    offset = (
        None
        if bias is None or head is None
        else checked_bias(as_tensor("bias", bias).flatten(), head)
    )
    if head is not None and len(head) == 1:
        head, offset = two_sided(head), None if offset is None else two_sided(offset)
    layer = None if head is None else Head("", head, offset)
    class_names = listed_names(class_names)
    if labels is None:
        beside = {"logits": logits, "test_labels": test_labels, "test_logits": test_logits}
        for name, value in beside.items():
            if value is not None:
                expected = "none beside a stream, whose batches hold them"
                remedy = "pass labels= too, or batches (features, labels, logits)"
                raise NeuralCollapseError(name, expected, type(value).__name__, remedy)
        stream = FeatureStream(features, layer, class_names)
        tested = FeatureStream(test_features, layer, class_names)
        return measure_stream(stream, tested, scatter, feature_budget, own, intervals)
    rows = as_matrix("features", features).detach()
    if not len(rows):
        raise NeuralCollapseError("features", "at least one row", "none", "pass one row per sample")
    if (test_features is None) != (test_labels is None):
        missing = "test_features" if test_features is None else "test_labels"
        raise NeuralCollapseError(missing, "both, of test data", "only one", f"pass {missing}= too")
    if test_logits is not None and test_features is None:
        remedy = "pass test_features= and test_labels= too"
        raise NeuralCollapseError("test_logits", "test features along with it", "none", remedy)
    scores = _given_scores("logits", logits, rows)
    numbered = head is None and class_names is None
    if numbered and scores is not None and isinstance(label_values("labels", labels), Tensor):
        class_names = [str(k) for k in range(scores.shape[1])]
    elif numbered:
        found, labels = distinct_labels("labels", labels)
        if test_labels is not None:
            _, test_labels = distinct_labels("test_labels", test_labels, found)
        class_names = [str(name) for name in found]
    num_classes = len(head) if head is not None else len(class_names or ())
    names = check_class_names(class_names, num_classes)
    state = CollapseState(num_classes, rows.shape[1], scatter, keep=True, intervals=intervals)
    true = integer_labels("labels", labels, len(rows), num_classes, class_names)
    for part, decided, classes in _batches(rows, true, scores, num_classes, BATCH_ROWS):
        state.gather(part, classes, decided)
    means, again = state.moments.means, _batches(rows, true, scores, num_classes, CHUNK_ROWS)
    state.settle(means, again, head=layer if scores is None else None)
    train, test = SplitReport.of(state, head, offset, own), None
    if test_features is not None:
        width, rows = rows.shape[1], as_matrix("test_features", test_features).detach()
        check_shape("test_features", rows, ("n", width), "pass the features of the same layer")
        true = integer_labels("test_labels", test_labels, len(rows), num_classes, class_names)
        state = CollapseState(
            num_classes, rows.shape[1], scatter, centers=means, keep=True,
            feature_budget=rows.nbytes, intervals=intervals, confidences=True,
        )  # fmt: skip
        scores = _given_scores("test_logits", test_logits, rows)
        parts = _batches(rows, true, scores, num_classes, BATCH_ROWS, layer)
        for part, decided, classes in parts:
            state.gather(part, classes, decided)
        state.look_again()
        test = SplitReport.of(state, head, offset, own, lenient="test")
    return CollapseReport(train, names, head, offset, test, own)


def _given_scores(argument: str, logits: Any, rows: Tensor) -> Tensor | None:
    """Return the logits of the network, one row per sample, if they are given."""
    scores = None if logits is None else read_scores(argument, logits)
    if scores is not None and len(scores) != len(rows):
        expected, got = f"{len(rows)} rows, one per sample", str(len(scores))
        raise NeuralCollapseError(argument, expected, got, "pass those of the features")
    return scores


def _batches(
    rows: Tensor,
    labels: Tensor,
    scores: Tensor | None,
    num_classes: int,
    most: int,
    head: Head | None = None,
) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
    """Yield features, logits (the given ones, or else those of a head) and labels."""
    size = max(1, min(most, BATCH_LOGITS // num_classes))
    given = repeat(None) if scores is None else scores.split(size)
    for part, true, logits in zip(rows.split(size), labels.split(size), given, strict=False):
        yield part, head.logits(part) if logits is None and head is not None else logits, true
