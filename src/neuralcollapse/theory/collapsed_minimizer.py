"""The near-features minimiser of collapsed features, which is collapsed too."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.validation import check_squares


def orthonormal_frame(means: Tensor) -> tuple[Tensor, float]:
    """Split class means into orthonormal rows and their common norm."""
    if not means.numel():
        got = f"shape {tuple(means.shape)}"
        raise NeuralCollapseError("means", "a mean for each class", got, "pass (K, d) class means")
    check_squares("means", means)
    norm = float(means.norm()) / math.sqrt(len(means))
    defect = (means @ means.T - norm**2 * torch.eye(len(means), dtype=torch.float64)).abs().max()
    if norm == 0 or float(defect) > 1e-8 * norm**2:
        expected = "orthogonal class means of equal norm above 0"
        got = f"a Gram matrix off by {float(defect):.3g} from {norm**2:.3g} times the identity"
        raise NeuralCollapseError("means", expected, got, "use GeneralPerturbationOperator")
    return means / norm, norm


def minimizing_radius(start: float, lambda_w: float, lambda_h: float, beta: float) -> float:
    """Norm h of the minimiser's class means, from the stationary points of its loss in h."""
    # (mu h - beta h0) (h^2 + lambda_w)^2 = lambda_w h
    mu = lambda_h + beta
    cubic = np.polynomial.Polynomial([lambda_w, 0, 1]) ** 2
    line = np.polynomial.Polynomial([-beta * start, mu])
    slope = line * cubic - np.polynomial.Polynomial([0, lambda_w])
    roots = slope.roots()
    radii = roots[(abs(roots.imag) < 1e-9 * (1 + abs(roots))) & (roots.real > 0)].real
    if not len(radii):
        expected = "strengths whose sums and products leave a radius above round-off"
        got, remedy = f"{lambda_w:g}, {lambda_h:g} and {beta:g}", "choose strengths less far apart"
        raise NeuralCollapseError("lambda_w, lambda_h and beta", expected, got, remedy)

    def loss(h: float) -> float:
        return lambda_w / (h * h + lambda_w) + lambda_h * h * h + beta * (h - start) ** 2

    radius = float(min(radii, key=loss))
    for _ in range(3):  # eigenvalues of a companion matrix lose a few digits: Newton restores them
        radius -= float(slope(radius) / slope.deriv()(radius))
    return radius
