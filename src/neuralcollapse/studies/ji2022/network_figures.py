"""Figures 1 and 3 to 6: four errors of collapse in networks, by steps and by theory's time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from neuralcollapse.figure_style import BLUE, GREY, ORANGE, captioned, figure, label_ends
from neuralcollapse.runs.record import Record
from neuralcollapse.studies.figure_job import FigureJob
from neuralcollapse.studies.ji2022.network_runs import (
    ERRORS,
    FIGURES,
    collapse_slope,
    configs,
    error_curve,
    first_right,
    theory_clock,
)
from neuralcollapse.studies.ji2022.study import study
from neuralcollapse.studies.panels import band, drawn_by_band, fixed_ticks, log_ticks
from neuralcollapse.training import TrainConfig
from neuralcollapse.wording import share

PANELS = {
    "(a) variation of norms": {
        "nc2_equinorm": ("class means", BLUE),
        "nc2_equinorm_head": ("classifier", ORANGE),
    },
    "(b) within-class distance": {"nc1_trace_ratio": ("features", BLUE)},
    "(c) cosines, from −1/(K−1)": {
        "nc2_equiangular": ("class means", BLUE),
        "nc2_equiangular_head": ("classifier", ORANGE),
    },
    "(d) classifier from means": {"nc3_self_duality": ("distance", BLUE)},
}
STEPS = (10, 30, 100, 300, 1_000, 3_000, 10_000, 100_000)
CLOCK = (1, 2, 3, 5, 8, 12)
Seeds = Sequence[Sequence[Record]]


def plot_networks(runs: dict[str, Seeds]) -> Figure:
    """Draw four panels of each network, against steps and below against the theory's time.

    Parameters
    ----------
    runs
        The histories of every seed, by title.
    """
    with figure(2 * len(runs), 4, 17, 0.8 + 6 * len(runs)) as (drawing, panels):
        for first, (title, seeds) in zip(range(0, 8 * len(runs), 8), runs.items(), strict=True):
            rows = panels[first : first + 4], panels[first + 4 : first + 8]
            for above, below, (heading, curves) in zip(*rows, PANELS.items(), strict=True):
                _panel(above, seeds, curves, _steps)
                _log_log_axis(above, _steps(seeds[0]))
                above.set_xlabel("steps, on a log log scale")
                _panel(below, seeds, curves, theory_clock)
                below.set_xscale("log")
                fixed_ticks(below.xaxis, CLOCK)
                below.set_xlabel("−log L, the theory's log t")
                _references(below, seeds, curves)
                above.set_title(heading)
                for axes in (above, below):
                    axes.set_yscale("log")
                    log_ticks(axes.yaxis, (1, 2, 3, 5, 7))
                    label_ends(axes)
            for row in rows:
                row[0].set_ylabel(title)
    return drawing


def _steps(records: Sequence[Record]) -> NDArray[np.float64]:
    return np.array([record["step"] for record in records], float)


def _panel(
    axes: Axes,
    seeds: Seeds,
    curves: dict[str, tuple[str, str]],
    time: Callable[[Sequence[Record]], NDArray[np.float64]],
) -> None:
    """Draw the median of the seeds and the band from the least to the largest."""
    late = [_on_the_clock(records, time) for records in seeds]
    times = [np.maximum(time(records), 1) for records in late]
    start = max(t[0] for t in times)
    grid = np.geomspace(start, max(min(t[-1] for t in times), 1.01 * start), 200)
    for key, (label, color) in curves.items():
        rows = [
            np.exp(np.interp(np.log(grid), np.log(t), np.log(error_curve(records, key))))
            for t, records in zip(times, late, strict=True)
        ]
        band(axes, grid, rows, color, alpha=0.2, label=label)
    found = [(time(records), first_right(records)) for records in seeds]
    right = [clock[first] for clock, first in found if first is not None]
    if right:
        axes.axvline(float(np.median(right)), color=GREY, lw=0.9, ls=(0, (1, 2)), label="_100 %")
    axes.set_xlim(grid[0], grid[-1])


def _on_the_clock(
    records: Sequence[Record], time: Callable[[Sequence[Record]], NDArray[np.float64]]
) -> Sequence[Record]:
    """Return the records at which a clock goes on, from log t = 1 on.

    Before, log log t is negative, and the flow of the theory has not begun.
    """
    times = time(records)
    goes_on = (np.diff(times, prepend=-np.inf) > 0) & (times >= 1)
    return [record for record, on in zip(records, goes_on, strict=True) if on] or records[-1:]


def _references(axes: Axes, seeds: Seeds, curves: dict[str, tuple[str, str]]) -> None:
    """Draw the theory's slope through the end of each curve, and write the fitted ones."""
    lines = []
    left, right = axes.get_xlim()
    for key, (label, color) in curves.items():
        slopes = [collapse_slope(records, key) for records in seeds]
        end = np.median([error_curve(records, key)[-1] for records in seeds])
        ends = np.array([left, right])
        axes.plot(ends, end * (ends / right) ** ERRORS[key], color=color, ls=(0, (4, 3)), lw=0.9,
                  label=f"_theory of {label}")  # fmt: skip
        lines.append(f"{label}: {_range(slopes)}, theory {ERRORS[key]:g}".replace("-", "−"))
    axes.margins(y=0.2)  # room for the words
    ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
    axes.text(0.03, 0.03, "\n".join(lines), transform=axes.transAxes, fontsize=8.5, va="bottom",
              bbox=ground)  # fmt: skip


def _range(values: Sequence[float]) -> str:
    fitted = [value for value in values if np.isfinite(value)]
    if not fitted:
        return "no slope to fit"
    low, high = (f"{round(value, 2) + 0.0:.2f}" for value in (min(fitted), max(fitted)))
    said = f"slope {low}" if low == high else f"slope {low} to {high}"
    return said if len(fitted) == len(values) else f"{said} ({len(fitted)} of {len(values)})"


def _log_log_axis(axes: Axes, steps: NDArray[np.float64]) -> None:
    log_log = (lambda steps: np.log(np.log(np.maximum(steps, 1.5))), lambda x: np.exp(np.exp(x)))
    axes.set_xscale("function", functions=log_log)
    fixed_ticks(axes.xaxis, [tick for tick in STEPS if steps[0] <= tick <= steps[-1]])


def draw(number: int, job: FigureJob) -> list[Path]:
    """Train the networks of a figure, and draw it."""
    trained = job.planned(configs(number, job.scale, job.data_root, job.seeds))
    runs: dict[str, list[list[Record]]] = {}
    for config, records in zip(trained, job.train(trained), strict=True):
        runs.setdefault(f"{config.net}, {config.data}", []).append(records)
    path = job.folder / f"figure{number}_{job.scale}.png"
    return captioned(plot_networks(dict(runs)), path, _caption(number, job, trained[0], runs))


def _caption(number: int, job: FigureJob, first: TrainConfig, runs: dict[str, Any]) -> str:
    paper = " and ".join(f"{net} on {data}" for net, data in FIGURES[number])
    unknown = "; the pairs of its Figures 6 to 8 are not known to us" if number == 6 else ""
    images = "all" if first.per_class is None else f"{first.per_class}"
    ends = "; ".join(
        f"{title}: {share(min(r[-1]['accuracy'] for r in seeds))} of the training images right"
        for title, seeds in runs.items()
    )
    count = len(next(iter(runs.values())))
    return (
        f"The paper: {paper}, without weight decay{unknown}. Ours ({job.scale}): the networks "
        f"named at the left, width × {first.width:g}, {images} training images of each class, "
        f"learning rate {first.lr:g}, momentum {first.momentum:g}, batches of {first.batch_size}, "
        f"{first.epochs} epochs; line: {drawn_by_band(count)}. At the end, the "
        f"least of the seeds: {ends}. Dotted: every training image right for the first time. Below "
        "against the theory's time, L the mean training loss: its flow gives straight lines, "
        "dashed; slopes are fitted to each seed from the dotted line on, at the measurements whose "
        "loss is the least so far."
    )


for _number in FIGURES:
    study.figure(_number)(partial(draw, _number))
