r"""Corrected values: estimates of a metric for the distribution, from a sample of it.

Few samples per class add noise to the class means, which lengthens them and turns them: spread
relative to distance looks smaller than it is, and geometry looks worse. Each function removes
the bias to first order or better; the plain values are in the files of their phenomena.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from neuralcollapse.metrics.estimates.class_sample import ClassSample, centered

LEAST_LENGTH = 0.1  # of the plain square of a mean, below which the clean one is not taken
LARGEST_CORRECTION = 0.25  # of nc1_pinv, relative: beyond it the series is no guide
LEAST_DIVISOR = 0.2
FREE_FOR_INTERVAL = 3.5  # degrees of freedom over d, from which VCI has an interval
LONGEST_TAILS = 0.5  # kurtosis times d over the root of nu: 0.1 at most if normal, above 1 for t5
CLEAR_OF_NOISE = 0.5  # of the noise, at least so large must each theta be for an interval of VCI
LEAST_APART = 1.5  # standard errors of a distance, below which a ratio to it is a guess
APART_FOR_INTERVAL = 3.0  # from 3 to 4 intervals cover 93 %, above 95 %; from 2 to 2.5 it is 85 %


@dataclass(frozen=True)
class Corrected:
    """How the corrected value of a metric is found, and on which scale it has an interval.

    Attributes
    ----------
    function
        Function from the sample to a value on its own scale: for distances, a signed square.
    scale
        ``"log"`` for positive values, ``"square"`` for signed squares.
    back
        Function from a signed square to the metric; if omitted, the square root of its positive
        part.
    pairs
        Whether it needs K x K matrices.
    probe
        Directions L (m, d) through which the value depends on the scatter S, as tr(L S L^T) to
        first order; omitted if it depends on S only through the traces of the classes.
    apart
        How many standard errors the distance of class means is from 0, if it divides by that.
    """

    function: Callable[[ClassSample], float]
    scale: Literal["log", "square"]
    back: Callable[[float], float] | None = None
    pairs: bool = False
    probe: Callable[[ClassSample], Tensor | None] | None = None
    apart: Callable[[ClassSample], float] = lambda _: math.inf

    def value(self, sample: ClassSample, change: float = 0.0) -> float:
        """Return the value plus a change, on the scale of its interval; NaN if undefined."""
        found = self.function(sample) + change
        if self.scale == "square":
            return found
        return math.log(found) if found > 0 else (-math.inf if found == 0 else math.nan)

    def metric(self, value: float) -> float:
        """Return the metric of a value on that scale."""
        if self.scale == "log":
            return math.exp(value)
        if math.isnan(value):
            return value
        return math.sqrt(max(value, 0.0)) if self.back is None else self.back(value)


def corrected_trace_ratio(sample: ClassSample) -> float:
    r"""Return the corrected trace ratio, W T K / (T^2 + V(T)) with W = sum pi_k v_k.

    T / (T^2 + V) is a regularised 1 / T: where the noise is as large as T it stays finite.
    """
    within = float(sample.share @ sample.spreads)
    total = sample.total
    return _over(within * total * len(sample), total**2 + sample.variance_of_total)


def corrected_cdnv(sample: ClassSample) -> float:
    r"""Return the corrected CDNV: the mean over pairs of (v_i + v_j)/2 max(D, 0)/(D^2 + V_D).

    D is the squared distance less v_i/n_i + v_j/n_j, and V_D = 4 a c + 2 t_2 c^2 its variance.
    """
    factors, distances, _ = _pair_factors(sample)
    return _mean_of_pairs(factors * distances.clamp_min(0))


def total_apart(sample: ClassSample) -> float:
    """Return how many standard errors T, of all class means, is from 0."""
    return _over(sample.total, math.sqrt(sample.variance_of_total))


def pairs_apart(sample: ClassSample) -> float:
    """Return the same of D: the harmonic mean over pairs, each weighted by its part of the CDNV."""
    factors, distances, variances = _pair_factors(sample)
    noise = _mean_of_pairs(factors * variances.sqrt())
    return _over(_mean_of_pairs(factors * distances.clamp_min(0)), noise)


def corrected_etf(sample: ClassSample) -> float:
    r"""Return the signed squared variation of the spectrum, r (tr G*^2 - V(G))/(T^2 - V(T)) - 1.

    Its square root is the coefficient of variation of the eigenvalues of the Gram matrix; 0 for
    an ETF, for samples of which it is as often below 0 as above. See `etf_distance_of`.
    """
    square = sample.total**2 - sample.variance_of_total
    return _over(sample.rank * (sample.squared_gram - sample.variance_of_gram), square) - 1


def etf_distance_of(variation: float) -> float:
    """Return the distance of a Gram matrix from an ETF that has this squared variation."""
    return math.sqrt(max(2 - 2 / math.sqrt(1 + max(variation, 0.0)), 0.0))


def corrected_equinorm(sample: ClassSample) -> float:
    """Return the signed squared variation of lengths, less what the noise of the means adds."""
    squares = _clean_squares(sample)
    if squares is None:
        return math.nan
    lengths, size = squares.sqrt(), len(sample)
    c = sample.c * (1 - 2 / size) + sample.c.mean() / size
    noise = (sample.clean_seen * c + sample.pooled.t2 * c.square() / 2) / squares
    spread = lengths.var(correction=0) - (1 - 1 / size) * noise.mean()
    return float(spread / lengths.mean().square())


def corrected_equiangular(sample: ClassSample) -> float:
    r"""Return the signed square of mean |cos + 1/(K-1)|, (mean |delta|)^2 - (2/pi) mean s_ij^2.

    s_ij^2 is the variance of a cosine: that of normal noise has mean modulus sqrt(2/pi) s.
    """
    q, gram = _clean_squares(sample), sample.gram
    if q is None:
        return math.nan
    lengths = q.sqrt()
    cosines = gram / (lengths[:, None] * lengths)
    seen, C = sample.gram_seen, centered(sample.c)
    a = seen / (lengths[:, None] * lengths)
    own, c = a.diagonal(), cosines
    g_i = (own - 2 * c * a + c.square() * own[:, None]) / q[:, None]
    cross = (a - c * own[:, None] - c * own + c.square() * a) / (lengths[:, None] * lengths)
    wide = C.diagonal()
    variance = (g_i * wide[:, None] + (g_i * wide[:, None]).T + 2 * cross * C
                + sample.pooled.t2 * wide[:, None] * wide / (q[:, None] * q))  # fmt: skip
    absolute = _mean_of_pairs((cosines + 1 / sample.rank).abs())
    return absolute**2 - 2 / math.pi * _mean_of_pairs(variance)


def corrected_self_duality(sample: ClassSample) -> float:
    r"""Return the signed squared distance of head and means, 2 - 2 <W, M> / (|W| sqrt T).

    The head is fixed: the samples must not be those it was fitted to.
    """
    assert sample.head is not None
    if not sample.total > 0:
        return math.nan
    inner = float((sample.head * sample.rows).sum())
    return 2 - 2 * _over(inner, float(sample.head.norm()) * math.sqrt(sample.total))


def corrected_pinv(sample: ClassSample) -> float:
    r"""Return nc1_pinv with its two terms of bias taken out, p / max(1 + b_1 + b_2, 0.2).

    NaN if together they exceed a quarter, or if there are more classes than features, so that the
    Gram matrix has no inverse in the space of the class means.
    """
    plain, offset, variance = pinv_terms(sample)
    large = not abs(offset) + abs(variance) <= LARGEST_CORRECTION
    if large and sample.whole is None:  # a part follows the decision for the whole
        return math.nan
    return plain / max(1 + offset + variance, LEAST_DIVISOR)


def pinv_probe(sample: ClassSample) -> Tensor | None:
    r"""Return the directions of `corrected_pinv`: H M over the root of what it is divided by."""
    plain, offset, variance = pinv_terms(sample)
    if not plain > 0:
        return None
    values, vectors = sample.spectrum
    divisor = max(1 + offset + variance, LEAST_DIVISOR)
    return vectors.T @ sample.rows / (values[:, None] * math.sqrt(divisor))


def pinv_terms(sample: ClassSample) -> tuple[float, float, float]:
    r"""Return p = tr(H A H), H = G^+, and its relative biases b_1 and b_2.

    .. math:: p\, b_1 = -2\, \mathrm{tr}(C_v H^2 A H) + t_2\, \mathrm{tr}(H C H), \qquad
        p\, b_2 = \mathrm{tr}\bigl(A^* [H^2 E(H) H + H E(H^2) H + H E(H) H^2]\bigr)
        - 2\, \mathrm{tr}(E_2(H) H^2)

    b_1 comes from the noise's offset of the Gram matrix, b_2 from its variance; E(X) is the mean
    of N X N over the noise N of the Gram matrix, and E_2 that with S between.
    """
    if sample.rank > sample.rows.shape[1] or sample.rank < 1:
        return math.nan, math.nan, math.nan
    pooled, C, C_v = sample.pooled, centered(sample.c), centered(sample.noise)
    values, vectors = sample.spectrum
    H = (vectors / values) @ vectors.T
    A = sample.seen @ sample.rows.T
    clean = A - pooled.t2 * C
    square = sample.seen @ sample.seen.T  # M S^2 M^T
    clean_square = (square - A * (pooled.t1 / pooled.nu)) / (1 + 1 / pooled.nu) - pooled.t3 * C
    H2 = H @ H
    plain = float((H2 * A).sum())

    def mean(X: Tensor, seen: Tensor, t: float) -> Tensor:
        XC, seen_X = X @ C, seen @ X
        twice = seen_X @ C + C @ X @ seen
        return twice + XC.trace() * seen + seen_X.trace() * C + t * (C @ XC + XC.trace() * C)

    first = -2 * float((C_v * (H2 @ A @ H).T).sum()) + pooled.t2 * float((H2 * C).sum())
    E, E_square = mean(H, clean, pooled.t2), mean(H2, clean, pooled.t2)
    inside = H2 @ E @ H + H @ E_square @ H + H @ E @ H2
    second = float((clean * inside.T).sum())
    second -= 2 * float((mean(H, clean_square, pooled.t3) * H2).sum())
    return plain, _over(first, plain), _over(second, plain)


def corrected_vci(sample: ClassSample) -> float:
    r"""Return the corrected VCI, the mean of 1 / (1 + theta).

    theta >= 0 are the eigenvalues of

    .. math:: a \Bigl[\tilde M S^{-1} \tilde M^\top - \frac{d}{N} \frac{\nu}{\nu - d - 1}
        I\Bigr], \qquad a = \frac{\nu - d + r}{\nu}

    with rows sqrt(pi_k) (mu_k - mu_G). NaN for fewer than 2 d degrees of freedom.
    """
    found = _linear_spread(sample)
    return math.nan if found is None else float((1 / (1 + found[0])).mean())


def vci_probe(sample: ClassSample) -> Tensor | None:
    r"""Return the directions of `corrected_vci`: its derivative by theta is -1 / (r (1 + theta)^2).

    None for fewer than 3.5 d degrees of freedom, where intervals covered 89 % of the time; if a
    theta is less than half of the noise that is taken off it (52 % with 20 classes); and if tails
    are so long that the inverse of S, which is as of normal samples here, is off by more than a
    part of its noise (1 to 80 % for a multivariate t with 5 degrees of freedom).
    """
    found = _linear_spread(sample)
    if found is None or sample.pooled.nu < FREE_FOR_INTERVAL * sample.rows.shape[1]:
        return None
    if sample.kurtosis * sample.rows.shape[1] > LONGEST_TAILS * math.sqrt(sample.pooled.nu):
        return None
    theta, directions, a = found
    if bool((theta < CLEAR_OF_NOISE * a * _linear_noise(sample)).any()):
        return None
    scale = torch.where(theta > 0, math.sqrt(a / sample.rank) / (1 + theta), 0.0)
    return directions * scale[:, None]


def _linear_spread(sample: ClassSample) -> tuple[Tensor, Tensor, float] | None:
    """Return theta (r,), the directions of S^-1 M~^T that they belong to, (r, d), and a."""
    pooled, (size, dim) = sample.pooled, sample.rows.shape
    nu = pooled.nu
    if nu < 2 * dim or nu <= dim + 1 or not 1 <= sample.rank <= dim:
        return None
    factor, failed = torch.linalg.cholesky_ex(pooled.matrix)
    if failed:
        return None
    root = sample.share.sqrt()
    rows = (sample.rows - sample.share @ sample.rows) * root[:, None]
    half = torch.linalg.solve_triangular(factor, rows.T, upper=False)
    # In the space at right angles to sqrt(pi), where the rows have no part.
    identity = torch.eye(size, dtype=root.dtype, device=root.device)
    basis = torch.linalg.qr(torch.cat([root[:, None], identity], 1)).Q[:, 1:]
    half = half @ basis
    values, vectors = torch.linalg.eigh(half.T @ half)
    a = (nu - dim + sample.rank) / nu
    directions = torch.linalg.solve_triangular(factor.T, half @ vectors, upper=True).T
    return ((values - _linear_noise(sample)) * a).clamp_min(0), directions, a


def _linear_noise(sample: ClassSample) -> float:
    """Return (d/N) nu/(nu - d - 1), what noise adds to each eigenvalue."""
    nu, dim = sample.pooled.nu, sample.rows.shape[1]
    return dim / float(sample.sizes.sum()) * nu / (nu - dim - 1)


PROBES = (pinv_probe, vci_probe)


def _over(numerator: float, denominator: float) -> float:
    """Divide; NaN where the denominator is 0, as of a head of zeros."""
    return numerator / denominator if denominator else math.nan


def _pair_factors(sample: ClassSample) -> tuple[Tensor, Tensor, Tensor]:
    """Return (v_i + v_j)/2 / (D^2 + V_D), clean squared distances D and variances V_D, (K, K)."""
    distances = _apart(sample.gram)
    seen = _apart(sample.gram_seen).clamp_min(0)
    c = sample.c[:, None] + sample.c
    variances = 4 * seen * c + 2 * sample.pooled.t2 * c.square()
    both = (sample.spreads[:, None] + sample.spreads) / 2
    return both / (distances.square() + variances), distances, variances


def _apart(gram: Tensor) -> Tensor:
    own = gram.diagonal()
    return own[:, None] + own - 2 * gram


def _clean_squares(sample: ClassSample) -> Tensor | None:
    """Return squared lengths without noise, floored without a group; None where noise makes one."""
    floor = LEAST_LENGTH * sample.lengths
    if sample.whole is None and bool((sample.clean_lengths < floor).any()):
        return None
    return torch.maximum(sample.clean_lengths, floor)


def _mean_of_pairs(values: Tensor) -> float:
    off = values.clone().fill_diagonal_(0).sum()
    return float(off) / (len(values) * (len(values) - 1))
