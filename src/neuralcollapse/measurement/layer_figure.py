"""The figure of a layer profile: four panels against depth."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from neuralcollapse.figure_style import BLUE, GREEN, GREY, ORANGE, PURPLE, figure
from neuralcollapse.measurement.separation_law import SeparationLaw
from neuralcollapse.metrics.catalogue import metric_named
from neuralcollapse.plain_text import unmathed
from neuralcollapse.wording import counted

NAMED = 20  # the names of more layers would overlap


def plot_profile(
    profile: pd.DataFrame, law: SeparationLaw | None, num_samples: int, num_classes: int
) -> Figure:
    """Draw fuzziness with the fitted law, both NC1, effective rank, and nearest-mean accuracy.

    Parameters
    ----------
    profile
        One row per layer, the first one first, as `LayerProfile.to_frame` returns them.
    law
        Fitted to the layers, if it could be.
    num_samples, num_classes
        N and K of the data.

    Returns
    -------
    matplotlib Figure
        11 x 8 inches.
    """
    with figure(2, 2, 11, 8) as (drawing, panels):
        _fuzziness(panels[0], profile, law)
        _nc1(panels[1], profile)
        _rank(panels[2], profile, num_classes)
        _accuracy(panels[3], profile)
        names = [unmathed(name) for name in profile["layer"]]
        depths = range(1, len(names) + 1)
        for axes in panels:
            axes.set_xlim(0.5, len(names) + 0.5)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes in panels[2:]:
            if len(names) <= NAMED:
                axes.set_xticks(depths, names, rotation=90, fontsize=8)
            else:
                axes.set_xlabel("depth of the layer")
        for axes in panels[:2]:
            if len(names) <= NAMED:
                axes.set_xticks(depths)
        drawing.suptitle(
            f"Collapse by layer: {counted(num_samples, 'sample')} of "
            f"{counted(num_classes, 'class', 'classes')}",
            x=0.01,
            ha="left",
        )
    return drawing


def _curve(axes: Axes, values: list[float], label: str, color: str) -> None:
    axes.plot(range(1, len(values) + 1), values, "o-", ms=4, color=color, label=label)


def _log_where_positive(axes: Axes, values: list[float]) -> None:
    if any(value > 0 and np.isfinite(value) for value in values):
        axes.set_yscale("log")


def _fuzziness(axes: Axes, profile: pd.DataFrame, law: SeparationLaw | None) -> None:
    values = profile["separation_fuzziness"].tolist()
    _curve(axes, values, "measured", BLUE)
    if law is not None:
        depths = (1, len(values))
        label = f"law: × {law.ratio:.3g} per layer, r² = {law.r_squared:.3f}"
        axes.plot(depths, [law.at(depth) for depth in depths], "--", color=GREY, label=label)
    _log_where_positive(axes, values)
    axes.set_title("Separation fuzziness tr(Σ$_W$Σ$_B^+$)")
    axes.legend()


def _nc1(axes: Axes, profile: pd.DataFrame) -> None:
    for name, color in (("nc1_pinv", BLUE), ("nc1_trace_ratio", ORANGE)):
        _curve(axes, profile[name].tolist(), metric_named(name).label, color)
    _log_where_positive(axes, [*profile["nc1_pinv"], *profile["nc1_trace_ratio"]])
    axes.set_title("Class spread")
    axes.legend()


def _rank(axes: Axes, profile: pd.DataFrame, num_classes: int) -> None:
    _curve(axes, profile["effective_rank"].tolist(), "effective rank", PURPLE)
    axes.axhline(
        num_classes - 1,
        ls="--",
        color=GREY,
        label=f"collapse: K − 1 = {num_classes - 1}",
    )
    axes.set_ylim(bottom=0)
    axes.set_title("Directions that the features fill")
    axes.legend()


def _accuracy(axes: Axes, profile: pd.DataFrame) -> None:
    values = profile["ncc_accuracy"].tolist()
    axes.set_title("Accuracy of the nearest class mean")
    if np.isnan(values).all():
        text = "the features were too many to keep"
        axes.text(0.5, 0.5, text, ha="center", transform=axes.transAxes)
        return
    _curve(axes, values, "nearest mean", GREEN)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylim(top=1 + 0.02 * (1 - min(values)) + 1e-3)
