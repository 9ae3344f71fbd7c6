"""The reliability diagram: accuracy over confidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from neuralcollapse.figure_style import BLUE, GREY, figure
from neuralcollapse.wording import at_least, share

if TYPE_CHECKING:
    from neuralcollapse.generalization.top_label import TopLabelCalibration


def reliability_diagram(found: TopLabelCalibration) -> Figure:
    """Draw how often each bin of confidence is right, and how many samples it has.

    Parameters
    ----------
    found
        From `calibration`, or of the class decided for alone.

    Returns
    -------
    matplotlib Figure
        One panel.
    """
    with figure(1, 1, 5.2, 4.8) as (drawing, panels):
        axes, bins = panels[0], found.bins
        axes.plot([0, 1], [0, 1], color=GREY, lw=1, label="as right as confident")
        errors = np.abs(bins[["lower", "upper"]].to_numpy().T - bins["accuracy"].to_numpy())
        axes.errorbar(
            bins["confidence"], bins["accuracy"], errors, fmt="o-", color=BLUE, capsize=2,
            label=f"measured, all bins at {at_least(found.confidence)} confidence",
        )  # fmt: skip
        axes.bar(bins["confidence"], bins["n"] / found.n, 0.03, color=GREY, alpha=0.4,
                 label="share of samples")  # fmt: skip
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy")
        axes.set_title(f"Calibration error {share(found.ece)}")
        drawing.legend(loc="outside lower center")
    return drawing
