"""NC1 by chance: ratios of chi-squares."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch

from neuralcollapse.metrics.chance.chance import LUCK, Chance, chi_square_quantile
from neuralcollapse.metrics.chance.covariance import representatives, scatter_of_means
from neuralcollapse.metrics.setting import Setting


def of_trace_ratio(s: Setting) -> Chance:
    r"""Return tr Σ_W / tr Σ_B = (n-1) K/(K-1) F, F with (N-K) d and (K-1) d degrees of freedom."""
    from scipy.special import fdtri

    within, between, scale = _variance_ratio(s, s.dim)
    # Up to 4 degrees of freedom the mean says little: it is that of a few huge values.
    middle = between / (between - 2) if between > 4 else fdtri(max(within, 1), between, 0.5)
    value = scale * float(middle)
    return Chance(value, max(value - _least_trace_ratio(s, s.dim), 0.0))


def of_pinv(s: Setting) -> Chance:
    r"""Return tr(Σ_W Σ_B^+)/K: E (Wishart)^-1 has a closed form unless K - 2 <= d <= K."""
    spread = 1 - s.num_classes / s.num_samples  # of Sw, in units of a sample's variance
    sizes = np.array(s.class_sizes, dtype=float)
    if s.dim > s.num_classes:  # (CVC)^+ = D - n n^T / N
        value = spread * (sizes.sum() - (sizes**2).sum() / sizes.sum()) / (s.dim - s.num_classes)
    elif s.dim < s.num_classes - 2:
        value = spread * _inverse_trace(s)
    else:
        value = spread * _median_inverse_trace(s.rank, s.dim) / s.mean_variances.mean()
    # By the inequality of the means, tr(Σ_B^+) >= q^2 / tr Σ_B for q directions.
    filled = min(s.rank, s.dim)
    bound = filled**2 / (s.dim * s.num_classes) * _least_trace_ratio(s, filled)
    return Chance(float(value), max(float(value) - bound, 0.0))


def of_cdnv(s: Setting) -> Chance:
    r"""Return the mean of (2 - v_i - v_j) / (2 (v_i + v_j)) over pairs, times d/(d-2)."""
    v = representatives(s.mean_variances)
    i, j = np.triu_indices(len(v), 1)
    if s.equal:
        i, j = np.array([0]), np.array([1])
    ratio = float(((2 - v[i] - v[j]) / (2 * (v[i] + v[j]))).mean())
    # Of 1/distance^2 the mean over pairs is at least 1 over that of distance^2.
    bound = s.rank / (2 * s.num_classes) * _least_trace_ratio(s, s.dim)
    value = ratio * s.dim / (s.dim - 2 if s.dim > 2 else chi_square_quantile(0.5, s.dim))  # median
    return Chance(value, max(value - bound, 0.0))


def of_vci(s: Setting) -> Chance:
    r"""Return 1 - max(d, K-1)/(N-1), that of any features of rank d under permuted labels."""
    from scipy.special import betaincinv

    m, p, q = s.num_samples - 1, s.dim, s.rank
    value = 1 - max(p, q) / m if m else 0.0
    if m <= max(p, q):
        return Chance(0.0, 0.0)
    variance = 2 * p * q * (m - p) * (m - q) / (m * m * (m - 1) * (m + 2)) / min(p, q) ** 2
    a = value * (value * (1 - value) / variance - 1)
    return Chance(value, value - float(betaincinv(a, a * (1 - value) / value, LUCK)))


def _variance_ratio(s: Setting, directions: int) -> tuple[float, float, float]:
    """Return degrees of freedom of Sw in some directions, of Sb, and the ratio of their means."""
    trace, square = scatter_of_means(s)
    within = (s.num_samples - s.num_classes) * directions
    scale = (1 - s.num_classes / s.num_samples) * s.num_classes / trace
    return within, s.dim * trace**2 / square, scale


def _least_trace_ratio(s: Setting, directions: int) -> float:
    from scipy.special import fdtri

    within, between, scale = _variance_ratio(s, directions)
    return scale * float(fdtri(within, between, LUCK)) if within else 0.0


def _inverse_trace(s: Setting) -> float:
    r"""Return E tr (Sum_k v_k z_k z_k^T)^-1 for d < K - 2 directions.

    By the identity d = sum_k v_k t / (1 + v_k t) for the trace t, with which K classes count as
    K - 2, exact for equal ones.
    """
    v, share = s.mean_variances, s.dim * s.num_classes / (s.num_classes - 2)
    low, high = -50 - math.log(v.max()), 50 - math.log(v.min())
    for _ in range(64):  # bisection: the sum grows with t
        middle = (low + high) / 2
        x = v * math.exp(middle)
        low, high = (middle, high) if (x / (1 + x)).sum() < share else (low, middle)
    return math.exp(low)


@lru_cache(maxsize=64)
def _median_inverse_trace(rank: int, dim: int) -> float:
    """Return the median of tr G^-1 of r x d Gaussians, r and d alike: there is no finite mean.

    Its scale is r, since the least eigenvalue is about 1/r: 30 rows stand for more.
    """
    small = min(rank, 30)
    draws = torch.randn(
        401,
        small,
        small + dim - rank,
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(0),
    )
    traces = torch.linalg.svdvals(draws).square().reciprocal().sum(1)
    return float(traces.median()) * rank / small
