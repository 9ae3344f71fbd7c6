"""Corrected values and their intervals, as the last record of a run has them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain

from neuralcollapse.measurement.report_text import estimate_words
from neuralcollapse.metrics.catalogue import metric_named
from neuralcollapse.metrics.estimates.estimate import Estimate
from neuralcollapse.runs.run import Run


@dataclass(frozen=True)
class EstimateRow:
    """A metric with its corrected values and intervals, of training and of test data, in words."""

    name: str
    formula: str
    cells: list[str]


def estimate_rows(run: Run) -> list[EstimateRow]:
    """Return one row per metric that has an interval, in words; none if the run recorded none.

    Parameters
    ----------
    run
        Its last measurement is told.
    """
    known = run.records[-1].get("estimates") or {}
    names = dict.fromkeys(name.removeprefix("test_") for name in known)
    rows = []
    for name in names:
        metric = metric_named(name)
        parts = (_words(known.get(part), metric.kind) for part in (name, f"test_{name}"))
        rows.append(EstimateRow(name, metric.heading, list(chain(*parts))))
    return rows


def _words(found: dict[str, float] | None, kind: str) -> list[str]:
    if found is None:
        return estimate_words(None, kind)
    corrected, low, high = (found.get(name, math.nan) for name in ("corrected", "lower", "upper"))
    return estimate_words(Estimate(math.nan, corrected, low, high), kind)
