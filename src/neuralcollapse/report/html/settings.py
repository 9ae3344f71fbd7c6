"""The settings of the runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neuralcollapse.runs.run import Run


@dataclass(frozen=True)
class SettingRow:
    """A setting in words, one value per run, and whether these differ."""

    name: str
    values: list[str]
    differ: bool


def settings_data(runs: Sequence[Run]) -> dict[str, list[SettingRow]]:
    """Return settings, versions and what was measured, one row each, one value per run.

    Parameters
    ----------
    runs
        At least one. A value that a run did not record is a dash.

    Returns
    -------
    dict of list of SettingRow
        By name of the group.
    """
    groups = {
        "Settings": [run.config for run in runs],
        "Versions": [_nested(run, "versions") for run in runs],
        "Machine": [_others(run) for run in runs],
        "Measured": [_measured(run) for run in runs],
    }
    return {name: setting_rows(columns) for name, columns in groups.items() if any(columns)}


def setting_rows(columns: Sequence[Mapping[str, Any]]) -> list[SettingRow]:
    """Return one row a setting of any of the columns, one value a column."""
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = []
    for name in names:
        values = [as_text(column.get(name, "–")) for column in columns]
        rows.append(SettingRow(name, values, len(set(values)) > 1))
    return rows


def _nested(run: Run, name: str) -> dict[str, Any]:
    value = run.provenance.get(name, {})
    return value if isinstance(value, dict) else {name: value}


def _others(run: Run) -> dict[str, Any]:
    """Return what else config.json says, nested entries by a dotted name."""
    flat: dict[str, Any] = {}
    for name, value in run.provenance.items():
        if name in ("config", "versions"):
            continue
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": entry for inner, entry in value.items()}
        else:
            flat[name] = value
    return flat


def _measured(run: Run) -> dict[str, Any]:
    first, last = run.records[0], run.records[-1]
    measured = {
        "classes": len(run.class_names) or "–",
        "measurements": len(run.records),
        "epochs": f"{first['epoch']:g} to {last['epoch']:g}",
        "snapshots": len(run.snapshots),
    }
    if isinstance(last.get("seconds"), float):
        measured["seconds"] = f"{last['seconds']:.1f}"
    if run.snapshots:
        counts = run.snapshots[-1].counts
        low, high = int(counts.min()), int(counts.max())
        measured["training samples"] = f"{int(counts.sum()):,}"
        measured["of a class"] = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return measured


def as_text(value: Any) -> str:
    """Return a setting in words."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
