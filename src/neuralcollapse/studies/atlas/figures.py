"""The atlas drawn: where collapse appears, how it goes on, and what goes with it on new data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from neuralcollapse.figure_style import BLUE, GREEN, ORANGE, PURPLE, captioned, figure
from neuralcollapse.files import write_whole
from neuralcollapse.runs.record import Record
from neuralcollapse.studies.atlas.correlations import stratified_correlations
from neuralcollapse.studies.atlas.design import FACTORS, atlas_design
from neuralcollapse.studies.atlas.outcomes import network_outcomes
from neuralcollapse.studies.atlas.study import study
from neuralcollapse.studies.figure_job import FigureJob
from neuralcollapse.studies.panels import log_ticks, share_limits

# Columns of the table and their names in figures. All but the margin are smaller the more a network
# has collapsed, or the better it is.
COLLAPSE = {
    "nc1_trace_ratio": "NC1, trace ratio",
    "nc1_pinv": "NC1, pinv",
    "nc2_etf": "NC2",
    "nc3_self_duality": "NC3",
    "nc4_disagreement": "NC4, disagreement",
    "margin_normalized": "minimum margin, normalised",
}
OUTCOMES = {
    "test_error": "test error",
    "test_nc1_trace_ratio": "test NC1",
    "test_nc2_etf": "test NC2",
    "generalisation_nc1": "test NC1 / training NC1",
    "ece": "calibration error",
    "ece_scaled": "the same at the best temperature",
    "certificate": "certified error",
}
STRATA = ("data", "label noise")


def atlas_table(job: FigureJob) -> tuple[pd.DataFrame, list[list[Record]]]:
    """Train the networks; return a table with one row for each, and their histories.

    Parameters
    ----------
    job
        Of a figure.
    """
    design = atlas_design(job.scale, job.data_root)
    histories, outcomes = job.train_and_judge(job.planned([c for _, c in design]), network_outcomes)
    rows: list[dict[str, Any]] = [
        {**levels, **_ends(records[-1]), **judged}
        for (levels, _), records, judged in zip(design, histories, outcomes, strict=True)
    ]
    return pd.DataFrame(rows), histories


def _ends(last: Record) -> dict[str, float]:
    values = {name: last[name] for name in COLLAPSE if name in last}
    return values | {
        "nc4_disagreement": 1 - last["nc4_agreement"],
        "training_error": 1 - last["accuracy"],
        "test_error": 1 - last["test_accuracy"],
        "test_nc1_trace_ratio": last["test_nc1_trace_ratio"],
        "test_nc2_etf": last["test_nc2_etf"],
        "generalisation_nc1": last["test_nc1_trace_ratio"] / last["nc1_trace_ratio"],
    }


@study.figure(1)
def draw_where(job: FigureJob) -> list[Path]:
    """Draw what each level of each factor leaves of NC1, NC2, NC3 and NC4; and write the table."""
    table, _ = atlas_table(job)
    shown = ("nc1_trace_ratio", "nc2_etf", "nc3_self_duality", "nc4_disagreement")
    names = [f"{factor}: {level}" for factor, levels in FACTORS.items() for level in levels]
    with figure(1, len(shown), 15, 5.6) as (drawing, panels):
        for axes, column in zip(panels, shown, strict=True):
            _levels(axes, table, column)
            axes.set_title(COLLAPSE[column])
            axes.set_yticks(range(len(names)), names if axes is panels[0] else [""] * len(names))
            axes.set_ylim(len(names) - 0.5, -0.5)
        right = (table["training_error"] == 0).sum()
    caption = _caption(
        job,
        len(table),
        "dot: a network, bar: the median of a level; zeros are drawn at half the smallest other "
        f"value. {right} networks have every training image right at the end.",
    )
    path = job.folder / f"atlas_{job.scale}.csv"
    write_whole(path, table.to_csv(index=False, float_format="%.6g"))
    return [path, *captioned(drawing, job.folder / f"figure1_{job.scale}.png", caption)]


def _levels(axes: Axes, table: pd.DataFrame, column: str) -> None:
    place = 0
    floor = table[column][table[column] > 0].min() / 2 if (table[column] > 0).any() else 1e-3
    for (factor, levels), color in zip(
        FACTORS.items(), (BLUE, ORANGE, GREEN, PURPLE) * 2, strict=False
    ):
        for level in levels:
            values = table.loc[table[factor] == level, column].clip(lower=floor)
            axes.plot(values, np.full(len(values), place), "o", ms=3.5, color=color, alpha=0.4)
            if len(values):
                axes.plot([values.median()] * 2, [place - 0.35, place + 0.35], color=color, lw=2.5)
            place += 1
    axes.set_xscale("log")
    log_ticks(axes.xaxis, (1, 3))


@study.figure(2)
def draw_over_time(job: FigureJob) -> list[Path]:
    """Draw NC1 of training and test images over time, by data and label noise."""
    table, histories = atlas_table(job)
    strata: dict[Any, Any] = dict(table.groupby(list(STRATA)).indices)
    with figure(1, len(strata), 4.2 * len(strata), 4.4) as (drawing, panels):
        for axes, (names, rows) in zip(panels, strata.items(), strict=True):
            for key, label, color in (
                ("nc1_trace_ratio", "training", BLUE),
                ("test_nc1_trace_ratio", "test", ORANGE),
            ):
                _band(axes, [histories[i] for i in rows], key, label, color)
            axes.set_title(f"{names[0]}, label noise {names[1]}")
            axes.set_xlabel("epoch")
        panels[0].set_ylabel("NC1, trace ratio")
        panels[0].legend(loc="lower left")
        share_limits(panels)
    words = "line: median, bands: middle half and middle nine tenths of the networks."
    path = job.folder / f"figure2_{job.scale}.png"
    return captioned(drawing, path, _caption(job, len(table), words))


def _band(
    axes: Axes, histories: Sequence[Sequence[Record]], key: str, label: str, color: str
) -> None:
    epochs = [record["epoch"] for record in histories[0]]
    values = np.array([[record[key] for record in records] for records in histories])
    for share in (5, 25):
        low, high = np.percentile(values, [share, 100 - share], axis=0)
        axes.fill_between(epochs, low, high, color=color, alpha=0.15, lw=0)
    axes.plot(epochs, np.median(values, 0), color=color, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        log_ticks(axis, (1, 3))


@study.figure(3)
def draw_correlations(job: FigureJob) -> list[Path]:
    """Draw and write the rank correlations of training collapse with what is seen on test data."""
    table, _ = atlas_table(job)
    found = stratified_correlations(table, list(COLLAPSE), list(OUTCOMES), STRATA)
    cells: list[Any] = found.to_dict("records")
    grid = found.pivot(index="cause", columns="effect", values="rho")
    grid = grid.loc[list(COLLAPSE), list(OUTCOMES)]
    with figure(1, 1, 10.5, 5.2) as (drawing, [axes]):
        axes.imshow(grid, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        axes.grid(False)
        for row in cells:
            place = list(OUTCOMES).index(row["effect"]), list(COLLAPSE).index(row["cause"])
            mark = "*" if row["p_holm"] < 0.05 else ""
            rho, low, high = (f"{row[name]:.2f}" for name in ("rho", "low", "high"))
            text = f"{rho}{mark}\n{low} to {high}".replace("-0.00", "0.00").replace("-", "−")
            dark = "white" if abs(row["rho"]) > 0.6 else "black"
            axes.text(*place, text, ha="center", va="center", size=8.5, color=dark)
        axes.set_xticks(range(len(OUTCOMES)), [fill(name, 16) for name in OUTCOMES.values()])
        axes.set_yticks(range(len(COLLAPSE)), list(COLLAPSE.values()))
        axes.set_title("Collapse of the training features (rows) against test data (columns)")
    words = (
        "rank correlation within data set and label noise, its bootstrap interval of 95 %; star: "
        f"p < 0.05 after Holm's correction for all {len(found)} tried."
    )
    path = job.folder / f"correlations_{job.scale}.json"
    rows = found.round(6).astype(object).where(found.notna(), None).to_dict("records")
    write_whole(path, json.dumps(rows, indent=1) + "\n")
    caption = _caption(job, len(table), words)
    return [path, *captioned(drawing, job.folder / f"figure3_{job.scale}.png", caption)]


def _caption(job: FigureJob, count: int, rest: str) -> str:
    config = job.planned([config for _, config in atlas_design(job.scale)])[0]
    return (
        f"{count} networks, a random part of all combinations of the factors, one seed each; width "
        f"× {config.width:g}, {config.epochs} epochs, batches of {config.batch_size}; {rest}"
    )
