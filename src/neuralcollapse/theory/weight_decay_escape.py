"""The layer-peeled model with weight decay: the way down from where it is not at its optimum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.theory.landscape import (
    CriticalStatus,
    leading_pair,
    orthogonal_unit,
    require_dimensions,
)
from neuralcollapse.theory.layer_peeled import LayerPeeledModel
from neuralcollapse.validation import check_squares, decay_strength, finite_matrix, positive


@dataclass(frozen=True)
class WeightDecayEscape:
    """What a point of the regularised model is, and the way down from it if there is one.

    Attributes
    ----------
    status
        ``"global optimum"``, ``"escape"`` or ``"not critical"`` (then nothing is claimed).
    spectral_norm
        ||G||_2, G = (P - Y) / N.
    threshold
        r = sqrt(lambda_W lambda_H), which ||G||_2 exceeds exactly at the points to escape from.
    stationarity
        Norm of the gradient, relative to those of its two parts.
    curvature
        Second derivative of f along (dW, dH), negative; the lowest eigenvalue of the Hessian is at
        most this. 0 unless escaping.
    dW, dH
        Unit direction, jointly of norm 1; zero unless escaping.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.theory import weight_decay_escape
    >>> found = weight_decay_escape(torch.zeros(2, 1), torch.zeros(2, 1), [0, 1], 0.1, 0.1)
    >>> found.status, found.curvature < 0, found.spectral_norm > found.threshold
    ('escape', True, True)
    """

    status: CriticalStatus
    spectral_norm: float
    threshold: float
    stationarity: float
    curvature: float
    dW: Float[Tensor, "K d"]
    dH: Float[Tensor, "N d"]


def weight_decay_escape(
    W: Any, H: Any, labels: Any, lambda_w: float, lambda_h: float, tolerance: float = 1e-6
) -> WeightDecayEscape:
    r"""Decide whether a critical point of cross-entropy with weight decay is a global minimum.

    With G = (P - Y) / N and r = sqrt(lambda_W lambda_H), a critical point is a global minimum if
    ||G||_2 <= r. Otherwise the Hessian has an eigenvalue of at most

    .. math:: \frac{\lambda_W + \lambda_H}{2}
        - \sqrt{\Bigl(\frac{\lambda_W - \lambda_H}{2}\Bigr)^2 + \|G\|_2^2} \;<\; 0,

    along (-a v z^T, b u z^T), with (u, v) the leading singular pair of G, z orthogonal to all rows
    of W and H, and (a, b) the lowest eigenvector of the 2 x 2 problem. Any class sizes. At the
    origin of balanced classes ||G||_2 = 1/(K sqrt(n)).

    Parameters
    ----------
    W
        (K, d) head, d >= K - 1.
    H
        (N, d) features.
    labels
        (N,) class indices 0..K-1 in any order, each class with a sample.
    lambda_w, lambda_h
        Strengths of decay, above 0.
    tolerance
        Relative, above 0: as in `escape_direction`.

    Returns
    -------
    WeightDecayEscape
        Status, the numbers behind it, and the direction.

    Raises
    ------
    NeuralCollapseError
        If shapes or labels do not fit, a number is not above 0, or d < K - 1.
    NonFiniteError
        If an entry is NaN or infinite.

    References
    ----------
    Zhu et al. 2021, Theorem 3.2, which assumes d > K and has a weaker curvature; d >= K - 1 and
    this one are ours.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.theory import weight_decay_escape
    >>> origin = torch.zeros(2, 1), torch.zeros(2, 1)
    >>> found = weight_decay_escape(*origin, [0, 1], lambda_w=0.1, lambda_h=0.1)
    >>> found.status, round(found.curvature, 6)
    ('escape', -0.4)
    """
    W, H = finite_matrix("W", W), finite_matrix("H", H)
    check_squares("W", W)
    check_squares("H", H)
    lambda_w, lambda_h = decay_strength("lambda_w", lambda_w), decay_strength("lambda_h", lambda_h)
    tolerance = positive("tolerance", tolerance)
    model = LayerPeeledModel(labels, W.shape[1], len(W))
    require_dimensions(model)
    G = model.residual(W, H) * (model.loss(W, H) / len(H))
    decay, pull = torch.cat([lambda_w * W, lambda_h * H]), torch.cat([G.T @ H, G @ W])
    size = float(decay.norm() + pull.norm())
    stationarity = float((decay + pull).norm()) / size if size else 0.0
    u, v, norm = leading_pair(G)
    threshold = math.sqrt(lambda_w * lambda_h)
    status: CriticalStatus = "not critical"
    curvature, dW, dH = 0.0, torch.zeros_like(W), torch.zeros_like(H)
    if stationarity <= tolerance:
        status = "global optimum" if norm <= threshold * (1 + tolerance) else "escape"
    if status == "escape":
        z = orthogonal_unit(W)
        coupling = torch.tensor([[lambda_w, -norm], [-norm, lambda_h]], dtype=torch.float64)
        lowest, vectors = torch.linalg.eigh(coupling)
        curvature, (a, b) = float(lowest[0]), vectors[:, 0]
        dW, dH = -a * torch.outer(v, z), b * torch.outer(u, z)
    return WeightDecayEscape(status, norm, threshold, stationarity, curvature, dW, dH)
