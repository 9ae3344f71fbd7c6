"""How Figure 2 is drawn from its records: four errors of collapse against log log t."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from neuralcollapse.figure_style import BLUE, GREEN, GREY, ORANGE, figure
from neuralcollapse.studies.ji2022.flows import exponent
from neuralcollapse.studies.panels import band, share_limits

FAR = 1e3  # log t beyond which the closed form is drawn
FLOOR = 3e-10  # balanced starts go on down to rounding
PANELS = {
    "(a) variation of the norms": {
        "equinorm_means": ("class means", BLUE),
        "equinorm_head": ("classifier", ORANGE),
    },
    "(b) within-class variation": {"within_class": ("features", BLUE)},
    "(c) cosines, distance from −1/(K−1)": {
        "cosines_means": ("class means", BLUE),
        "cosines_head": ("classifier", ORANGE),
    },
    "(d) self-duality, distance of the two": {"self_duality": ("distance", GREEN)},
}


def plot_dynamics(
    record: Mapping[str, NDArray[np.float64]], exact: Mapping[str, float], last_log_t: float
) -> Figure:
    """Draw the four panels up to a log time.

    Parameters
    ----------
    record
        From `record_dynamics`.
    exact
        The exact exponent of each error in log t.
    last_log_t
        Where the axis ends. Beyond log t = 1e3 the closed form is drawn too, and the exponents
        are fitted where they have settled; before, where the paper's range has them.

    Returns
    -------
    matplotlib.figure.Figure
        Ready to save.
    """
    extended = last_log_t > FAR
    with figure(2, 2, 9.2, 7.2) as (drawing, panels):
        for axes, (title, curves) in zip(panels, PANELS.items(), strict=True):
            _panel(axes, record, curves, last_log_t, extended)
            axes.set_title(title)
            lines = [
                _slopes(record, name, label, fit_range(last_log_t), exact[name])
                for name, (label, _) in curves.items()
            ]
            place: dict[str, Any] = {"x": 0.03, "y": 0.03, "ha": "left", "va": "bottom"}
            if extended:
                place = {"x": 0.97, "y": 0.96, "ha": "right", "va": "top"}
            axes.text(s="\n".join(lines), transform=axes.transAxes, fontsize=8.5, **place)
            ticks = [1, 1e2, 1e4, 1e6, 1e8] if extended else [1, 2, 3, 5, 10, 15]
            axes.set_xticks(np.log(ticks), [_number(tick) for tick in ticks])
        share_limits(panels)
        for axes in panels[2:]:
            axes.set_xlabel("log t, on a log scale")
        drawing.legend(handles=_keys(extended), loc="outside upper center", ncols=6)
    return drawing


def fit_range(last_log_t: float) -> tuple[float, float]:
    """Return the log times between which exponents are fitted, of a figure that ends there."""
    return (1e4, last_log_t) if last_log_t > FAR else (5.0, last_log_t)


def _panel(
    ax: Axes,
    record: Mapping[str, NDArray[np.float64]],
    curves: Mapping[str, tuple[str, str]],
    last_log_t: float,
    extended: bool,
) -> None:
    shown = record["log_t"] <= last_log_t * (1 + 1e-9)
    x = np.log(record["log_t"][shown])
    for name, (_, color) in curves.items():
        for kind, style in (("generic", "-"), ("balanced", "--")):
            band(ax, x, record[f"{kind}_{name}"][:, shown], color, ls=style, lw=1.6)
        if extended:
            limit = np.median(record[f"limit_{name}"][:, shown], 0)
            ax.plot(x, limit, ":", color="black", lw=1.2)
    ax.set_yscale("log")
    ax.set_xlim(x[0], np.log(last_log_t))
    if extended:
        ax.set_ylim(FLOOR, 3)


def _slopes(
    record: Mapping[str, NDArray[np.float64]],
    name: str,
    label: str,
    fitted: tuple[float, float],
    exact: float,
) -> str:
    fits = [exponent(record["log_t"], row, *fitted) for row in record[f"generic_{name}"]]
    digits = 4 if fitted[0] > 1e3 else 2
    low, high = (f"{value:.{digits}f}" for value in (min(fits), max(fits)))
    slope = low if low == high else f"{low} to {high}"
    return f"{label}: slope {slope}, exact {exact:g}".replace("-", "−")


def _number(value: float) -> str:
    return f"$10^{{{np.log10(value):.0f}}}$" if value >= 100 else f"{value:g}"


def _keys(extended: bool) -> list[Line2D]:
    keys = [
        Line2D([], [], color=BLUE, lw=3, label="features"),
        Line2D([], [], color=ORANGE, lw=3, label="classifier"),
        Line2D([], [], color=GREEN, lw=3, label="features against classifier"),
        Line2D([], [], color=GREY, ls="-", label="generic start"),
        Line2D([], [], color=GREY, ls="--", label="balanced start"),
    ]
    if extended:
        keys.append(Line2D([], [], color="black", ls=":", label="closed form"))
    return keys
