"""Minimise the regularised MSE model whose features are held near given ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from neuralcollapse.theory.near_features_objective import Expansion, NearFeaturesObjective
from neuralcollapse.theory.near_features_start import closed_form_starts
from neuralcollapse.theory.regularized import joint_gradient_norm
from neuralcollapse.theory.round_off import regular_systems
from neuralcollapse.theory.sufficient_statistics import (
    HasMoments,
    sufficient_statistics,
)
from neuralcollapse.theory.trust_region import trust_region_newton
from neuralcollapse.validation import (
    Array,
    check_choice,
    decay_strength,
    finite_matrix,
    integer_labels,
)

Method = Literal["newton", "alternating"]
Status = Literal["unique", "strict local minimum", "not unique", "not converged"]

PRECISION = 1e-12  # of the gradient norm, relative to 1 + beta ||H0|| / N
FLAT = 1e-9  # a curvature this small beside the dominant part of the Hessian counts as zero
TIE = 1e-12  # two values this close, relatively, count as equal
MOST_ALTERNATIONS = 5_000
MOST_STARTS = 64  # saddles that only round-off sees would go on for ever


@dataclass(frozen=True)
class NearFeaturesMinimizer:
    """A minimiser of the near-features model, and how far it can be trusted.

    Attributes
    ----------
    W
        (K, d) head weight.
    H
        (N, d) features in the order of H0; None when only moments were given.
    means, within
        (K, d) class means and (d, d) pooled within-class scatter of H.
    value
        The loss.
    gradient_norm
        Frobenius norm of the gradient over W and H together.
    iterations
        Newton steps (alternations) taken from the start that led here.
    unique
        Whether the strengths prove that there is no other stationary point.
    status
        ``"unique"``: proved the only one. ``"strict local minimum"``: the Hessian is positive
        definite and no lower point was found, but nothing proves that there is none.
        ``"not unique"``: a whole orbit of minimisers, or several of the same value; this is one of
        them. ``"not converged"``: the gradient norm is above its tolerance.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.theory import near_features_minimizer
    >>> H0 = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    >>> found = near_features_minimizer(H0, [0, 0, 1, 1], lambda_w=0.5, lambda_h=0.1, beta=3.0)
    >>> found.unique, float(found.within.trace()) < 0.25  # less spread than H0 has
    (True, True)
    """

    W: Float[Tensor, "K d"]
    H: Float[Tensor, "N d"] | None
    means: Float[Tensor, "K d"]
    within: Float[Tensor, "d d"]
    value: float
    gradient_norm: float
    iterations: int
    unique: bool
    status: Status


@regular_systems("lambda_w, lambda_h and beta")
def near_features_minimizer(
    H0: Any,
    labels: Any,
    lambda_w: float,
    lambda_h: float,
    beta: float,
    method: Method = "newton",
) -> NearFeaturesMinimizer:
    r"""Minimise the regularised MSE model with features held near H0.

    .. math:: f(W, H) = \frac1{2N} \|H W^\top - Y\|^2 + \frac{\lambda_W}{2K} \|W\|^2
                    + \frac{\lambda_H}{2N} \|H\|^2 + \frac\beta{2N} \|H - H_0\|^2

    H is eliminated, and what remains is minimised over the head by Newton's method in a trust
    region, at a cost that does not depend on the number of samples. If
    :math:`\beta + \lambda_H > \max_k (K n_k / N) / \lambda_W` the stationary point is unique, for
    every H0, and the descent begins at the best of several heads in closed form. Otherwise it is
    repeated from each of them, saddles are left along their direction of least curvature, both
    ways, and for d = K, where a reflected frame can trap the descent, both reflections are tried.

    Parameters
    ----------
    H0
        (N, d) features, or an object with ``means`` (K, d), ``within`` (d, d) pooled scatter and
        ``counts`` (K,).
    labels
        (N,) class indices 0..K-1 in any order, classes of any sizes; None when moments are given.
    lambda_w, lambda_h
        Strengths of the regularisation, above 0.
    beta
        Strength of the pull towards H0, above 0.
    method
        ``"newton"``, or ``"alternating"``: minimise over W and H in turn, which is monotone but
        only linear, at best with factor g / (g + beta), g = sqrt(lambda_h / lambda_w).

    Returns
    -------
    NearFeaturesMinimizer
        Head, features (or their moments), and status.

    Raises
    ------
    NeuralCollapseError
        If labels and features do not match, a strength is not positive, or the method is unknown.
    NonFiniteError
        If a number is NaN or infinite.

    References
    ----------
    Tirer, Huang & Niles-Weed 2023, Equation 2. The reduction, the condition for uniqueness and
    unequal class sizes are ours.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.theory import near_features_minimizer
    >>> H0 = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    >>> found = near_features_minimizer(H0, [0, 0, 1, 1], lambda_w=0.5, lambda_h=0.1, beta=3.0)
    >>> found.status, found.gradient_norm < 1e-12
    ('unique', True)
    """
    moments = sufficient_statistics(H0, labels)
    lambda_w, lambda_h = decay_strength("lambda_w", lambda_w), decay_strength("lambda_h", lambda_h)
    beta = decay_strength("beta", beta)
    objective = NearFeaturesObjective(moments, lambda_w, lambda_h, beta)
    num_classes, num_samples = len(moments.counts), int(moments.counts.sum())
    norm = math.sqrt(objective.energy * num_samples / num_classes)
    tolerance = PRECISION * (1 + beta * norm / num_samples)
    descend = _descent(objective, method, 0.1 * num_classes * tolerance)

    unique = beta + lambda_h > float(moments.weights.max()) / lambda_w
    best, iterations, strict = (
        (*descend(closed_form_starts(objective)[0]), True)
        if unique
        else _lowest(objective, descend, num_classes * tolerance)
    )
    W = torch.from_numpy(best.argument)
    means, within = (torch.from_numpy(part) for part in objective.best_moments(best.argument))
    gradient_norm = float(np.linalg.norm(best.gradient)) / num_classes
    H = None
    if not isinstance(H0, HasMoments):
        rows, target = finite_matrix("H0", H0).cpu(), integer_labels("labels", labels, num_samples)
        shrinkage = torch.from_numpy(objective.shrinkage(best.argument))
        H = (W[target] + beta * rows) @ shrinkage
        pull = lambda_h * H + beta * (H - rows)
        gradient_norm = joint_gradient_norm(W, H, target, lambda_w, pull)
    status: Status = "strict local minimum" if strict else "not unique"
    if gradient_norm > tolerance:
        status = "not converged"
    elif unique:
        status = "unique"
    value = best.value / num_classes
    return NearFeaturesMinimizer(
        W, H, means, within, value, gradient_norm, iterations, unique, status
    )


Descent = Callable[[Array], tuple[Expansion, int]]


def _descent(objective: NearFeaturesObjective, method: str, tolerance: float) -> Descent:
    check_choice("method", method, ("newton", "alternating"))
    if method == "newton":
        return lambda start: trust_region_newton(objective.expand, start, tolerance)
    return lambda start: _alternate(objective, start, tolerance)


def _alternate(
    objective: NearFeaturesObjective, start: Array, tolerance: float
) -> tuple[Expansion, int]:
    """Minimise over features and head in turn, both in terms of the moments."""
    point = objective.expand(start)
    for iteration in range(MOST_ALTERNATIONS):
        if np.linalg.norm(point.gradient) <= tolerance:
            return point, iteration
        point = objective.expand(objective.best_head(*objective.best_moments(point.argument)))
    return point, MOST_ALTERNATIONS


def _lowest(
    objective: NearFeaturesObjective, descend: Descent, tolerance: float
) -> tuple[Expansion, int, bool]:
    """Descend from every start and past every saddle; say whether the lowest point is strict."""
    starts = closed_form_starts(objective)
    starts += _reflection(starts[0])
    found = []
    for start in islice(starts, MOST_STARTS):  # grows while saddles are met
        point, iterations = descend(start)
        curvature, direction = _least_curvature(point)
        beside = (
            [_beside(point, direction), _beside(point, -direction)] if curvature < -FLAT else []
        )
        starts += [lower for lower in beside if lower is not None]
        found.append((point, iterations, curvature > FLAT))
    least = min(point.value for point, *_ in found)
    level = [run for run in found if run[0].value - least <= TIE * abs(least)]
    settled = [run for run in level if np.linalg.norm(run[0].gradient) <= tolerance]
    best, *others = settled or level
    tied = any(
        not np.allclose(point.argument, best[0].argument, rtol=1e-5, atol=1e-5)
        for point, *_ in others
    )
    return best[0], best[1], best[2] and not tied


def _reflection(start: Array) -> list[Array]:
    """For d = K, the start with its least singular direction reflected."""
    num_classes, dim = start.shape
    if num_classes != dim:
        return []  # frames of fewer or more vectors than dimensions form a connected set
    left, singular, right = np.linalg.svd(start)
    singular[-1] *= -1
    return [(left * singular) @ right]


def _least_curvature(point: Expansion) -> tuple[float, Array]:
    """Lowest eigenvalue of the scaled Hessian, to 1 % or within FLAT, and its eigenvector."""
    shape, size = point.argument.shape, point.argument.size

    def shifted(vector: Array) -> Array:
        # The shift makes the relative tolerance of the eigensolver an absolute one near zero.
        return point.scaled_hessian(vector.reshape(shape)).ravel() + FLAT * vector

    values, vectors = eigsh(
        LinearOperator((size, size), matvec=shifted, dtype=np.float64),
        k=1,
        which="SA",
        tol=0.01,
        v0=np.random.default_rng(0).normal(size=size),
    )
    direction = point.unscale(vectors[:, 0].reshape(shape))
    return float(values[0]) - FLAT, direction / np.linalg.norm(direction)


def _beside(saddle: Expansion, direction: Array) -> Array | None:
    """Return a lower point beside a saddle, if there is one that rounding can tell."""
    size = max(1.0, float(np.linalg.norm(saddle.argument)))
    for length in size * 0.1 ** np.arange(1, 8):
        point = saddle.argument + length * direction
        if saddle.objective.expand(point).value < saddle.value * (1 - TIE):
            return point
    return None
