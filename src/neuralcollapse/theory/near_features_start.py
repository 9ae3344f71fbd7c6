"""Where to begin the search for the near-features minimiser: closed forms, exact in limits."""

from __future__ import annotations

import numpy as np

from neuralcollapse.theory.near_features_objective import NearFeaturesObjective
from neuralcollapse.validation import Array


def closed_form_starts(objective: NearFeaturesObjective) -> list[Array]:
    r"""Return heads in closed form, improved by one alternation each, the one of least value first.

    The optimal head of H0 is exact for large beta. The other two are exact without deviations:
    balanced classes decouple along the singular vectors of their means, and as beta vanishes, each
    class does along its row of the orthonormal frame nearest to them, so that what would be a long
    way along the orbit of rotations is made in one step. Each direction's length is the least
    point of

    .. math:: \frac{w^2 c - 2 w b + a}{2 (1 + w^2 / \mu)} + \frac{\lambda_W}2 w^2,

    with b and c the alignment of head and features and the features' scatter along it, and a the
    weight of its classes.

    Parameters
    ----------
    objective
        The reduced objective.

    Returns
    -------
    list of ndarray of shape (K, d)
        The heads: three, or for balanced classes two.
    """
    starts = [
        objective.best_head(objective.means, objective.within),
        _by_singular_vector(objective),
    ]
    if np.ptp(objective.weights):
        starts.append(_by_class(objective))
    improved = [objective.best_head(*objective.best_moments(W)) for W in starts]
    return sorted(improved, key=lambda W: objective.expand(W).value)


def _by_singular_vector(objective: NearFeaturesObjective) -> Array:
    root = np.sqrt(objective.weights)[:, None]
    left, _, right = np.linalg.svd(root * objective.means, full_matrices=False)
    return (left * _lengths(objective, left.T, right)) @ right


def _by_class(objective: NearFeaturesObjective) -> Array:
    weights, mu, lambda_w = objective.weights, objective.mu, objective.lambda_w
    fit = 1 - np.sqrt(mu * lambda_w / weights)  # of the minimiser for vanishing beta
    radii = np.sqrt(fit.clip(min=0) * np.sqrt(lambda_w / (mu * weights)))
    left, _, right = np.linalg.svd(
        (weights * radii)[:, None] * objective.means, full_matrices=False
    )
    frame = left @ right
    return _lengths(objective, np.eye(len(frame)), frame)[:, None] * frame


def _lengths(objective: NearFeaturesObjective, labels: Array, features: Array) -> Array:
    """Best lengths of the heads w labels_i features_i^T, each for itself."""
    mu, axes = objective.mu, features @ objective.axes
    # With w = sqrt(mu) t the slope vanishes at the roots of
    # 2 p t^5 + 4 p t^3 + b t^2 + (c + 2 p - a) t - b,    p = lambda_w mu / 2.
    p = objective.lambda_w * mu / 2
    a = (labels**2) @ objective.weights
    b = np.sqrt(mu) * ((labels @ objective.cross) * axes).sum(1)
    c = mu * (axes**2) @ objective.scales
    companion = np.zeros((len(a), 5, 5))
    companion[:, range(1, 5), range(4)] = 1
    companion[:, :, 4] = -np.stack([-b, c + 2 * p - a, b, 4 * p + 0 * a, 0 * a], 1) / (2 * p)
    # The real part of a complex root is a point like any other, only never the lowest.
    t = np.linalg.eigvals(companion).real
    a, b, c = a[:, None], b[:, None], c[:, None]
    with np.errstate(over="ignore", invalid="ignore"):  # far out, where none is the lowest
        values = (c * t**2 - 2 * b * t + a) / (1 + t**2) / 2 + p * t**2
    lowest = np.where(np.isnan(values), np.inf, values).argmin(1)
    return np.sqrt(mu) * t[range(len(t)), lowest]
