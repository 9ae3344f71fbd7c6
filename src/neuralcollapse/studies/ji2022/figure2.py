"""Figure 2: neural collapse along the flow of the layer-peeled model, as shown and far beyond."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from neuralcollapse.figure_style import captioned
from neuralcollapse.npz_files import write_npz
from neuralcollapse.studies.figure_job import ALL_SCALES, FigureJob
from neuralcollapse.studies.ji2022.dynamics import EXACT_EXPONENTS
from neuralcollapse.studies.ji2022.figure2_plot import fit_range, plot_dynamics
from neuralcollapse.studies.ji2022.flows import Kind, Problem
from neuralcollapse.studies.ji2022.study import study
from neuralcollapse.theory import flow_asymptotics

KINDS: tuple[Kind, ...] = ("generic", "balanced")
SEEDS = (0, 1, 2, 3)
LOG_TIMES = np.geomspace(1.0, 1e8, 241)
ORDINARY = 15.0  # log t of a few million steps, where experiments end

Record = dict[str, NDArray[np.float64]]


def record_dynamics(progress: bool = False) -> Record:
    """Follow the flow from each start and measure the errors of collapse.

    Parameters
    ----------
    progress
        Show a progress bar.

    Returns
    -------
    dict of arrays
        ``log_t`` (T,). For S starts of each kind: ``{kind}_{error}`` (S, T) and ``{kind}_gap``
        (S, T). ``limit_{error}`` (S, T): the closed form that the generic starts tend to.
    """
    problem = Problem()
    rows: dict[str, list[NDArray[np.float64]]] = {}
    starts = [(kind, seed) for kind in KINDS for seed in SEEDS]
    shown = track(starts, "following the flow", disable=not progress, transient=True)
    for kind, seed in shown:
        flow = problem.follow(kind, seed, LOG_TIMES)
        curves = {f"{kind}_{name}": value for name, value in vars(flow.errors).items()}
        if kind == "generic":
            limit = flow_asymptotics(flow.W[-1], flow.H[-1], problem.labels).errors(flow.log_t)
            curves |= {f"limit_{name}": value for name, value in vars(limit).items()}
        curves[f"{kind}_gap"] = flow.gap
        for name, value in curves.items():
            rows.setdefault(name, []).append(value.numpy())
    return {"log_t": LOG_TIMES} | {name: np.array(values) for name, values in rows.items()}


@study.figure(2, fixed=ALL_SCALES)
def draw(job: FigureJob) -> list[Path]:
    """Write the records, the figure in the paper's range, and the figure to log t = 1e8."""
    record = record_dynamics(job.progress)
    paths = [write_npz(job.folder / "figure2.npz", record)]
    problem = Problem()
    for last in (ORDINARY, float(LOG_TIMES[-1])):
        low, high = fit_range(last)
        caption = (
            f"The paper's settings are not known to us. Ours: K = {problem.num_classes}, "
            f"n = {problem.per_class}, d = {problem.dim}, standard normal starts, {len(SEEDS)} "
            "seeds (line: median, band: range). Slopes against log log t are fitted for log t from "
            f"{low:,.0f} to {high:,.0f}, least to greatest over the generic starts. Exact: their "
            "limit."
        )
        drawing = plot_dynamics(record, EXACT_EXPONENTS, last)
        name = "figure2.png" if last == ORDINARY else "figure2_extended.png"
        paths += captioned(drawing, job.folder / name, caption)
    return paths
