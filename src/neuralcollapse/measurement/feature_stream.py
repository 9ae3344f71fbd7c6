"""A report from a stream of features, of any framework, that need not fit in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.collapse_report import CollapseReport
from neuralcollapse.measurement.split_report import SplitReport
from neuralcollapse.metrics.head import Head, two_sided
from neuralcollapse.metrics.metric import Metric
from neuralcollapse.metrics.state import CollapseState
from neuralcollapse.validation import (
    as_matrix,
    as_tensor,
    check_class_names,
    integer_labels,
    read_labels,
)

FEW = 4  # single logits may all lie between 0 and 1 by chance
Batch = tuple[Tensor, Tensor | None, Any]


class FeatureStream:
    """Batches (features, labels) or (features, labels, logits), read as often as needed.

    It yields (features, logits, labels), like a pass over a network.

    Parameters
    ----------
    batches
        An iterable of arrays or tensors (n, d), (n,) and (n, K), or None.
    head
        The head that gives the logits, if the batches hold none.
    class_names
        Names of the classes in order, for labels that are text.

    Raises
    ------
    NeuralCollapseError
        On reading, if a batch has another form.
    """

    def __init__(
        self,
        batches: Iterable[Any] | None,
        head: Head | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.batches, self.head, self.class_names = batches, head, class_names

    def __iter__(self) -> Iterator[Batch]:
        batches = () if self.batches is None else self.batches
        if not hasattr(batches, "__iter__") and not hasattr(batches, "__getitem__"):
            expected, got = "an iterable of batches (features, labels)", type(batches).__name__
            raise NeuralCollapseError("features", expected, got, "pass labels=, or a stream")
        forms = set()
        for batch in batches:
            if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
                expected = (
                    "batches (features, labels) or (features, labels, logits), without labels="
                )
                remedy = "pass labels=, or a stream of such batches"
                raise NeuralCollapseError("features", expected, type(batch).__name__, remedy)
            forms.add(len(batch))
            if len(forms) > 1:
                expected, remedy = "logits in every batch, or in none", "pass all, or weight="
                raise NeuralCollapseError("features", expected, "in some", remedy)
            features = as_matrix("features", batch[0]).detach()
            if not isinstance(self.batches, (list, tuple)):  # which may reuse its memory
                features = features.clone()
            logits = read_scores("logits", batch[2]) if len(batch) == 3 else None
            if logits is None and self.head is not None:
                logits = self.head.logits(features)
            labels = read_labels("labels", batch[1])
            if not isinstance(labels, Tensor):
                labels = integer_labels("labels", labels, None, class_names=self.class_names)
            yield features, logits, labels

    @property
    def read_once(self) -> bool:
        """Whether reading the stream once exhausts it."""
        return isinstance(self.batches, Iterator)


def read_scores(argument: str, logits: Any) -> Tensor:
    """Return logits (n, K); a single logit z per sample, (n,) or (n, 1), becomes -z/2 and z/2.

    Parameters
    ----------
    argument
        Name to use in an error.
    logits
        Of n samples.

    Raises
    ------
    NeuralCollapseError
        If they are no matrix of numbers, or a single column of probabilities.
    """
    scores = as_tensor(argument, logits).detach()
    scores = as_matrix(argument, scores[:, None] if scores.ndim == 1 else scores)
    if scores.shape[1] > 1:
        return scores
    if len(scores) > FEW and bool(((scores >= 0) & (scores <= 1)).all()):
        expected, got = "logits, of either sign", "a single column of numbers from 0 to 1"
        remedy = "of probabilities p, pass log(p / (1 - p))"
        raise NeuralCollapseError(argument, expected, got, remedy)
    return two_sided(scores, dim=1)


def measure_stream(
    stream: FeatureStream,
    tested: FeatureStream,
    scatter: Any,
    feature_budget: int,
    own: Mapping[str, Metric],
    intervals: bool | None = None,
) -> CollapseReport:
    """Return the report of a stream, see `measure_features`."""
    head, class_names = stream.head, stream.class_names
    state: CollapseState | None = None
    for features, logits, labels in stream:
        if state is None:
            num_classes = _num_classes(head, class_names, logits)
            state = CollapseState(
                num_classes,
                features.shape[1],
                scatter,
                keep=True,
                feature_budget=feature_budget,
                intervals=intervals,
            )
        state.gather(features, labels, logits)
        if not state.whole and stream.read_once:
            expected = f"at most {feature_budget:,} bytes from a stream that can be read only once"
            remedy = "pass a list or an object with __iter__, or raise feature_budget"
            raise NeuralCollapseError("features", expected, "more", remedy)
    if state is None:
        raise NeuralCollapseError("features", "at least one batch", "none", "check the stream")
    means, num_classes = state.moments.means, state.moments.num_classes
    state.settle(means, stream)
    weight, bias = (None, None) if head is None else (head.weight, head.bias)
    test = None
    if tested.batches is not None:
        held_out = CollapseState(
            num_classes, state.moments.dim, scatter, centers=means, keep=True,
            feature_budget=feature_budget, intervals=intervals, confidences=True,
        )  # fmt: skip
        for features, logits, labels in tested:
            held_out.gather(features, labels, logits)
        held_out.look_again()
        test = SplitReport.of(held_out, weight, bias, own, lenient="test")
    names = check_class_names(class_names, num_classes)
    train = SplitReport.of(state, weight, bias, own)
    return CollapseReport(train, names, weight, bias, test, own)


def _num_classes(
    head: Head | None, class_names: Sequence[str] | None, logits: Tensor | None
) -> int:
    if head is not None:
        return head.num_classes
    if class_names is not None:
        return len(class_names)
    if logits is not None:
        return logits.shape[1]
    expected = "one name per class, for a stream without a weight or logits"
    remedy = "pass class_names=, which gives the number of classes"
    raise NeuralCollapseError("class_names", expected, "none", remedy)
