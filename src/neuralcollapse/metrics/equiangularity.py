"""NC2: whether class vectors have equal lengths and angles, and so form a simplex ETF."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from neuralcollapse.metrics.class_vectors import ClassVectors, centered_rows
from neuralcollapse.metrics.pairs import PairMean, PairSpread, PairTile, sweep_pairs, unit_of
from neuralcollapse.validation import check_choice, check_shape, check_squares, finite_matrix

DIRECT_CLASSES = 2048  # up to so many, the Gram matrix itself is compared
CANCELLING = 1e-4  # below this distance the closed form loses digits


def equinorm(
    vectors: Any, center: Any = None, ddof: Literal[0, 1] = 0, logarithm: bool = False
) -> float:
    r"""Return the coefficient of variation of the lengths of class vectors.

    .. math:: \mathrm{std}_k \|\mu_k - c\| \,/\, \mathrm{mean}_k \|\mu_k - c\|

    Parameters
    ----------
    vectors
        (K, d) class means or head weights, K >= 2.
    center
        (d,); the mean of the rows if omitted. Pass zeros for raw lengths.
    ddof
        Delta degrees of freedom of the standard deviation, 0 or 1.
    logarithm
        Return the standard deviation of the logarithms of the lengths instead, which is not
        dominated by the longest vectors.

    Returns
    -------
    float
        In [0, sqrt(K)] (logarithms: [0, inf]); 0 when collapsed, NaN if all vectors are equal.

    References
    ----------
    Papyan, Han & Donoho 2020, Figure 2; Wu & Papyan 2024 for the logarithms.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.metrics import equinorm
    >>> equinorm(torch.tensor([[1.0, 0], [0, 3.0]]), center=torch.zeros(2))
    0.500000
    """
    check_choice("ddof", ddof, (0, 1))
    lengths = ClassVectors.of(vectors, center).norms
    if logarithm:
        return float(lengths.log().std(correction=ddof))
    return float(lengths.std(correction=ddof) / lengths.mean())


def equiangularity(
    vectors: Any,
    center: Any = None,
    reduce: Literal["mean", "std", "max"] = "mean",
) -> float:
    r"""Return how far the cosines between class vectors are from -1/(K-1).

    .. math:: \mathrm{mean}_{i \ne j} \left| \cos(\mu_i - c, \mu_j - c) + \tfrac{1}{K-1} \right|

    The signed mean is not offered: it is near zero for any centred vectors, collapsed or not.

    Parameters
    ----------
    vectors
        (K, d) class means or head weights, K >= 2.
    center
        (d,); the mean of the rows if omitted.
    reduce
        ``"mean"`` or ``"max"`` of the absolute deviations, or the ``"std"`` of the cosines.

    Returns
    -------
    float
        In [0, 2]; 0 when collapsed, NaN if a vector is zero.

    References
    ----------
    Papyan, Han & Donoho 2020, Figures 3 (std) and 4 (mean).

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.metrics import equiangularity
    >>> equiangularity(torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]]), reduce="max")
    0.666667
    """
    check_choice("reduce", reduce, ("mean", "std", "max"))
    rows = ClassVectors.of(vectors, center).rows
    statistic = EquiangularityStatistic(len(rows))
    sweep_pairs(rows, [statistic])
    if reduce == "std":
        return math.sqrt(statistic.deviations.variance)
    return statistic.absolute.mean if reduce == "mean" else statistic.absolute.maximum


class EquiangularityStatistic:
    """Deviations of all cosines from -1/(K-1), collected in a sweep over pairs.

    Parameters
    ----------
    num_vectors
        K.

    Attributes
    ----------
    absolute : PairMean
        Mean and maximum of the absolute deviations.
    deviations : PairSpread
        Mean and variance of the signed ones, which are those of the cosines, shifted.
    """

    def __init__(self, num_vectors: int) -> None:
        self._target = 1 / (num_vectors - 1)
        self.absolute = PairMean()
        self.deviations = PairSpread()

    def add(self, tile: PairTile) -> None:
        """Take the pairs of one tile into account."""
        deviations = tile.cosines + self._target
        self.deviations.add(deviations)
        self.absolute.add(deviations.abs_())


def etf_distance(vectors: Any, center: Any = None) -> float:
    r"""Return the distance of the normalised Gram matrix from that of a simplex ETF.

    .. math:: \left\| \frac{G}{\|G\|_F} - \frac{I - 11^\top/K}{\sqrt{K-1}} \right\|_F,
        \qquad G = M M^\top

    For more than 2,048 classes no K x K matrix is formed, except in tiles if the distance is below
    1e-4.

    Parameters
    ----------
    vectors
        (K, d) class means or head weights, K >= 2.
    center
        (d,); the mean of the rows if omitted. An uncentred head can show a distance of 1.39 where
        the centred one shows 3e-7.

    Returns
    -------
    float
        In [0, sqrt(2)] for centred vectors, at most 2; 0 when collapsed, NaN if all are equal.

    References
    ----------
    Zhu et al. 2021, Section 4 (NC2); Tirer et al. 2023.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.metrics import etf_distance
    >>> round(etf_distance(torch.eye(3)), 12)
    0.0
    """
    rows = ClassVectors.of(vectors, center)
    return product_distance(rows, rows)


def gram_distance(vectors: Any, target: Any, center: Any = None) -> float:
    r"""Return the distance of the normalised Gram matrix from a given (predicted) one.

    .. math:: \left\| G / \|G\|_F - T / \|T\|_F \right\|_F

    For other geometries than the simplex ETF: an orthogonal frame (T = I, MSE without bias),
    simplex-encoded labels (unbalanced classes), or a softmax code (K > d + 1).

    Parameters
    ----------
    vectors
        (K, d), K >= 2.
    target
        (K, K) predicted Gram matrix, not zero.
    center
        (d,); the mean of the rows if omitted. Pass zeros to compare raw vectors.

    Returns
    -------
    float
        In [0, sqrt(2)] for a positive semidefinite target; 0 when it is as predicted.

    Raises
    ------
    NeuralCollapseError
        If the target is not K x K.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.metrics import gram_distance
    >>> gram_distance(2 * torch.eye(4), torch.eye(4), center=torch.zeros(4))
    0.000000
    """
    rows = centered_rows(vectors, center)
    target = finite_matrix("target", target)
    check_shape(
        "target", target, (len(rows), len(rows)), "predict one entry for each pair of classes"
    )
    check_squares("target", target)
    rows = rows / unit_of(float(rows.norm()))  # for squares of products
    gram = rows @ rows.T
    return float(
        torch.linalg.matrix_norm(
            gram / torch.linalg.matrix_norm(gram) - target / torch.linalg.matrix_norm(target)
        )
    )


def uniformity(vectors: Any, center: Any = None) -> tuple[float, float]:
    r"""Return mean and variance over pairs of the logarithmic energy of directions (GNC2).

    .. math:: \log 1/\|u_i - u_j\|, \qquad u_k = (\mu_k - c)/\|\mu_k - c\|

    It can be used for K > d + 1 too, where no simplex ETF exists.

    Parameters
    ----------
    vectors
        (K, d), K >= 2.
    center
        (d,); the mean of the rows if omitted.

    Returns
    -------
    tuple of float
        Mean, >= -log(2K/(K-1))/2 with equality for a simplex ETF, and variance, >= 0. Zero
        vectors, which have no direction, and pairs of equal vectors are left out; NaN if nothing
        is left. Different vectors with the same direction have infinite energy.

    References
    ----------
    Liu et al. 2023, "Generalizing and decoupling neural collapse via hyperspherical uniformity
    gap".

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.metrics import uniformity
    >>> mean, variance = uniformity(torch.eye(2))
    >>> round(mean, 6), round(variance, 6)  # two opposite directions: log 1/2
    (-0.693147, 0.0)
    """
    rows = centered_rows(vectors, center)
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    pointing = norms[:, 0] > 0
    if int(pointing.sum()) < 2:
        return math.nan, math.nan
    statistic = _LogEnergy(rows[pointing])
    sweep_pairs(rows[pointing] / norms[pointing], [statistic])
    return statistic.values.mean - statistic.shift, statistic.values.variance


class _LogEnergy:
    """log 1/distance, relative to that of the ETF so that the variance does not cancel."""

    def __init__(self, vectors: Tensor) -> None:
        num_vectors, self._vectors = len(vectors), vectors
        self.shift = 0.5 * math.log(2 * num_vectors / (num_vectors - 1))
        self.values = PairSpread()

    def add(self, tile: PairTile) -> None:
        distances = tile.squared_distances
        if tile.coincide:
            zero = (distances == 0).nonzero(as_tuple=True)
            i, j = (self._vectors[k.expand(distances.shape)[zero]] for k in (tile.i, tile.j))
            kept = torch.ones_like(distances, dtype=torch.bool)
            kept[zero] = (i != j).any(1)
            distances = distances[kept]
        self.values.add(self.shift - 0.5 * distances.log())


def product_distance(left: ClassVectors, right: ClassVectors) -> float:
    """Return the distance of L R^T, normalised, from (I - 11^T/K)/sqrt(K-1), at any centre."""
    L, R, num = left.rows, right.rows, len(left)
    a, b = (1 / unit_of(float(each.norm)) for each in (left, right))  # for squares of products
    whole = (L @ R.T).mul_(a * b) if num <= DIRECT_CLASSES else None
    # ||L R^T||^2 = <L^T L, R^T R>: d x d, not K x K.
    if whole is None:
        norm = (left.second_moment * a**2 * (right.second_moment * b**2)).sum().sqrt()
        # <L R^T, I - 11^T/K>; only about the mean of the rows is the second part zero.
        overlap = left.norm**2 if left is right else torch.dot(L.reshape(-1), R.reshape(-1))
        overlap = (overlap - left.total @ right.total / num) * (a * b)
        squared = float(2 - 2 * overlap / (norm * math.sqrt(num - 1)))
        if squared > CANCELLING**2:
            return math.sqrt(squared)
    else:
        norm = torch.linalg.matrix_norm(whole)
    total = 0.0
    on, off = (1 - 1 / num) / math.sqrt(num - 1), -1 / num / math.sqrt(num - 1)
    size = max(1, min(DIRECT_CLASSES, DIRECT_CLASSES**2 // num))
    for start in range(0, num, size):
        block = (L[start : start + size] @ R.T).mul_(a * b) if whole is None else whole
        block = block.div_(norm).sub_(off)
        block.diagonal(start).sub_(on - off)
        total += float(block.square_().sum())
    return math.sqrt(total)
