"""Outcomes by alignment and by seed on one axis: which of the two spreads is the wider."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from neuralcollapse.figure_style import BLUE, GREY, LABEL_POINTS, ORANGE
from neuralcollapse.generalization.design import CrossedDesign

GAP = 2
SHUFFLES = 1000


def draw_alignments(axes: Axes, design: CrossedDesign, scale: float = 1.0) -> None:
    """Draw the means over seeds of each alignment, and the means over alignments of each seed.

    Faint dots are the cells (means over orders) behind a mean, hollow where a run of the cell did
    not fit its training data. Both groups are sorted by their mean, which alone makes them rise:
    the grey band has 95 % of the means of each rank where names are shuffled among the cells.

    Parameters
    ----------
    axes
        The panel.
    design
        The runs.
    scale
        Factor on the outcomes, 100 for percent.
    """
    cells, fitted = scale * design.values.mean(2), np.all(design.converged, axis=2)
    count, seeds = cells.shape
    _group(axes, cells, fitted, 0, BLUE)
    _group(axes, cells.T, fitted.T, count + GAP, ORANGE)
    axes.axvline(count + (GAP - 1) / 2, color=GREY, lw=0.8)
    axes.set_xticks(
        [(count - 1) / 2, count + GAP + (seeds - 1) / 2],
        [f"{count} alignments, sorted", f"{seeds} seeds, sorted"],
        size=LABEL_POINTS,
    )
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)


def _group(axes: Axes, cells: NDArray[np.float64], fitted: Any, start: int, color: str) -> None:
    """Draw one column for each row of cells, from x = start on, by rising mean."""
    order = np.argsort(cells.mean(1))
    places = np.repeat(start + np.arange(len(cells)), cells.shape[1]).reshape(cells.shape)
    low, high = sorted_by_chance(cells)
    axes.fill_between(places[:, 0], low, high, color=GREY, alpha=0.18, lw=0, zorder=1)
    cells, fitted = cells[order], fitted[order]
    axes.scatter(places[fitted], cells[fitted], s=9, color=color, alpha=0.3, lw=0, zorder=3)
    if not fitted.all():
        axes.scatter(
            places[~fitted],
            cells[~fitted],
            s=10,
            facecolors="none",
            edgecolors=color,
            alpha=0.5,
            zorder=3,
        )
    axes.plot(places[:, 0], cells.mean(1), "_", color=color, ms=12, mew=2.4, zorder=4)


def sorted_by_chance(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return between which values 95 % of the sorted means of rows lie if rows do nothing.

    Parameters
    ----------
    cells
        (a, b) outcomes; each column is shuffled by itself, so that its own level stays.

    Returns
    -------
    array of shape (2, a)
        The ends for each rank, from 1,000 shuffles with a fixed seed.
    """
    rng = np.random.default_rng(0)
    means = [np.sort(rng.permuted(cells, axis=0).mean(1)) for _ in range(SHUFFLES)]
    return np.percentile(means, [2.5, 97.5], axis=0)
