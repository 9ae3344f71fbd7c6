"""The figure of the rotation replication: test accuracy and fits against the orthant margin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from neuralcollapse.figure_style import BLUE, GREEN, ORANGE, captioned, figure
from neuralcollapse.files import write_whole
from neuralcollapse.studies.gao2023.rotation_replication import decide, effects_of, replicate

NAME = "gao2023_rotation_replication"


def record_replication(folder: Path, progress: bool = False) -> list[Path]:
    """Run the replication, and write its record and its figure.

    Parameters
    ----------
    folder
        To write to.
    progress
        Show a progress bar.

    Returns
    -------
    list of Path
        JSON, PNG, and the caption.
    """
    record = replicate(progress)
    path = folder / f"{NAME}.json"
    write_whole(path, json.dumps(record, allow_nan=False) + "\n")
    caption = replication_caption(record)
    return [path, *captioned(plot_replication(record), folder / f"{NAME}.png", caption)]


def plot_replication(record: dict[str, Any]) -> Figure:
    """Draw the outcome of every rotation against its minimum orthant margin.

    Parameters
    ----------
    record
        From `replicate`.
    """
    margins, fits = np.array(record["margins"]), effects_of(record).fits
    share = fits["converged"].to_numpy() / fits["runs"].to_numpy()
    panels_of = (
        ("All runs", "mean test accuracy, %", 100 * fits["mean"].to_numpy(), BLUE),
        ("Runs that fit", "share of the rotation's runs, %", 100 * share, GREEN),
        (
            "Runs that fit, alone",
            "their mean test accuracy, %",
            100 * fits["mean_converged"].to_numpy(),
            ORANGE,
        ),
    )
    with figure(1, 3, 12.0, 4.3) as (drawing, panels):
        for axes, (title, label, values, color) in zip(panels, panels_of, strict=True):
            _scatter(axes, margins, values, color)
            axes.set_title(title)
            axes.set_ylabel(label)
            axes.set_xlabel("minimum orthant margin of the head")
    return drawing


def replication_caption(record: dict[str, Any]) -> str:
    """Return what was drawn, and what it decides."""
    effects, decided = effects_of(record), decide(record).to_dict("index")
    margins = record["margins"]
    sd, (low, high) = effects.components["sd"].to_dict()["alignment"], effects.limits
    return (
        f"{len(margins)} Haar rotations × {effects.design.values.shape[1]} seeds × "
        f"{effects.design.values.shape[2]} orders, 16 features behind a ReLU; design fixed "
        "beforehand. Hollow: an unfittable head. "
        f"H1, a main effect of rotation: F = {decided['H1']['statistic']:.2f}, "
        f"{_verdict(decided['H1'])}; SD {100 * sd:.1f} points ({100 * low:.1f} to "
        f"{100 * high:.1f}). H2, accuracy rises with the margin: Spearman "
        f"{decided['H2']['statistic']:.2f}, {_verdict(decided['H2'])}. "
        f"H3, the same among rotations whose every run fits: {decided['H3']['rotations']} of "
        f"{len(margins)}, {_verdict(decided['H3'])}. The panels in the middle and on the right "
        "describe; nothing was tested there."
    )


def _scatter(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], color: str) -> None:
    hopeless = x == 0
    axes.scatter(x[~hopeless], y[~hopeless], s=26, color=color, alpha=0.75, lw=0, zorder=3)
    axes.scatter(x[hopeless], y[hopeless], s=26, facecolors="white", edgecolors=color, zorder=3)


def _verdict(row: dict[Any, Any]) -> str:
    if row["confirmed"]:
        return f"confirmed (Holm p = {row['p_holm']:.1g})"
    return f"not confirmed (Holm p = {row['p_holm']:.2g})" if row["p"] < 1 else "undecided"
