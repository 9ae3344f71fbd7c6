"""A report as a table of metrics, and as a document of plain values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from neuralcollapse.files import without_nan

if TYPE_CHECKING:
    import pandas as pd

    from neuralcollapse.measurement.collapse_report import CollapseReport

ESTIMATED = ("corrected", "lower", "upper")


def report_frame(report: CollapseReport) -> pd.DataFrame:
    """Return one row a metric, see `CollapseReport.to_frame`."""
    import pandas as pd

    rows = []
    for name, value in report.train.values.items():
        metric, reading = report.metric(name), report.reading(name)
        row: dict[str, Any] = {"metric": name, "train": value}
        if report.test is not None:
            row["test"] = report.test.values.get(name, math.nan)
        for part in ("", "test_") if report.test is not None else ("",):
            found = report.estimates.get(f"{part}{name}")
            row |= {f"{part}{end}": getattr(found, end, math.nan) for end in ESTIMATED}
        row |= {
            "target": math.nan if reading.target is None else reading.target,
            "chance": math.nan if reading.chance is None else reading.chance,
            "grade": reading.grade,
            "reading": reading.words,
            "measures": metric.title,
            "formula": metric.formula,
            "group": metric.group,
        }
        rows.append(row)
    return pd.DataFrame(rows).set_index("metric")


def report_document(report: CollapseReport) -> dict[str, Any]:
    """Return values, classes and worst pairs, fit for JSON; what is not finite is None."""
    document = {
        "values": dict(report.items()),
        "estimates": {name: found.to_dict() for name, found in report.estimates.items()},
        "num_samples": report.train.moments.num_samples,
        "absent": report.absent,
        "per_class": report.per_class.to_dict(orient="records"),
        "worst_pairs": report.worst_pairs().to_dict(orient="records"),
        "cautions": report.cautions,
    }
    plain: dict[str, Any] = without_nan(document)
    return plain
