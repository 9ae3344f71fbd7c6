"""How Figure 2 is drawn from its records: four errors of collapse against log log t."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from neuralcollapse.studies.ji2022.flows import exponent

FEATURES, HEAD, BOTH = "#0072B2", "#D55E00", "#009E73"  # told apart by colour-blind eyes
FLOOR = 3e-10  # balanced starts go on down to rounding
PANELS = {
    "(a) variation of the norms": {
        "equinorm_means": ("class means", FEATURES),
        "equinorm_head": ("classifier", HEAD),
    },
    "(b) within-class variation": {"within_class": ("features", FEATURES)},
    "(c) cosines, distance from −1/(K−1)": {
        "cosines_means": ("class means", FEATURES),
        "cosines_head": ("classifier", HEAD),
    },
    "(d) self-duality, distance of the two": {"self_duality": ("distance", BOTH)},
}


def plot_dynamics(
    record: Mapping[str, NDArray[np.float64]],
    exact: Mapping[str, float],
    settings: str,
    last_log_t: float,
) -> Figure:
    """Draw the four panels up to a log time.

    Parameters
    ----------
    record
        From `record_dynamics`.
    exact
        The exact exponent of each error in log t.
    settings
        The first sentences of the caption.
    last_log_t
        Where the axis ends. Beyond log t = 1e3 the closed form is drawn too, and the exponents
        are fitted where they have settled; before, where the paper's range has them.

    Returns
    -------
    matplotlib.figure.Figure
        Ready to save.
    """
    extended = last_log_t > 1e3
    fit_range = (1e4, last_log_t) if extended else (5.0, last_log_t)
    figure = Figure(figsize=(9, 7), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey=True)
    for ax, (title, curves) in zip(axes.flat, PANELS.items(), strict=True):
        _panel(ax, record, curves, last_log_t, extended)
        ax.set_title(title, fontsize=11)
        lines = [
            _slopes(record, name, label, fit_range, exact[name])
            for name, (label, _) in curves.items()
        ]
        x, y, ha, va = (0.97, 0.96, "right", "top") if extended else (0.03, 0.03, "left", "bottom")
        ax.text(x, y, "\n".join(lines), transform=ax.transAxes, fontsize=8.5, ha=ha, va=va)
    for ax in axes[0]:
        _log_t_axis(ax, [1, 1e2, 1e4, 1e6, 1e8] if extended else [1, 2, 5, 10, 15])
    for ax in axes[1]:
        ax.set_xlabel("log log t")
    figure.legend(handles=_keys(extended), loc="outside upper center", ncols=6, fontsize=9)
    low, high = (_number(bound) for bound in fit_range)
    figure.supxlabel(
        f"{settings}\nSlopes against log log t: fitted for log t from {low} to {high}, least to "
        "greatest over the generic starts. Exact: their limit.",
        fontsize=8,
        color="0.3",
    )
    return figure


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
            values = record[f"{kind}_{name}"][:, shown]
            ax.fill_between(x, values.min(0), values.max(0), color=color, alpha=0.15, lw=0)
            ax.plot(x, np.median(values, 0), style, color=color, lw=1.8)
        if extended:
            limit = np.median(record[f"limit_{name}"][:, shown], 0)
            ax.plot(x, limit, ":", color="black", lw=1.2)
    ax.set_yscale("log")
    ax.set_xlim(x[0], np.log(last_log_t))
    if extended:
        ax.set_ylim(FLOOR, 3)
    ax.grid(color="0.9", lw=0.6)


def _slopes(
    record: Mapping[str, NDArray[np.float64]],
    name: str,
    label: str,
    fit_range: tuple[float, float],
    exact: float,
) -> str:
    fits = [exponent(record["log_t"], row, *fit_range) for row in record[f"generic_{name}"]]
    digits = 4 if fit_range[0] > 1e3 else 2
    low, high = (f"{value:.{digits}f}" for value in (min(fits), max(fits)))
    slope = low if low == high else f"{low} to {high}"
    return f"{label}: slope {slope}, exact {exact:g}".replace("-", "−")


def _log_t_axis(ax: Axes, values: list[float]) -> None:
    """Write log t itself above the panel, since few read log log t."""
    top = ax.secondary_xaxis("top")
    top.set_xticks(np.log(values), [_number(value) for value in values])
    top.set_xlabel("log t", fontsize=9)


def _number(value: float) -> str:
    return f"$10^{{{np.log10(value):.0f}}}$" if value >= 100 else f"{value:g}"


def _keys(extended: bool) -> list[Line2D]:
    keys = [
        Line2D([], [], color=FEATURES, lw=3, label="features"),
        Line2D([], [], color=HEAD, lw=3, label="classifier"),
        Line2D([], [], color=BOTH, lw=3, label="features against classifier"),
        Line2D([], [], color="0.3", ls="-", label="generic start"),
        Line2D([], [], color="0.3", ls="--", label="balanced start"),
    ]
    if extended:
        keys.append(Line2D([], [], color="black", ls=":", label="closed form"))
    return keys
