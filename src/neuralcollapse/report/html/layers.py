"""The layers that a run measured besides its features, at the last measurement that has them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from neuralcollapse.metrics.catalogue import metric_named
from neuralcollapse.report.html.packing import short
from neuralcollapse.runs.record import Record
from neuralcollapse.runs.run import Run
from neuralcollapse.wording import number

MOST_COLUMNS = 100  # of the picture


@dataclass(frozen=True)
class LayerTable:
    """Layers by metrics, in words.

    Attributes
    ----------
    epoch, first
        Of the values, and of those that they are held against.
    drawn
        Titles of the metrics that can be drawn.
    columns, rows
        Headings; names of the layers, each with the values ``then``, ``now`` and, where test data
        was measured, ``test``.
    """

    epoch: float
    first: float
    drawn: list[str]
    columns: list[str]
    rows: dict[str, list[dict[str, str | None]]]


def layer_data(run: Run) -> LayerTable | None:
    """Return a table of layers by metrics.

    Parameters
    ----------
    run
        At least one record.

    Returns
    -------
    LayerTable or None
        None if no layer was measured.

    Examples
    --------
    >>> records = [{"epoch": e, "layers": {"conv": {"cdnv": 0.5 / e}}} for e in (1, 2)]
    >>> layer_data(Run("run", records)).rows
    {'conv': [{'then': '0.5', 'now': '0.25', 'test': None}]}
    """
    found = [record for record in run.records if record.get("layers")]
    if not found:
        return None
    first, last = found[0], found[-1]
    names = dict.fromkeys(name.removeprefix("test_") for name in _measured(last))
    return LayerTable(
        epoch=last["epoch"],
        first=first["epoch"],
        drawn=[_title(name) for name in _measured(last)],
        columns=[metric_named(name).formula or name for name in names],
        rows={
            layer: [
                {
                    "then": _value(first["layers"].get(layer, {}), name),
                    "now": _value(values, name),
                    "test": _value(values, f"test_{name}", None),
                }
                for name in names
            ]
            for layer, values in last["layers"].items()
        },
    )


def layer_series(run: Run) -> dict[str, Any] | None:
    """Return the values of every layer over time, to draw; None if no layer was measured.

    Parameters
    ----------
    run
        At least one record; of more than 100 with layers, those evenly spaced are taken.

    Returns
    -------
    dict or None
        ``epoch``, ``layers`` (names, from the input on) and ``metrics``: of each ``title`` and
        ``values``, one row per layer, None where there is none.

    Examples
    --------
    >>> records = [{"epoch": e, "layers": {"conv": {"cdnv": 0.5 / e}}} for e in (1, 2)]
    >>> layer_series(Run("run", records))["metrics"][0]["values"]
    [[0.5, 0.25]]
    """
    found = [record for record in run.records if record.get("layers")]
    if not found:
        return None
    step = -(-len(found) // MOST_COLUMNS)
    found = found[::-1][::step][::-1]  # the last one always
    layers = list(found[-1]["layers"])
    return {
        "epoch": [record["epoch"] for record in found],
        "layers": layers,
        "metrics": [
            {
                "title": _title(name),
                "values": [
                    [short(record["layers"].get(layer, {}).get(name, math.nan)) for record in found]
                    for layer in layers
                ],
            }
            for name in _measured(found[-1])
        ],
    }


def _value(values: dict[str, float], name: str, missing: float | None = math.nan) -> str | None:
    value = values.get(name, missing)
    return None if value is None else number(value)


def _measured(record: Record) -> list[str]:
    """Return the metrics of the layers of a record, of training and test data."""
    return list(dict.fromkeys(name for values in record["layers"].values() for name in values))


def _title(name: str) -> str:
    return f"{metric_named(name).heading}{', test' * name.startswith('test_')}"
