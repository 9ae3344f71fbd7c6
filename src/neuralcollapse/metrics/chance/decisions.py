"""Decisions by chance: the nearest mean of samples that are counted in it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from neuralcollapse.metrics.chance.chance import LUCK, Chance
from neuralcollapse.metrics.setting import Setting

NODES = 32  # of a quadrature


def of_accuracy(s: Setting) -> Chance:
    """Return 1/K, what guessing attains on classes of equal size."""
    return Chance(1 / s.rows, _share_bar(1 / s.rows, s))


def of_nearest_mean(s: Setting) -> Chance:
    """Return the accuracy of the nearest mean: 1/K on fresh samples, more on its own."""
    value = 1 / s.num_classes if s.fresh else own_nearest_mean(s.class_sizes, s.dim)
    return Chance(value, _share_bar(value, s))


def of_agreement(s: Setting) -> Chance:
    """Return how often two rules agree that know nothing of each other.

    On its own samples, where the nearest mean is right by chance, so is a head that fits them.
    """
    return of_nearest_mean(s)


@lru_cache(maxsize=64)
def own_nearest_mean(class_sizes: tuple[int, ...], dim: int) -> float:
    r"""Return how often a sample is nearest to the mean of its own class, itself counted in it.

    .. math:: E \prod_{j \ne k} \Bigl(1 - F_j\bigl(\tfrac{n_j (n_k-1)}{n_k^2} Y\bigr)\Bigr)

    with rho = ||x||^2 of chi^2_d, Y of the noncentral chi'^2_d((n_k - 1) rho), and F_j the
    distribution of chi'^2_d(n_j rho). It tends to 1 as d grows beside n.
    """
    from scipy.special import ndtr, ndtri

    groups = np.array_split(np.sort(np.array(class_sizes, dtype=float)), 12)
    sizes, times = np.array([(g[len(g) // 2], len(g)) for g in groups if len(g)]).T
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    normal, weights = ndtri((nodes + 1) / 2), weights / 2
    shape, center, scale = _sankaran(dim, np.zeros(1))
    rho = dim * (center + scale * normal).clip(0) ** (1 / shape)
    rho = rho[:, None]
    shares = []
    for k, n in enumerate(sizes):
        if n == 1:  # a class of one sample has it for its mean
            shares.append(1.0)
            continue
        shape, center, scale = _sankaran(dim, (n - 1) * rho)
        y = (dim + (n - 1) * rho) * (center + scale * normal).clip(0) ** (1 / shape)
        lost = np.zeros_like(y)
        for j, m in enumerate(sizes):
            shape, center, scale = _sankaran(dim, m * rho)
            ratio = m * (n - 1) / n**2 * y / (dim + m * rho)
            farther = ndtr(-(ratio**shape - center) / scale)
            lost += (times[j] - (j == k)) * np.log(farther.clip(1e-300))
        shares.append(float(weights @ np.exp(lost) @ weights))
    return float(np.average(shares, weights=sizes * times).clip(0, 1))


def _sankaran(dim: int, noncentrality: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return h, m and s with (X / E X)^h of N(m, s^2), nearly, for X of chi'^2_d.

    Sankaran 1963, "Approximations to the non-central chi-square distribution".
    """
    total = dim + noncentrality
    spread = (dim + 2 * noncentrality) / total**2
    h = 1 - 2 / 3 * total * (dim + 3 * noncentrality) / (dim + 2 * noncentrality) ** 2
    m = (h - 1) * (1 - 3 * h)
    center = 1 + h * spread * (h - 1 - 0.5 * (2 - h) * m * spread)
    return h, center, h * np.sqrt(2 * spread) * (1 + 0.5 * m * spread)


def _share_bar(value: float, s: Setting) -> float:
    """Return how far a share gets by chance: of samples, and of heads, whose spread is far more.

    Of the Beta distribution with variance p (1 - p) (1/N + 1/(K d)).
    """
    from scipy.special import betaincinv

    freedom = 1 / (1 / s.num_samples + 1 / (s.rows * s.dim))
    if not 0 < value < 1:
        return 0.0
    highest = float(betaincinv(value * freedom, (1 - value) * freedom, 1 - LUCK))
    return min(1 - value, highest - value + 0.1 * (1 - highest))
