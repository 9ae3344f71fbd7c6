"""The curves of every metric, with what each one does at collapse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from neuralcollapse.measurement.readings import recorded_setting
from neuralcollapse.metrics.catalogue import CATALOGUE, GROUPS, metric_named
from neuralcollapse.metrics.rows import NC1, NC2, NC3, NC4
from neuralcollapse.report.html.packing import short
from neuralcollapse.runs.record import Record
from neuralcollapse.runs.run import Run

MAX_POINTS = 1500  # of a curve: more than the screen has pixels for
TRAINING = "Training"

# What a record holds besides metrics, with its title and one line.
TRAINED = {
    "train_loss": ("training loss", "mean over an epoch, as it was trained on"),
    "lr": ("learning rate", "of the last update before the measurement"),
}
GROUP_NOTES = GROUPS | {TRAINING: "What the optimiser saw."}
# By name, or else by group, or else by kind.
UNITS = {
    "train_loss": "loss",
    "lr": "learning rate",
    "margin_min": "logits",
    NC1: "ratio",
    NC2: "distance",
    NC3: "distance",
    "distance": "value",
    "share": "share of samples",
    "signed": "ratio",
}
OWN = "own_metrics"  # of a record: names that are not in the catalogue


def curve_data(run: Run) -> dict[str, Any]:
    """Return the history of a run as columns.

    Parameters
    ----------
    run
        At least one record; of more than 1,500, those evenly spaced in time and in log time.

    Returns
    -------
    dict
        ``epoch``, ``step`` (None if it was not recorded), ``fitted`` (first epoch at 100 %
        training accuracy) and ``series``, None standing where a value is not finite.
    """
    records = _thinned(run.records)
    names = [name for name in _names([run]) if any(name in record for record in records)]
    fitted = (record["epoch"] for record in run.records if record.get("accuracy") == 1)
    steps = [short(record.get("step", math.nan)) for record in records]
    return {
        "epoch": [record["epoch"] for record in records],
        "step": None if None in steps else steps,
        "fitted": next(fitted, None),
        "series": {
            name: [short(_number(record.get(name))) for record in records]
            for name in names
            if not (name.startswith("test_") and name.endswith("_head"))  # nor does it change
        },
    }


def charts(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return one description a chart: every metric that a run recorded.

    Parameters
    ----------
    runs
        At least one.
    """
    recorded = _names(runs)
    found = []
    for name in dict.fromkeys(name.removeprefix("test_") for name in recorded):
        metric = metric_named(name)
        title, note = TRAINED.get(name, (metric.formula or metric.title or name, metric.note))
        found.append(
            {
                "name": name,
                "group": TRAINING if name in TRAINED else metric.group,
                "title": title,
                "note": note,
                "kind": metric.kind,
                "unit": _unit(name),
                "dots": metric.group == NC4,
                "targets": _targets(name, runs),
            }
        )
    return found


def grouped(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the charts by group, each with its sentence."""
    groups = dict.fromkeys([*GROUPS, *(chart["group"] for chart in found)])
    return [
        {
            "name": group,
            "note": GROUP_NOTES.get(group, ""),
            "charts": [chart for chart in found if chart["group"] == group],
        }
        for group in groups
        if any(chart["group"] == group for chart in found)
    ]


def _unit(name: str) -> str:
    metric = metric_named(name)
    wanted = [name, metric.group if metric.kind == "distance" else "", metric.kind]
    return next(UNITS[key] for key in wanted if key in UNITS)


def _targets(name: str, runs: Sequence[Run]) -> list[float | None]:
    """Return the values at collapse, one for all runs where it is the same."""
    settings = filter(None, (recorded_setting(run.records[-1]) for run in runs))
    found = {metric_named(name).best(setting) for setting in settings}
    return [short(target) for target in sorted(best for best in found if best is not None)]


def _names(runs: Sequence[Run]) -> list[str]:
    """Return the recorded numbers in the order of the catalogue, each with that of test data."""
    records = [record for run in runs for record in run.records]
    keys = {key for record in records for key in record}
    own = (name for record in records for name in record.get(OWN, ()))
    metrics = [*CATALOGUE, *own, *TRAINED]
    wanted = dict.fromkeys(name for metric in metrics for name in (metric, f"test_{metric}"))
    return [name for name in wanted if name in keys]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _thinned(records: list[Record]) -> list[Record]:
    last = len(records) - 1
    if last < MAX_POINTS:
        return records
    even = np.linspace(0, last, MAX_POINTS // 2)
    early = np.geomspace(1, last + 1, MAX_POINTS // 2) - 1
    return [records[i] for i in np.unique(np.concatenate([even, early]).round().astype(int))]
