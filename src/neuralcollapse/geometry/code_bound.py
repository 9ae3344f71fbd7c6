"""Upper bounds of the one-vs-rest margin of unit rows, which no head can exceed."""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.special import betaincinv

SAFE = 1e-12  # added for the rounding of the roots


def one_vs_rest_bound(num_classes: int, dim: int) -> float:
    r"""Return an upper bound of the one-vs-rest margin of K unit rows in d dimensions.

    K/(K-1) for K <= d + 1 and 1 beyond: by Carathéodory, the point x of the hull with the least
    norm needs d + 1 rows at most, so it lies in the hull of the others for some k, where
    :math:`\langle w_k, x \rangle \ge \|x\|^2`. In the plane 1 - cos(2 pi/K), since a point of the
    circle lies in at most two of the caps beyond a row's rivals. And :math:`1 - c(K, 2d)`, c the
    least largest cosine of K unit vectors: :math:`u_k = (w_k, h_k)/\sqrt2` in 2d dimensions have
    :math:`\langle u_j, u_k \rangle \le 1 - \rho` for some pair.
    """
    if num_classes <= dim + 1:
        return num_classes / (num_classes - 1)
    if dim == 1:
        return 0.0  # two of three unit rows on a line coincide
    if dim == 2:
        return 1 - math.cos(2 * math.pi / num_classes)
    return min(1.0, 1 - least_largest_cosine(num_classes, 2 * dim) + SAFE)


def least_largest_cosine(num: int, dim: int) -> float:
    r"""Return a lower bound of the largest cosine among any K unit vectors in d dimensions.

    The simplex bound up to d + 1 vectors, 0 up to 2d, then Levenshtein's bound of degree 3, and
    beyond its range the larger of where that ends and the packing of caps of half the angle.

    References
    ----------
    Levenshtein 1998, "Universal bounds for codes and designs"; Rankin 1955.
    """
    if num <= dim + 1:
        return -1 / (num - 1)
    if num <= 2 * dim:
        return 0.0
    end = (math.sqrt(dim + 3) - 1) / (dim + 2)

    def levenshtein(s: float) -> float:
        return dim * (1 - s) * (2 + (dim + 1) * s) / (1 - dim * s * s) - num

    if levenshtein(end) >= 0:
        return float(brentq(levenshtein, 0.0, end, xtol=1e-15))
    # K caps of half the angle do not overlap: each takes at most a share 1/K of the sphere.
    return max(end, 1 - 2 * float(betaincinv((dim - 1) / 2, 0.5, 2 / num)))
