"""The catalogue: every metric of a report, in order; all that prints, draws or cites reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.metric import Metric
from neuralcollapse.metrics.rows import DECISIONS, NC1, NC2, NC3, NC4, ROWS

# Group -> what it shows, in one sentence.
GROUPS = {
    NC1: "Samples gather at their class mean: all of these fall to 0.",
    NC2: "Class means and head rows become equally long and equally far apart: all fall to 0 "
    "if all classes have the same size.",
    NC3: "The head turns into the class means, up to scale: both fall to 0.",
    NC4: "The head comes to decide as the nearest class mean does.",
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
        A metric with a name not yet in use, and a function of `Measured`.

    Returns
    -------
    Metric
        The same object.

    Raises
    ------
    NeuralCollapseError
        If the name is already in use, or there is no function.

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
            "metric", "a name not yet in use", repr(metric.name), "choose another name"
        )
    if metric.value is None:
        raise NeuralCollapseError(
            "metric", "a function", f"none in {metric.name!r}", "pass Metric(..., value=f)"
        )
    CATALOGUE[metric.name] = metric
    return metric


def metric_named(name: str) -> Metric:
    """Return the row of a metric, also by its test-data name; a bare row if it is not listed."""
    name = name.removeprefix("test_")
    # Several test sets put their own names in front, which may be anything: "0", "test", "C-10".
    usual = name.isidentifier() and not name.startswith("test_")
    word = name if usual else "_" + re.sub(r"\W", "_", name)
    return CATALOGUE.get(name) or Metric(word, title="" if usual else name)


def own_metrics(metrics: OwnMetrics | None) -> dict[str, Metric]:
    """Return the metrics that one call brings, by name.

    Parameters
    ----------
    metrics
        Functions of `Measured`, or rows as `register` takes them, by names not yet in use.

    Raises
    ------
    NeuralCollapseError
        If a name is already in use, or does not map to a function.
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
            expected = "functions of what was measured, by names not yet in use"
            got = f"{name!r}: {type(function).__name__}"
            remedy = "pass metrics={'my_name': my_function}"
            raise NeuralCollapseError("metrics", expected, got, remedy)
        own[name] = row
    return own


def needed(metric: Metric, available: set[str]) -> bool:
    """Return whether everything that a metric needs is available."""
    return set(metric.needs) <= available
