"""Collapse of language models drawn by frequency of words; a table of its start and end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.figure_style import BLUE, GREEN, GREY, ORANGE, figure, save
from neuralcollapse.files import write_whole
from neuralcollapse.studies.figure_job import FigureJob
from neuralcollapse.studies.language_model.collapse_by_frequency import THIRDS
from neuralcollapse.studies.language_model.runs import Design, Record, finished
from neuralcollapse.studies.language_model.study import study
from neuralcollapse.studies.language_model.text import corpus, documents
from neuralcollapse.studies.panels import band, share_limits
from neuralcollapse.validation import check_choice

DESIGNS = {
    "quick": Design(1024, 64, 32, 2, 4, 2, 16, 4e-3, 0.1, 10, 256),
    "small": Design(2048, 64, 64, 2, 4, 4, 16, 4e-3, 0.1, 11, 1024),
}
SEEDS = (0, 1, 2)
COLORS = dict(zip(THIRDS, (BLUE, GREEN, ORANGE), strict=True))
# Measures drawn for each third: title of the panel, scale of its axis.
PANELS = {
    "cdnv": ("NC1: CDNV", "log"),
    "nc2_interference_std": ("NC2: spread of cosines", "linear"),
    "nc3_cosine": ("NC3: cosine of row and mean", "linear"),
    "test_nc4_agreement": ("NC4: agreement, new text", "linear"),
}

Histories = dict[bool, list[list[Record]]]


@study.figure(1)
def draw_collapse(job: FigureJob) -> list[Path]:
    """Draw NC1 to NC4 of tied and untied heads over training, by frequency; and write the table."""
    histories = _histories(job)
    with figure(2, len(PANELS), 15, 6.4) as (drawing, panels):
        for row, tied in enumerate((False, True)):
            for axes, (key, (title, scale)) in zip(
                panels[row * len(PANELS) :], PANELS.items(), strict=False
            ):
                runs = histories[tied]
                steps = [record["step"] for record in runs[0]]
                for third in THIRDS:
                    name = f"{key}_{third}"
                    rows = [[record.get(name, np.nan) for record in run] for run in runs]
                    band(axes, steps, rows, COLORS[third], alpha=0.2)
                least = runs[0][-1].get("interference_least_frequent")
                if key == "nc2_interference_std" and least is not None:
                    axes.axhline(least, color=GREY, ls="--", lw=1.2)
                axes.set_yscale(scale)
                axes.set_xscale("symlog", linthresh=max(1, steps[1]))
                axes.set_xlim(0, steps[-1])
                axes.set_title(title if row == 0 else "")
                axes.set_xlabel("step" if row else "")
        for row, name in enumerate(("untied head", "tied head")):
            panels[row * len(PANELS)].set_ylabel(name)
        for column in range(len(PANELS)):
            share_limits(panels[column :: len(PANELS)])
        lines = [Line2D([], [], color=COLORS[third], label=f"{third} words") for third in THIRDS]
        lines.append(Line2D([], [], color=GREY, ls="--", label="least spread of any rows"))
        panels[0].legend(handles=lines, loc="best")
    path = job.folder / f"language_model_{job.scale}.csv"
    table = _table(histories)
    write_whole(path, table.to_csv(index=False, float_format="%.4g"))
    return [path, save(drawing, job.folder / f"figure1_{job.scale}.png")]


def _histories(job: FigureJob) -> Histories:
    check_choice("scale", job.scale, DESIGNS, "language models have no larger design")
    if job.settings:
        expected = "none for language models, which have a design of their own"
        raise NeuralCollapseError("settings", expected, ", ".join(job.settings), "leave them out")
    design = DESIGNS[job.scale]
    if job.dry:
        design = replace(design, words=300, length=16, dim=8, epochs=1, measurements=4, measured=32)

    text = corpus(documents(job.text), design.words, design.length)
    if job.dry:
        text = replace(text, train=text.train[:64], test=text.test[:32])
    # Seed by seed, so that a study that is stopped has complete seeds.
    found: Histories = {False: [], True: []}
    for seed in job.seeds_or(SEEDS):
        for tied in (False, True):
            found[tied].append(finished(replace(design, tied=tied, seed=seed), text, job))
    return found


def _table(histories: Histories) -> pd.DataFrame:
    """Return mean and standard deviation over seeds of every number, at the start and the end."""
    rows: list[dict[str, Any]] = []
    for tied, runs in histories.items():
        for name in [key for key in runs[0][-1] if key != "step"]:
            row: dict[str, Any] = {"head": "tied" if tied else "untied", "value": name}
            for when, index in (("start", 0), ("end", -1)):
                values = [run[index].get(name, np.nan) for run in runs]
                row[when] = np.mean(values)
                row[f"{when}_sd"] = np.std(values, ddof=1) if len(values) > 1 else np.nan
            rows.append(row | {"seeds": len(runs)})
    return pd.DataFrame(rows)
