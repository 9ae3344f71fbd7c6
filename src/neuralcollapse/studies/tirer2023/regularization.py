"""Section 4's comparison: what lambda_H and lambda_W each do to the within-class scatter."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from neuralcollapse.studies.claims import Evidence
from neuralcollapse.studies.tirer2023.study import study
from neuralcollapse.theory import (
    PerturbationOperator,
    near_features_minimizer,
    regularized_mse_minimizer,
    sufficient_statistics,
)
from neuralcollapse.theory.regularized import RegularizedMinimizer

K, N_PER_CLASS, D = 4, 10, 10
LAMBDA_W, LAMBDA_H = 0.5, 0.1
NOISE = 0.03
CHANGES = {  # factors on lambda_W and lambda_H
    "as they are": (1.0, 1.0),
    "lambda_H x 2": (1.0, 2.0),
    "lambda_H / 2": (1.0, 0.5),
    "lambda_W x 2": (2.0, 1.0),
    "lambda_W / 2": (0.5, 1.0),
}


def within_ratios(
    scale_w: float, scale_h: float, beta: float, noise: float = NOISE, fixed: bool = False
) -> tuple[float, float]:
    """Return (actual, predicted) tr Σ_W of the minimiser over that of H0, near collapse.

    Parameters
    ----------
    scale_w, scale_h
        Factors on LAMBDA_W and LAMBDA_H.
    beta
        The pull towards H0.
    noise
        Standard deviation of an entry of H0 about collapse.
    fixed
        Whether H0 stays that of the strengths unscaled; else it is collapsed at the optimum of
        the scaled ones.
    """
    lambda_w, lambda_h = scale_w * LAMBDA_W, scale_h * LAMBDA_H
    strengths = (LAMBDA_W, LAMBDA_H) if fixed else (lambda_w, lambda_h)
    best, H0, within = _near_collapse(*strengths, noise)
    found = near_features_minimizer(H0, best.labels, lambda_w, lambda_h, beta)
    operator = PerturbationOperator(best.means, best.labels, lambda_w, lambda_h, beta)
    return float(found.within.trace() / within.trace()), operator.within_ratio(within)


def elasticities(beta: float, noise: float = 1e-4) -> np.ndarray:
    """Return [[actual, predicted] by lambda_W, the same by lambda_H], relative to relative."""
    best, _, within = _near_collapse(LAMBDA_W, LAMBDA_H, noise)
    operator = PerturbationOperator(best.means, best.labels, LAMBDA_W, LAMBDA_H, beta)
    step = 1e-3
    rows = []
    for predicted, (w, h) in zip(operator.elasticities(within), ((1, 0), (0, 1)), strict=True):
        up, down = (
            math.log(within_ratios(math.exp(s * w), math.exp(s * h), beta, noise)[0])
            for s in (step, -step)
        )
        rows.append([(up - down) / (2 * step), predicted])
    return np.array(rows)


def _near_collapse(
    lambda_w: float, lambda_h: float, noise: float
) -> tuple[RegularizedMinimizer, Tensor, Tensor]:
    """Return an optimum, features off it by normal noise, and their within-class scatter."""
    generator = torch.Generator().manual_seed(0)
    best = regularized_mse_minimizer(K, N_PER_CLASS, D, lambda_w, lambda_h, generator)
    H0 = best.H + noise * torch.randn(best.H.shape, generator=generator, dtype=torch.float64)
    return best, H0, sufficient_statistics(H0, best.labels).within


@study.claim(
    "sec4-lambdas",
    "Near collapse lambda_H matters more than lambda_W to the within-class scatter of the "
    "minimiser: a larger lambda_H reduces it, a larger lambda_W does not. Ours: by how much. In "
    "the span of the class means, relative changes of the two act equally strongly and oppositely; "
    "what lambda_H does beyond is its effect outside that span, where lambda_W does nothing.",
)
def _roles() -> Iterator[Evidence]:
    for beta in (1.0, 10.0, 100.0):
        (by_w, want_w), (by_h, want_h) = elasticities(beta)
        words = "d log (tr Σ_W / tr Σ_W0) / d log"
        yield Evidence(f"{words} lambda_W, beta = {beta:g}", by_w, want_w, 1e-5)
        yield Evidence(f"{words} lambda_H, beta = {beta:g}", by_h, want_h, 1e-5)
        yield Evidence.at_least("so lambda_H over lambda_W, in size", abs(by_h / by_w), 1)
        yield Evidence.at_least("a larger lambda_W means more scatter", by_w, 0)
    for fixed in (False, True):
        note = f"entries of H0 off collapse by {NOISE}, H0 " + (
            "fixed" if fixed else "moving along"
        )
        for name, (scale_w, scale_h) in CHANGES.items():
            actual, predicted = within_ratios(scale_w, scale_h, beta=1.0, fixed=fixed)
            yield Evidence(
                f"tr Σ_W / tr Σ_W0, {name}, beta = 1", actual, predicted, 1e-3, note=note
            )
