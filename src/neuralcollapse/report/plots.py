"""The figures of a run, drawn from its records: collapse, accuracy, margins."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, PercentFormatter

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.figure_style import (
    BLUE,
    GREEN,
    GREY,
    LABEL_POINTS,
    ORANGE,
    PURPLE,
    figure,
    label_ends,
    save,
)
from neuralcollapse.metrics.catalogue import CATALOGUE
from neuralcollapse.metrics.rows import NC1, NC2, NC3
from neuralcollapse.runs.record import Record

Records = Sequence[Record]
COLORS = (BLUE, ORANGE, GREEN, PURPLE)


def plot_history(records: Records, folder: str | Path) -> list[Path]:
    """Draw all figures of a run into a folder.

    Parameters
    ----------
    records
        Of `read_history` or `train`, at least one.
    folder
        Gets collapse.png, accuracy.png and margins.png.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    NeuralCollapseError
        If there is no record, or a record lacks what a figure shows.

    Examples
    --------
    >>> import tempfile
    >>> import torch
    >>> from torch import nn
    >>> import neuralcollapse as nc
    >>> from neuralcollapse.report import plot_history
    >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> inputs, labels = torch.randn(20, 2), torch.arange(20) % 2
    >>> records = [{"epoch": 1, **nc.measure(model, [(inputs, labels)]).to_record()}]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in plot_history(records, folder)]
    ['collapse.png', 'accuracy.png', 'margins.png']
    """
    figures = {"collapse": collapse_figure, "accuracy": accuracy_figure, "margins": margin_figure}
    return [save(draw(records), Path(folder, f"{name}.png")) for name, draw in figures.items()]


def interpolation_epoch(records: Records) -> int | None:
    """Return the first epoch measured at 100 % training accuracy, None if there is none.

    Parameters
    ----------
    records
        In order of epochs.

    Examples
    --------
    >>> from neuralcollapse.report import interpolation_epoch
    >>> interpolation_epoch([{"epoch": 1, "accuracy": 0.9}, {"epoch": 2, "accuracy": 1.0}])
    2
    """
    return next((record["epoch"] for record in records if record.get("accuracy") == 1), None)


def collapse_figure(records: Records) -> Figure:
    """Draw NC1 to NC4 against epochs, on logarithmic axes.

    NC4 is drawn as the share of disagreement, on an axis that is linear from 0 to the least
    value above it, so that complete agreement is seen as 0 and not left out.

    Parameters
    ----------
    records
        Of a run, at least one.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> import neuralcollapse as nc
    >>> from neuralcollapse.report import collapse_figure
    >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> inputs, labels = torch.randn(20, 2), torch.arange(20) % 2
    >>> records = [{"epoch": 1, **nc.measure(model, [(inputs, labels)]).to_record()}]
    >>> figure = collapse_figure(records)  # then figure.savefig("collapse.png")
    >>> [axes.get_title(loc="left")[:3] for axes in figure.axes]
    ['NC1', 'NC2', 'NC3', 'NC4']
    """
    with figure(2, 2, 10.5, 6.6) as (drawing, panels):
        nc1, nc2, nc3, nc4 = panels
        nc1.set_title("NC1  samples gather at their class mean")
        nc2.set_title("NC2  class vectors form a simplex ETF")
        nc3.set_title("NC3  the head aligns with the class means")
        for axes, group in ((nc1, NC1), (nc2, NC2), (nc3, NC3)):
            _group(axes, records, group)
        styles = (("class means", "-", 1.8), ("head", (0, (2, 1.5)), 1.2))
        handles = [Line2D([], [], color=GREY, ls=ls, lw=lw, label=name) for name, ls, lw in styles]
        nc2.legend(handles=handles, loc="upper right", ncols=2)
        nc4.set_title("NC4  the head decides by the nearest class mean")
        for prefix, label, color in (("", "train", BLUE), ("test_", "test", ORANGE)):
            share = f"{prefix}nc4_agreement"
            _curve(nc4, records, share, label, color, lambda x: 1 - x, ls="", marker=".", ms=4)
        for axes in (nc1, nc2, nc3):
            _log(axes)
            axes.set_ylabel("distance from collapse")
        _log_with_zero(nc4)
        nc4.set_ylabel("share of disagreement")
        _finish(panels, records)
    return drawing


def accuracy_figure(records: Records) -> Figure:
    """Draw training and test accuracy, and the training loss if it was recorded, against epochs.

    Parameters
    ----------
    records
        Of a run, at least one.

    Examples
    --------
    >>> from neuralcollapse.report import accuracy_figure
    >>> records = [
    ...     {"epoch": 1, "accuracy": 0.5, "test_accuracy": 0.4},
    ...     {"epoch": 2, "accuracy": 1.0, "test_accuracy": 0.9},
    ... ]
    >>> figure = accuracy_figure(records)  # then figure.savefig("accuracy.png")
    >>> figure.axes[0].get_title(loc="left")
    'Accuracy'
    """
    lossy = any("train_loss" in record for record in records)
    with figure(1, 2 if lossy else 1, 10.5 if lossy else 5.25, 3.5) as (drawing, panels):
        accuracy = panels[0]
        accuracy.set_title("Accuracy")
        for prefix, label, color in (("", "train", BLUE), ("test_", "test", ORANGE)):
            _curve(accuracy, records, f"{prefix}accuracy", label, color)
        accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        for loss in panels[1:]:
            loss.set_title("Training loss")
            _curve(loss, records, "train_loss", "_loss", BLUE)
            _log(loss)
            loss.set_ylabel("mean over the epoch")
        _finish(panels, records)
    return drawing


def margin_figure(records: Records) -> Figure:
    """Draw the minimum margin against epochs: raw, and free of scale with its ceiling K/(K-1).

    Parameters
    ----------
    records
        Of a run, at least one.

    Examples
    --------
    >>> from neuralcollapse.report import margin_figure
    >>> records = [
    ...     {"epoch": 1, "num_classes": 3, "margin_min": -2.0, "margin_normalized": -0.5},
    ...     {"epoch": 2, "num_classes": 3, "margin_min": 4.0, "margin_normalized": 0.9},
    ... ]
    >>> figure = margin_figure(records)  # then figure.savefig("margins.png")
    >>> [axes.get_title(loc="left") for axes in figure.axes]
    ['Minimum margin', 'Minimum margin, normalised']
    """
    with figure(1, 2, 10.5, 3.5) as (drawing, panels):
        raw, normalized = panels
        raw.set_title("Minimum margin")
        raw.set_ylabel("units of the logits")
        normalized.set_title("Minimum margin, normalised")
        for axes, key in ((raw, "margin_min"), (normalized, "margin_normalized")):
            axes.axhline(0, color=GREY, lw=0.8, label="_zero")
            _curve(axes, records, key, "train", BLUE)
            _curve(axes, records, f"test_{key}", "test", ORANGE)
        if records and "num_classes" in records[0]:
            num_classes = records[0]["num_classes"]
            ceiling = num_classes / (num_classes - 1)
            epochs = [records[0]["epoch"], records[-1]["epoch"]]
            normalized.plot(epochs, [ceiling] * 2, color=PURPLE, lw=1.2, label="collapse: K/(K−1)")
        _finish(panels, records)
    return drawing


def _group(axes: Axes, records: Records, group: str) -> None:
    """Draw what a group of the catalogue has recorded, rows of the head in dashes."""
    rows = [metric for metric in CATALOGUE.values() if metric.group == group]
    found = [row for row in rows if any(row.name in record for record in records)]
    colors: dict[str, str] = {}
    for row in found or rows[:1]:
        means = row.name.removesuffix("_head")
        color = colors.setdefault(means, COLORS[len(colors) % len(COLORS)])
        if means == row.name:
            _curve(axes, records, row.name, row.label or row.name, color)
        else:
            _curve(axes, records, row.name, "_head", color, ls=(0, (2, 1.5)), lw=1.2)


def _curve(
    axes: Axes,
    records: Records,
    key: str,
    label: str,
    color: str,
    transform: Callable[[float], float] = float,
    **style: Any,
) -> None:
    """Draw one quantity, if the run has it: one that was not tested has no test curves."""
    if not records:
        raise NeuralCollapseError("records", "at least one record", "none", "train or read a run")
    missing = [record for record in records if key not in record]
    if len(missing) == len(records) or (missing and key.startswith("test_")):
        return
    if missing:
        expected = f"{key!r} in every record"
        got = f"{len(missing)} of {len(records)} without"
        raise NeuralCollapseError("records", expected, got, "pass the records of a training run")
    epochs = [record["epoch"] for record in records]
    values = [transform(record[key]) for record in records]
    axes.plot(epochs, values, label=label, color=color, **style)


def _values(axes: Axes) -> list[float]:
    """Return the values above 0 that are drawn, [1.0] if there is none."""
    values = [float(y) for line in axes.lines for y in np.asarray(line.get_ydata())]
    return [value for value in values if 0 < value < math.inf] or [1.0]


def _log(axes: Axes) -> None:
    """Make the axis logarithmic, with ticks that can be read without a calculator."""
    values = _values(axes)
    low, high = min(values), max(values)
    axes.set_yscale("log")
    axes.set_ylim(low / 1.5, high * 1.5)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3) if high < 3e3 * low else (1,)))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))


def _log_with_zero(axes: Axes) -> None:
    """Make the axis logarithmic from 1 down to the least value drawn above 0, linear below."""
    least = 10.0 ** math.floor(math.log10(min(_values(axes))))
    axes.set_yscale("symlog", linthresh=least, linscale=0.4)
    axes.set_ylim(-0.2 * least, 1)
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))


def _finish(panels: Sequence[Axes], records: Records) -> None:
    """Mark where the training data is fitted, name the axes and the curves."""
    fitted = interpolation_epoch(records)
    for axes in panels:
        axes.set_xlabel("epoch")
        axes.set_xlim(records[0]["epoch"], max(records[-1]["epoch"], records[0]["epoch"] + 1))
        if fitted is not None:
            axes.axvline(fitted, color=GREY, lw=1, ls=(0, (4, 3)), label="_fitted", zorder=0)
        label_ends(axes)
    if fitted is not None:
        left, right = panels[0].get_xlim()
        early = fitted < (left + right) / 2
        panels[0].annotate(
            "100 % train accuracy",
            (fitted, 0.03),
            xycoords=("data", "axes fraction"),
            xytext=(4 if early else -4, 0),
            textcoords="offset points",
            color=GREY,
            size=LABEL_POINTS,
            ha="left" if early else "right",
            bbox={"fc": "white", "ec": "none", "pad": 1, "alpha": 0.8},
        )
