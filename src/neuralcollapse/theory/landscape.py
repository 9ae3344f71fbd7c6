"""The landscape of the layer-peeled model: each critical point is optimal, or has a way down."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.geometry.sel import simplex_encoded_spectrum
from neuralcollapse.theory.kkt import dual_matrix, kkt_residuals
from neuralcollapse.theory.layer_peeled import LayerPeeledModel
from neuralcollapse.validation import (
    check_size,
    class_counts,
    finite_matrix,
    positive,
    simplex_dim,
    whole_number,
)

CriticalStatus = Literal["global optimum", "escape", "not critical"]


@dataclass(frozen=True)
class EscapeDirection:
    """What a point of the layer-peeled model is, and the way down from it if there is one.

    Attributes
    ----------
    status
        ``"global optimum"``: the least loss on its sphere (of KKT points, the least norm).
        ``"escape"``: a critical point with a direction of descent. ``"not critical"``: the
        stationarity residual exceeds the tolerance, so nothing is claimed.
    spectral_norm
        ||G||_2, G the derivative of log L by the logits.
    multiplier
        kappa, with grad log L = -kappa (W, H).
    stationarity
        ||grad log L + kappa (W, H)|| / ||grad log L||, or that of the KKT conditions.
    curvature
        Second derivative of log L on the sphere along (dW, dH), negative; 0 unless escaping.
    dW, dH
        Unit direction, jointly of norm 1 and tangent to the sphere; zero unless escaping.

    Examples
    --------
    >>> from neuralcollapse.theory import escape_direction, separation_optimum
    >>> best = separation_optimum([2, 2], dim=2)
    >>> escape_direction(best.W, best.H, best.labels, best.multipliers).status
    'global optimum'
    """

    status: CriticalStatus
    spectral_norm: float
    multiplier: float
    stationarity: float
    curvature: float
    dW: Float[Tensor, "K d"]
    dH: Float[Tensor, "N d"]

    @property
    def rate(self) -> float:
        """Exponent of log t with which the flow leaves: perturbation / norm ~ (log t)^rate."""
        return (self.spectral_norm / self.multiplier - 1) / 2


def escape_direction(
    W: Any, H: Any, labels: Any, multipliers: Any = None, tolerance: float = 1e-6
) -> EscapeDirection:
    r"""Decide whether a critical point is globally optimal, and if not, find the way down.

    At a critical point of L on a sphere, G^T H = -kappa W and G W = -kappa H. For d >= K - 1:

    .. math:: \|G\|_2 \le \kappa \text{: global optimum}; \qquad
        \|G\|_2 > \kappa \text{: } (dW, dH) = (-v z^\top, u z^\top)/\sqrt 2
        \text{ has curvature } -(\|G\|_2 - \kappa),

    with (u, v) the leading singular pair of G and z a unit vector orthogonal to all rows of W and
    H, which then exists. Along it the logits change by exactly -delta^2 u v^T / 2. Where
    kappa < 0 the direction is (W, -H) instead, of curvature 2 kappa. The KKT points of
    minimum-norm separation obey the same law, with G = -A from their multipliers.

    Parameters
    ----------
    W
        (K, d) head, d >= K - 1.
    H
        (N, d) features.
    labels
        (N,) class indices 0..K-1 in any order, each class with a sample.
    multipliers
        (N, K) at margin 1. If given, the point is judged as a KKT point, at any positive margin,
        and all numbers are the limits for log L as its scale grows. A suboptimal KKT point need
        not be a critical point of L at finite norm: it is one if its multipliers are equal.
    tolerance
        Relative, above 0: residuals below it count as critical, and a spectral norm that exceeds
        kappa by less counts as optimal.

    Returns
    -------
    EscapeDirection
        Status, the numbers behind it, and the direction.

    Raises
    ------
    NeuralCollapseError
        If shapes, labels or tolerance do not fit, d < K - 1, W and H are zero, or the loss itself
        is stationary (kappa = 0).
    NonFiniteError
        If an entry is NaN or infinite.

    References
    ----------
    Ji et al. 2022, Theorem 3.3. That d = K - 1 is enough, the curvature, and the cases of KKT
    points and of kappa < 0 are ours.

    Examples
    --------
    >>> from neuralcollapse.theory import escape_direction, paired_kkt_point
    >>> point = paired_kkt_point()
    >>> found = escape_direction(point.W, point.H, point.labels, point.multipliers)
    >>> found.status, round(found.curvature, 6), round(found.rate, 6)
    ('escape', -0.25, 0.5)
    """
    W, H = finite_matrix("W", W), finite_matrix("H", H)
    tolerance = positive("tolerance", tolerance)
    model = LayerPeeledModel(labels, W.shape[1], len(W))
    require_dimensions(model)
    if multipliers is None:
        G = model.residual(W, H)
        kappa, stationarity = _sphere_multiplier(W, H, G)
    else:
        found = kkt_residuals(W, H, labels, multipliers)
        total = float(found.multipliers.sum())
        G, kappa = -dual_matrix(found.multipliers, model.labels) / total, 1 / total
        stationarity = found.largest
    u, v, norm = leading_pair(G)
    status: CriticalStatus = "not critical"
    curvature, dW, dH = 0.0, torch.zeros_like(W), torch.zeros_like(H)
    if stationarity <= tolerance:
        if abs(kappa) <= tolerance * norm:
            expected = "a critical point of a sphere, with a gradient along the radius"
            got = f"a stationary point of the loss itself (kappa = {kappa:.3g})"
            remedy = "perturb it: no such point is a minimum (see origin_spectrum for W = H = 0)"
            raise NeuralCollapseError("W, H", expected, got, remedy)
        if kappa < 0:
            status, curvature = "escape", 2 * kappa
            dW, dH = W, -H
        elif norm <= kappa * (1 + tolerance):
            status = "global optimum"
        else:
            status, curvature = "escape", kappa - norm
            z = orthogonal_unit(W)
            dW, dH = -torch.outer(v, z), torch.outer(u, z)
        if status == "escape":
            length = math.hypot(float(dW.norm()), float(dH.norm()))
            dW, dH = dW / length, dH / length
    return EscapeDirection(status, norm, kappa, stationarity, curvature, dW, dH)


def origin_spectrum(class_sizes: Any, dim: int) -> Float[Tensor, " m"]:
    """Return the eigenvalues of the Hessian of L at W = H = 0, a strict saddle.

    They are plus and minus the singular values of the simplex-encoded labels, d times each, and 0.

    Parameters
    ----------
    class_sizes
        (K,) samples n_k >= 1 of each class.
    dim
        d >= 1.

    Returns
    -------
    Tensor of shape (d (K + N),), float64
        Ascending; balanced classes start at -sqrt(n).

    Raises
    ------
    NeuralCollapseError
        If a class size is no whole number above zero, there are fewer than two, or d < 1.

    References
    ----------
    Ours.

    Examples
    --------
    >>> from neuralcollapse.theory import origin_spectrum
    >>> origin_spectrum([4, 4], dim=1).round(decimals=6)
    tensor([-2., 0., 0., 0., 0., 0., 0., 0., 0., 2.], dtype=torch.float64)
    """
    sizes = class_counts("class_sizes", class_sizes).cpu()
    dim = whole_number("dim", dim)
    check_size("dim", len(sizes), dim)
    check_size("class_sizes", len(sizes) + int(sizes.sum()), dim)
    values = simplex_encoded_spectrum(sizes).repeat_interleave(dim)
    zeros = torch.zeros(dim * (len(sizes) + int(sizes.sum())) - 2 * len(values)).double()
    return torch.cat([-values, zeros, values.flip(0)])


def require_dimensions(model: LayerPeeledModel) -> None:
    """Refuse d < K - 1, where critical points of full rank need not be optimal."""
    remedy = "with fewer dimensions a critical point may be neither optimal nor escapable this way"
    simplex_dim(model.dim, model.num_classes, remedy)


def leading_pair(G: Tensor) -> tuple[Float[Tensor, " N"], Float[Tensor, " K"], float]:
    """Return the leading singular vectors (N,) and (K,) and the singular value of G."""
    left, singular, right = torch.linalg.svd(G, full_matrices=False)
    return left[:, 0], right[0], float(singular[0])


def orthogonal_unit(W: Tensor) -> Float[Tensor, " d"]:
    """Return a unit vector orthogonal to all rows of W, whose rank must be below d."""
    return torch.linalg.svd(W, full_matrices=True)[2][-1]


def _sphere_multiplier(W: Tensor, H: Tensor, G: Tensor) -> tuple[float, float]:
    """Return kappa of grad log L = -kappa (W, H) in least squares, and the relative residual."""
    point, gradient = torch.cat([W, H]), torch.cat([G.T @ H, G @ W])
    if not point.any():
        raise NeuralCollapseError(
            "W, H", "a point other than the origin", "W = H = 0", "see origin_spectrum"
        )
    kappa = -float((gradient * point).sum() / point.square().sum())
    length = float(gradient.norm())
    residual = float((gradient + kappa * point).norm())
    return kappa, residual / length if length else 0.0
