"""The curves of every metric, with what each one does at collapse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from neuralcollapse.measurement.readings import DECISIONS, NC1, NC2, NC3, NC4, READINGS
from neuralcollapse.metrics.margin_scale import margin_ceiling
from neuralcollapse.report.html.packing import short
from neuralcollapse.runs.history import Record
from neuralcollapse.runs.run import Run

MAX_POINTS = 1500  # of a curve: more than the screen has pixels for
TRAINING = "Training"

# Group -> what is to be seen there, in one sentence.
GROUPS = {
    NC1: "Samples gather at their class mean: all of these fall to 0.",
    NC2: "Class means and head rows become equally long and equally far apart: all fall to 0.",
    NC3: "The head turns into the class means, up to scale: both fall to 0.",
    NC4: "Deciding by the nearest class mean becomes deciding by the head.",
    DECISIONS: "What the classifier gets right, and by how much.",
    TRAINING: "What the optimiser saw.",
}
# Metric -> what it means, in one line.
NOTES = {
    "nc1_pinv": "spread within classes, measured by the spread between them",
    "nc1_trace_ratio": "the same without regard to direction",
    "cdnv": "spread of two classes over their distance, mean of all pairs",
    "vci": "share of the variation that is not between class means",
    "nc2_equinorm": "do the class means have one length?",
    "nc2_equiangular": "do all pairs of class means have one angle?",
    "nc2_etf": "length and angle together: distance of the Gram matrix",
    "nc2_equinorm_head": "do the rows of the head have one length?",
    "nc2_equiangular_head": "do all pairs of its rows have one angle?",
    "nc2_etf_head": "length and angle together: distance of the Gram matrix",
    "nc3_self_duality": "distance between head and class means, each scaled to norm 1",
    "nc3_product": "are the logits of the class means those of an ETF?",
    "nc4_agreement": "share of samples that both rules decide alike",
    "ncc_accuracy": "share of samples nearest to the mean of their own class",
    "accuracy": "share of samples that are right",
    "margin_min": "grows without limit as norms grow",
    "margin_normalized": "free of scale: rises towards its ceiling K/(K−1)",
    "margin_collapse_ratio": "the same as a share of its value at collapse: rises to 1",
    "train_loss": "mean over an epoch, as it was trained on",
    "lr": "of the last update before the measurement",
}
TITLES = {"train_loss": "training loss", "lr": "learning rate"}
SHARES = ("nc4_agreement", "ncc_accuracy", "accuracy")
OF_HEAD = tuple(f"test_{name}" for name in NOTES if name.endswith("_head"))
SIGNED = ("margin_min", "margin_normalized", "margin_collapse_ratio")


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
            if name not in OF_HEAD  # test data does not change the head
        },
    }


def charts(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return one description a chart: every metric that a run recorded.

    Parameters
    ----------
    runs
        At least one.
    """
    recorded = set(_names(runs))
    found = []
    for name, note in NOTES.items():
        if not recorded & {name, f"test_{name}"}:
            continue
        reading = READINGS.get(name)
        kind = "share" if name in SHARES else "signed" if name in SIGNED else "distance"
        found.append(
            {
                "name": name,
                "group": reading.group if reading else TRAINING,
                "title": _typeset(reading.title if reading else TITLES[name]),
                "note": note,
                "kind": kind,
                "collapsed": _collapsed(name, runs),
            }
        )
    return found


def grouped(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the charts by group, each with its sentence."""
    return [
        {"name": group, "note": note, "charts": [c for c in found if c["group"] == group]}
        for group, note in GROUPS.items()
        if any(chart["group"] == group for chart in found)
    ]


def _typeset(title: str) -> str:
    return title.replace("^+", "⁺").replace("K-1", "K−1")


def _collapsed(name: str, runs: Sequence[Run]) -> float | None:
    """Return the level to draw as the value at collapse; zeros are the floor of the axis anyway."""
    num_classes = len(runs[0].class_names)
    if name == "margin_normalized" and num_classes >= 2 and _balanced(runs[0]):
        return short(margin_ceiling(num_classes))
    return None


def _balanced(run: Run) -> bool:
    return not run.snapshots or len(set(run.snapshots[-1].counts.tolist())) == 1


def _names(runs: Sequence[Run]) -> list[str]:
    """Return the recorded names that are metrics, those of test data with them."""
    keys = {key for run in runs for record in run.records for key in record}
    wanted = [name for metric in NOTES for name in (metric, f"test_{metric}")]
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
