"""The picture of a certificate: what each method says, and each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from neuralcollapse.figure_style import BLUE, GREY, LABEL_POINTS, ORANGE, PURPLE, figure
from neuralcollapse.plain_text import unmathed
from neuralcollapse.wording import at_least, at_most, counted, share

SHOWN_CLASSES = 20  # of more, those with the highest bounds
SMALLEST = 1e-6  # where less is drawn, zero too: the axis is logarithmic


def plot_certificate(
    table: pd.DataFrame, classes: pd.DataFrame | None, about: Mapping[str, Any]
) -> Figure:
    """Draw the bounds of the methods and, with labels, those of the classes.

    Parameters
    ----------
    table, classes
        Bounds of every method, and of every class if there are labels.
    about
        ``confidence``, ``n``, ``errors``, ``error_rate`` and ``floor`` of the certificate.

    Returns
    -------
    matplotlib Figure
        One panel, or two.
    """
    columns = 1 if classes is None else 2
    lines = 6 if classes is None else max(6, min(len(classes), SHOWN_CLASSES))
    with figure(1, columns, 5.6 * columns, 2.2 + 0.3 * lines) as (drawing, panels):
        _methods(panels[0], table, about)
        if classes is not None:
            _classes(panels[1], classes, about["confidence"])
        drawing.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return drawing


def _methods(axes: Axes, table: pd.DataFrame, about: Mapping[str, Any]) -> None:
    for place, (_, row) in enumerate(table.iterrows()):
        color, face = (BLUE, BLUE) if row["covers"] else (GREY, "white")
        shown = max(row["upper"], SMALLEST)
        axes.plot(shown, place, "o", ms=8, color=color, mfc=face, mew=1.8)
        axes.annotate(
            at_most(row["upper"]),
            (shown, place),
            xytext=(9, 0),
            textcoords="offset points",
            color=color,
            size=LABEL_POINTS,
            va="center",
        )
    _error_axis(axes, about)
    axes.axvline(about["floor"], color=PURPLE, ls=":", label="floor of any such bound")
    for kind, face, color in (("certifies", BLUE, BLUE), ("explains only", "white", GREY)):
        axes.plot([], [], "o", ms=8, color=color, mfc=face, mew=1.8, label=kind)
    axes.set_yticks(range(len(table)), [str(name) for name in table.index])
    axes.set_ylim(len(table) - 0.3, -0.7)
    axes.set_title(f"Error at most, at {at_least(about['confidence'])} confidence")
    axes.set_xlabel(f"error ({counted(about['n'], 'held-out sample')})")


def _classes(axes: Axes, classes: pd.DataFrame, confidence: float) -> None:
    table = classes.head(SHOWN_CLASSES)
    for place, (_, row) in enumerate(table.iterrows()):
        axes.plot([row["error_rate"], row["upper"]], [place, place], color=GREY, lw=1)
        axes.plot(row["error_rate"], place, "|", ms=10, mew=1.8, color=ORANGE)
        axes.plot(row["upper"], place, "o", ms=6, color=BLUE)
    axes.set_yticks(range(len(table)), [unmathed(name) for name in table["class"]])
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: share(float(f"{value:.6g}"))))
    axes.set_xlim(left=0)
    axes.grid(axis="y", visible=False)
    axes.set_title(f"Each class, all at {at_least(confidence)} confidence")
    axes.set_xlabel("error: seen (bar) and at most (dot)")
    axes.set_ylabel("class")


def _error_axis(axes: Axes, about: Mapping[str, Any]) -> None:
    """Lay out a logarithmic axis of errors, with the share of errors seen if there are any."""
    axes.set_xscale("log")
    if about["errors"]:
        axes.axvline(about["error_rate"], color=ORANGE, label="errors seen")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: share(float(f"{value:.6g}"))))
    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.25)  # room for the numbers
