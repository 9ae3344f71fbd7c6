"""A report as tables of metrics, classes and pairs, and as plain values for JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuralcollapse.files import is_no_plain_file, require_ours, without_nan, write_whole
from neuralcollapse.measurement.cautions import cautions
from neuralcollapse.measurement.collapse_values import CollapseValues
from neuralcollapse.metrics.class_distance import worst_pairs
from neuralcollapse.plain_text import plain
from neuralcollapse.validation import whole_number

if TYPE_CHECKING:
    import pandas as pd


ESTIMATED = ("corrected", "lower", "upper")
PRINTED = ("train", "test", *ESTIMATED, "target", "chance")  # the columns that a page has room for
# How the tables begin that are written beside the values, by which we know ours.
BESIDE = {"-classes": b"class,samples,trace_variance,", "-pairs": b"class i,class j,cdnv"}


def report_frame(report: CollapseValues) -> pd.DataFrame:
    """Return one row per metric, see `CollapseReport.to_frame`."""
    import pandas as pd

    rows = []
    for name, value in report.train.values.items():
        metric, reading = report.metric(name), report.reading(name)
        row: dict[str, Any] = {"metric": name, "train": value}
        if report.test is not None:
            row["test"] = report.test.values.get(name, math.nan)
        row |= {part: split.values.get(name, math.nan) for part, split in report.others.items()}
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


def class_table(report: CollapseValues) -> pd.DataFrame:
    """Return one row per class, see `CollapseReport.per_class`."""
    import pandas as pd

    table = pd.DataFrame(report.train.columns(report.class_names))
    if report.test is not None:
        tested = pd.DataFrame(report.test.columns(report.class_names))
        table = table.join(tested.drop(columns="class").add_prefix("test_"))
    key = "margin_min" if "margin_min" in table else "trace_variance"
    return table.sort_values(key, ascending=key == "margin_min", ignore_index=True)


def pair_table(report: CollapseValues, count: int = 10) -> pd.DataFrame:
    """Return the worst pairs of classes, see `CollapseReport.worst_pairs`."""
    import pandas as pd

    worst = worst_pairs(report.train.moments, whole_number("count", count))
    names = report.class_names
    pairs = [(names[i], names[j], value) for i, j, value in worst]
    return pd.DataFrame(pairs, columns=["class i", "class j", "cdnv"])


def write_csv(report: CollapseValues, path: Path) -> None:
    """Write each table beside the others, see `CollapseReport.to_csv`."""
    require_beside(path, "path")
    tables, beside = _tables(report), _beside(path)
    write_whole(path, tables[""].to_csv())
    for part, named in beside.items():
        write_whole(named, tables[part].to_csv(index=False))


def require_beside(path: Path, argument: str) -> None:
    """Refuse to replace a file of another with a table beside the one that was asked for."""
    for part, named in _beside(path).items():
        require_ours(named, BESIDE[part], "a table of an earlier report", argument)


def report_latex(report: CollapseValues, path: str | Path | None) -> str:
    """Return the tables one after the other as LaTeX, see `CollapseReport.to_latex`."""
    tables = _tables(report)
    values = tables[""]
    tables[""] = values[[name for name in PRINTED if name in values]]
    text = "\n".join(
        table.rename(index=plain)
        .map(lambda cell: plain(cell) if isinstance(cell, str) else cell)
        .to_latex(index=not part, escape=True, na_rep="", float_format="{:.4g}".format)
        for part, table in tables.items()
    )
    return _written(text, path)


def report_json(report: CollapseValues, path: str | Path | None) -> str:
    """Return the report as JSON text, see `CollapseReport.to_json`."""
    return _written(json.dumps(report_document(report), indent=2, allow_nan=False), path)


def report_document(report: CollapseValues) -> dict[str, Any]:
    """Return values, classes and worst pairs, fit for JSON; None for what is not finite."""
    document = {
        "values": dict(report.items()),
        "estimates": {name: found.to_dict() for name, found in report.estimates.items()},
        "num_samples": report.train.moments.num_samples,
        "absent": report.absent,
        "per_class": class_table(report).to_dict(orient="records"),
        "worst_pairs": pair_table(report).to_dict(orient="records"),
        "cautions": cautions(report),
    }
    plain: dict[str, Any] = without_nan(document)
    return plain


def _written(text: str, path: str | Path | None) -> str:
    if path is not None:
        write_whole(path, text.rstrip("\n") + "\n")
    return text


def _beside(path: Path) -> dict[str, Path]:
    """Return the files of the tables that go with a csv file; none with a device or a pipe."""
    parts = () if is_no_plain_file(path) else BESIDE
    return {part: path.with_name(f"{path.stem}{part}{path.suffix}") for part in parts}


def _tables(report: CollapseValues) -> dict[str, pd.DataFrame]:
    pairs = pair_table(report)
    return {"": report_frame(report), "-classes": class_table(report), "-pairs": pairs}
