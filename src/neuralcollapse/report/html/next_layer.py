"""What the near-features model predicts for a layer from the one before, beside what it became."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from neuralcollapse.report.html.packing import short
from neuralcollapse.runs.snapshots import Snapshot
from neuralcollapse.theory.near_features import near_features_minimizer
from neuralcollapse.wording import number

LAMBDA_W, LAMBDA_H = 0.005, 0.01  # the defaults of `neuralcollapse study tirer2023 --features`
BETAS = np.geomspace(1e-3, 1e2, 11).tolist()


@dataclass(frozen=True)
class NextLayerCurve:
    """The near-features model of one more layer.

    Attributes
    ----------
    text
        Its sentence.
    betas, predicted
        Pulls towards the layer before, and tr Σ_W / tr Σ_B of the minimiser at each.
    before, after
        The same ratio as measured, in the layer before and in this one.
    unproved
        Minimisers that are not proved to be isolated.
    """

    text: str
    betas: list[float | None]
    predicted: list[float | None]
    before: float | None
    after: float | None
    unproved: int


def next_layer_data(shot: Snapshot) -> NextLayerCurve | None:
    """Predict the within-class scatter of a layer from the one before, over the pull beta.

    Parameters
    ----------
    shot
        With moments of the layer before.

    Returns
    -------
    NextLayerCurve or None
        None if the layer before was not recorded, or a class is absent.
    """
    layer = shot.before
    if layer is None or not bool((layer.counts > 0).all()):
        return None
    found = [near_features_minimizer(layer, None, LAMBDA_W, LAMBDA_H, beta) for beta in BETAS]
    predicted = [trace_ratio(each.means, float(each.within.trace())) for each in found]
    within = float(shot.counts.double() @ shot.trace_variances / shot.counts.sum())
    before = trace_ratio(layer.means, float(layer.within.trace()))
    after = trace_ratio(shot.rows, within)
    nearest = min(zip(predicted, BETAS, strict=True), key=lambda pair: abs(pair[0] - after))
    return NextLayerCurve(
        text=(
            f"From this layer to the next, tr Σ_W / tr Σ_B went from {number(before)} to "
            f"{number(after)}. Of β from {number(BETAS[0])} to {number(BETAS[-1])}, the model "
            f"comes nearest to that at β = {number(nearest[1])}, with {number(nearest[0])} "
            f"(λ_W = {LAMBDA_W:g}, λ_H = {LAMBDA_H:g})."
        ),
        betas=[short(beta) for beta in BETAS],
        predicted=[short(value) for value in predicted],
        before=short(before),
        after=short(after),
        unproved=sum(each.status not in ("unique", "strict local minimum") for each in found),
    )


def trace_ratio(means: Tensor, within: float) -> float:
    """Return tr Σ_W / tr Σ_B of pooled scatter and class means that count once each.

    Examples
    --------
    >>> import torch
    >>> trace_ratio(torch.tensor([[-2.0], [2.0]]), 1.0)
    0.250000
    """
    between = float((means - means.mean(0)).square().sum(1).mean())
    return within / between if between else float("inf")
