"""The catalogue: every metric of a report, in order; whatever prints, draws or cites reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.metric import Metric
from neuralcollapse.metrics.rows import DECISIONS, NC1, NC2, NC3, NC4, ROWS

# Group -> what is to be seen there, in one sentence.
GROUPS = {
    NC1: "Samples gather at their class mean: all of these fall to 0.",
    NC2: "Class means and head rows become equally long and equally far apart: all fall to 0 "
    "where classes have one size.",
    NC3: "The head turns into the class means, up to scale: both fall to 0.",
    NC4: "Deciding by the nearest class mean becomes deciding by the head.",
    DECISIONS: "What the classifier gets right, and by how much.",
}

# Group -> the metric that stands for it in a first sentence.
FIRST = {
    NC1: "nc1_trace_ratio",
    NC2: "nc2_etf",
    NC3: "nc3_self_duality",
    NC4: "nc4_agreement",
}

CATALOGUE: dict[str, Metric] = {row.name: row for row in ROWS}
OwnMetrics = Mapping[str, Any]  # functions of `Measured`, or rows; `own_metrics` refuses others


def register(metric: Metric) -> Metric:
    """Add a metric to every report, record, logger, page and figure, and to `cite`.

    Parameters
    ----------
    metric
        With a name that no other has, and a function of `Measured`.

    Returns
    -------
    Metric
        The same.

    Raises
    ------
    NeuralCollapseError
        If the name is taken or there is no function.

    Examples
    --------
    >>> from neuralcollapse.metrics import CATALOGUE, Metric, register
    >>> def widest(measured):
    ...     spread = measured.moments.trace_variances
    ...     return float(spread.max() / spread.mean())
    >>> _ = register(Metric("widest_class", title="widest class over the mean", value=widest))
    >>> _ = CATALOGUE.pop("widest_class")  # and it is gone
    """
    if metric.name in CATALOGUE:
        raise NeuralCollapseError(
            "metric", "a name that is not taken", repr(metric.name), "choose another name"
        )
    if metric.value is None:
        raise NeuralCollapseError(
            "metric", "a function", f"none in {metric.name!r}", "pass Metric(..., value=f)"
        )
    CATALOGUE[metric.name] = metric
    return metric


def metric_named(name: str) -> Metric:
    """Return the row of a metric, or of its value on test data; a bare one if it is not listed."""
    name = name.removeprefix("test_")
    return CATALOGUE.get(name) or Metric(name)


def own_metrics(metrics: OwnMetrics | None) -> dict[str, Metric]:
    """Return the metrics of one call by name.

    Parameters
    ----------
    metrics
        Functions of `Measured`, or rows as `register` takes them, by names that are not taken.

    Raises
    ------
    NeuralCollapseError
        If a name is taken, or stands for no function.
    """
    own = {}
    if not isinstance(metrics, (Mapping, type(None))):
        raise NeuralCollapseError(
            "metrics", "functions by name", type(metrics).__name__, "pass a dict of functions"
        )
    for name, function in (metrics or {}).items():
        row = function if isinstance(function, Metric) else None
        if row is None and callable(function):
            row = Metric(name, value=function)
        if name in CATALOGUE or row is None or row.name != name or row.value is None:
            raise NeuralCollapseError(
                "metrics",
                "functions of what was measured, by names that are not taken",
                f"{name!r}: {type(function).__name__}",
                "pass metrics={'my_name': my_function}",
            )
        own[name] = row
    return own


def needed(metric: Metric, available: set[str]) -> bool:
    """Return whether there is all that a metric needs."""
    return set(metric.needs) <= available
