"""The reliability diagram: accuracy over confidence."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from neuralcollapse.figure_style import BLUE, GREY, figure
from neuralcollapse.wording import at_least, share


def reliability_diagram(bins: pd.DataFrame, ece: float, confidence: float) -> Figure:
    """Draw how often each bin of confidence is right, and how many samples it has.

    Parameters
    ----------
    bins
        One row per bin: mean confidence, accuracy with its bounds, number of samples n.
    ece
        The calibration error that the bins give.
    confidence
        Level at which the bounds of all bins hold.

    Returns
    -------
    matplotlib Figure
        One panel.
    """
    with figure(1, 1, 5.2, 4.8) as (drawing, panels):
        axes = panels[0]
        axes.plot([0, 1], [0, 1], color=GREY, lw=1, label="as right as confident")
        errors = np.abs(bins[["lower", "upper"]].to_numpy().T - bins["accuracy"].to_numpy())
        axes.errorbar(
            bins["confidence"], bins["accuracy"], errors, fmt="o-", color=BLUE, capsize=2,
            label=f"measured, all bins at {at_least(confidence)} confidence",
        )  # fmt: skip
        axes.bar(bins["confidence"], bins["n"] / bins["n"].sum(), 0.03, color=GREY, alpha=0.4,
                 label="share of samples")  # fmt: skip
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy")
        axes.set_title(f"Calibration error {share(ece)}")
        drawing.legend(loc="outside lower center")
    return drawing
