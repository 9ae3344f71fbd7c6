"""NC2 and NC3 by chance: shapes of random vectors, and angles of random directions."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from neuralcollapse.metrics.chance.chance import LUCK, NORMAL, Chance, chi_bar
from neuralcollapse.metrics.chance.covariance import representatives, scatter_of_means
from neuralcollapse.metrics.setting import Setting


def of_etf_distance(s: Setting) -> Chance:
    r"""Return sqrt(2 - 2/sqrt(1 + c)), c = (r+2)(r-1)/(r d+2) for equal classes, r = K-1."""
    trace, square = scatter_of_means(s)
    gram = s.dim * trace**2 + s.dim * (s.dim + 1) * square  # E ||G||^2
    aligned = s.dim**2 * trace**2 + 2 * s.dim * square  # E (tr G)^2
    value = _distance(aligned / (s.rank * gram))
    even = _distance((s.rank * s.dim + 2) / (s.rank * (s.rank + s.dim + 1)))
    return Chance(value, even * chi_bar(_shapes(trace**2 / square)))


def of_equinorm(s: Setting) -> Chance:
    r"""Return sqrt((K-2)/((K-1) 2 d)) c4(K), with the spread that unequal n_k add."""
    v = s.mean_variances
    even = _even_equinorm(s.num_classes, s.dim)
    lengths = np.sqrt(v * (1 - 2 / s.num_classes) + v.mean() / s.num_classes)
    center, deviation = float(lengths.mean()), float(lengths.std())
    value = math.hypot(even, deviation / center)
    if s.equal:
        return Chance(value, even * chi_bar(s.rank))
    # Each length has the relative deviation 1/sqrt(2 d).
    slope = ((lengths - center) / deviation - deviation / center) / (s.num_classes * center)
    noise = math.sqrt(float(((slope * lengths) ** 2).sum()) / (2 * s.dim))
    return Chance(value, min(value, NORMAL * noise + even))


def of_equiangular(s: Setting) -> Chance:
    r"""Return the mean of |N(m, s^2)|, m = cos of the covariances + 1/(K-1), s^2 = (1-cos^2)^2/d.

    For equal classes m = 0: sqrt(2/pi) sqrt(K (K-2)/((K-1)^2 d)).
    """
    from scipy.special import ndtr

    v, K = representatives(s.mean_variances), s.num_classes
    lengths = v * (1 - 2 / K) + s.mean_variances.mean() / K
    i, j = np.triu_indices(len(v), 1)
    if s.equal:
        i, j = np.array([0]), np.array([1])
    cosine = (s.mean_variances.mean() / K - (v[i] + v[j]) / K) / np.sqrt(lengths[i] * lengths[j])
    cosine = cosine.clip(-1, 1)
    mean, spread = cosine + 1 / (K - 1), np.sqrt((1 - cosine**2) / s.dim)
    spread = np.maximum(spread, 1e-12)
    folded = spread * math.sqrt(2 / math.pi) * np.exp(-((mean / spread) ** 2) / 2)
    value = float((folded + mean * (1 - 2 * ndtr(-mean / spread))).mean())
    trace, square = scatter_of_means(s)
    return Chance(value, _even_equiangular(K, s.dim) * chi_bar(_shapes(trace**2 / square)))


def of_head(chance: Callable[[Setting], Chance]) -> Callable[[Setting], Chance]:
    """Return the same of the rows of a head, which are independent and of one variance."""
    return lambda s: chance(Setting((1,) * s.rows, s.dim))


def of_self_duality(s: Setting) -> Chance:
    r"""Return E ||u - u'|| of independent directions in (K-1) d dimensions, near sqrt(2)."""
    return _between_directions(s.rank * s.dim)


def of_product_duality(s: Setting) -> Chance:
    r"""Return the same in (K-1) min(d, K-1) dimensions."""
    return _between_directions(s.rank * min(s.rank, s.dim))


def _even_equinorm(num_classes: int, dim: int) -> float:
    r = num_classes - 1
    c4 = math.sqrt(2 / r) * math.exp(math.lgamma(num_classes / 2) - math.lgamma(r / 2))
    return math.sqrt((num_classes - 2) / (r * 2 * dim)) * c4


def _even_equiangular(num_classes: int, dim: int) -> float:
    r = num_classes - 1
    return math.sqrt(2 / math.pi * num_classes * (num_classes - 2) / (r * r * dim))


def _distance(squared_cosine: float) -> float:
    return math.sqrt(max(2 - 2 * math.sqrt(squared_cosine), 0.0))


def _shapes(rank: float) -> float:
    """Return the dimension of symmetric matrices without trace, in so many directions."""
    return max((rank + 2) * (rank - 1) / 2, 1.0)


@lru_cache(maxsize=256)
def _between_directions(m: int) -> Chance:
    """Return the distance 2 sqrt(u) of two unit vectors in m dimensions, u of Beta(a, a)."""
    from scipy.special import betaincinv

    if m == 1:
        return Chance(1.0, 1.0)
    a = (m - 1) / 2
    value = 2 * math.exp(
        math.lgamma(a + 0.5) + math.lgamma(2 * a) - math.lgamma(a) - math.lgamma(2 * a + 0.5)
    )
    return Chance(value, value - 2 * math.sqrt(float(betaincinv(a, a, LUCK))))
