"""NC1: how far the features of a class are spread, against how far the classes lie apart."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dpstrf
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.pairs import PairMean, PairTile, sweep_pairs
from neuralcollapse.moments.class_moments import Center, ClassMoments, Weighting

EPS = torch.finfo(torch.float64).eps


def nc1_pinv(
    moments: ClassMoments,
    within: Weighting = "pooled",
    between: Weighting = "balanced",
    center: Center = "class_mean",
    normalize: bool = True,
) -> float:
    r"""Return the within-class scatter as the between-class scatter sees it (NC1).

    .. math:: \mathrm{tr}(\Sigma_W \Sigma_B^+) / K

    The pseudo-inverse goes through the at most K-1 directions that the class means span, found
    from a Gram matrix, never through a cut-off among d eigenvalues: so no rounding noise is
    inverted and the value is never negative.

    Parameters
    ----------
    moments
        Moments with a scatter.
    within
        ``"pooled"``: every sample counts the same; ``"balanced"``: every class does.
    between
        ``"balanced"``: 1/K for each class; ``"pooled"``: n_k/N.
    center
        What class means are taken from: ``"class_mean"`` or ``"sample_mean"``.
    normalize
        Divide by K, the number of present classes. Papyan's notebook and the separation fuzziness
        of He & Su do not.

    Returns
    -------
    float
        In [0, inf]; 0 when collapsed, inf (NaN if there is no spread either) when all class means
        are equal.

    Raises
    ------
    NeuralCollapseError
        If fewer than two classes have samples, or the moments hold no such scatter.

    References
    ----------
    Papyan, Han & Donoho 2020; Tirer et al. 2023, Section 2 (NC1).

    Examples
    --------
    Means at -2 and 2, so Sigma_B = 4; spread 1 in each class, so Sigma_W = 1.

    >>> features = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]])
    >>> nc1_pinv(ClassMoments(2, 1).update(features, [0, 0, 1, 1]))
    0.125
    """
    whitener = _between_whitener(moments, between, center)
    scatter = moments.within_scatter(within)
    if not len(whitener):
        return _ratio(float(scatter.trace()), 0.0)
    value = ((whitener @ scatter) * whitener).sum()
    return float(value) / (int(moments.present.sum()) if normalize else 1)


def nc1_trace_ratio(
    moments: ClassMoments,
    within: Weighting = "pooled",
    between: Weighting = "balanced",
    center: Center = "class_mean",
    denominator: Literal["between", "total"] = "between",
) -> float:
    r"""Return the ratio of traces, which needs no d x d scatter (Tirer's NC1~).

    .. math:: \mathrm{tr}\,\Sigma_W / \mathrm{tr}\,\Sigma_B

    Parameters
    ----------
    moments
        Moments, also with ``scatter=False``.
    within, between, center
        As in `nc1_pinv`; the balanced variant needs no scatter here.
    denominator
        ``"between"`` or ``"total"`` = within + between, which keeps the ratio below 1.

    Returns
    -------
    float
        In [0, inf], or [0, 1] over the total; 0 when collapsed, inf (NaN if there is no spread
        either) when all class means are equal.

    Raises
    ------
    NeuralCollapseError
        If fewer than two classes have samples.

    References
    ----------
    Tirer et al. 2023, Section 3.

    Examples
    --------
    >>> features = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]])
    >>> round(nc1_trace_ratio(ClassMoments(2, 1).update(features, [0, 0, 1, 1])), 12)
    0.25
    """
    rows = _weighted_means(moments, between, center)
    spread = float((moments.class_weights(within) * moments.trace_variances).nansum())
    apart = float(rows.square().sum())
    return _ratio(spread, apart + (spread if denominator == "total" else 0.0))


def cdnv(
    moments: ClassMoments,
    reduce: Literal["mean", "max", "median"] = "mean",
    ddof: Literal[0, 1] = 0,
) -> float:
    r"""Return the class-distance normalised variance, over pairs of classes.

    .. math:: V_{ij} = \frac{v_i + v_j}{2 \|\mu_i - \mu_j\|^2}

    Parameters
    ----------
    moments
        Moments, also with ``scatter=False``.
    reduce
        ``"mean"`` over pairs, ``"max"``, the worst pair, or ``"median"`` (the lower of two in the
        middle), which holds all K (K - 1) / 2 values at once.
    ddof
        0: v_k is the mean squared distance to the class mean; 1: divided by n_k - 1 instead of
        n_k, infinite or undefined for a class of one sample.

    Returns
    -------
    float
        In [0, inf]; 0 when collapsed, inf if two class means coincide (NaN if these classes have
        no spread either).

    Raises
    ------
    NeuralCollapseError
        If fewer than two classes have samples.

    References
    ----------
    Galanti, György & Hutter 2022, Definition 2.

    Examples
    --------
    >>> features = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]])
    >>> cdnv(ClassMoments(2, 1).update(features, [0, 0, 1, 1]))
    0.0625
    """
    statistic = CDNVStatistic(moments, ddof, keep_all=reduce == "median")
    sweep_pairs(moments.centered_means(), [statistic])
    if reduce == "median":
        return float(torch.cat(statistic.every).median())
    return statistic.values.mean if reduce == "mean" else statistic.values.maximum


class CDNVStatistic:
    """CDNV of every pair in a sweep over class means: mean, maximum and the worst pairs.

    Parameters
    ----------
    moments
        Moments of at least two classes.
    ddof
        See `cdnv`.
    worst
        How many of the worst pairs to keep.
    keep_all
        Keep the values of all pairs as well.

    Attributes
    ----------
    values : PairMean
        Mean and maximum over pairs.
    every : list of Tensor
        With `keep_all`, all values, in no order to rely on.
    """

    def __init__(
        self, moments: ClassMoments, ddof: int = 0, worst: int = 10, keep_all: bool = False
    ) -> None:
        _require_two_classes(moments)
        present = moments.present
        counts = moments.counts[present].to(torch.float64)  # integers would divide in float32
        self.values = PairMean()
        self._variances = moments.trace_variances[present] * (counts / (counts - ddof))
        self._labels = present.nonzero().squeeze(1)
        self._worst: list[tuple[float, int, int]] = []
        self._keep = worst
        self._keep_all = keep_all
        self.every: list[Tensor] = []

    def add(self, tile: PairTile) -> None:
        """Take the pairs of one tile into account."""
        a, b = tile.of_pairs((self._variances / 2).to(tile.gram.dtype))
        values = (a + b).div_(tile.squared_distances)
        largest = self.values.add(values)
        if self._keep_all:
            self.every.append(values.flatten())
        # The top of a tile is looked for only where it can enter the list.
        floor = self._worst[-1][0] if len(self._worst) == self._keep else float("-inf")
        if largest > floor:
            top, flat = values.flatten().topk(min(self._keep, values.numel()))
            i, j = (
                self._labels[index.expand(values.shape).flatten()[flat]].tolist()
                for index in (tile.i, tile.j)
            )
            found = [*self._worst, *zip(top.tolist(), i, j, strict=True)]
            self._worst = sorted(found, key=lambda pair: -pair[0])[: self._keep]

    @property
    def worst_pairs(self) -> list[tuple[int, int, float]]:
        """The pairs (class i, class j, CDNV) with the largest CDNV, worst first."""
        return [(i, j, value) for value, i, j in self._worst]


def vci(moments: ClassMoments, rank: Literal["numerical", "full"] = "numerical") -> float:
    r"""Return the variability collapse index.

    .. math:: 1 - \mathrm{tr}(\Sigma_T^+ \Sigma_B) / \mathrm{rank}(\Sigma_B)

    Invariant to every invertible linear map of the features. Computed as the mean of x/(1+x) over
    the eigenvalues x of the within-class scatter, its part that other directions predict taken
    out, relative to the between-class scatter: so nothing cancels near collapse.

    Parameters
    ----------
    moments
        Moments with a scatter.
    rank
        ``"numerical"``: the rank of the class means; ``"full"``: min(d, K-1), K the
        number of present classes.

    Returns
    -------
    float
        In [0, 1]; 0 when collapsed. NaN if all class means are equal.

    Raises
    ------
    NeuralCollapseError
        If fewer than two classes have samples, or the moments hold no scatter.

    References
    ----------
    Xu & Liu 2023, "Quantifying the variability collapse of neural networks".

    Examples
    --------
    >>> features = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]])
    >>> vci(ClassMoments(2, 1).update(features, [0, 0, 1, 1]))  # 1 - 4/5
    0.2
    """
    whitener = _between_whitener(moments, "pooled", "sample_mean")
    directions = len(whitener)
    if not directions:
        return float("nan")
    # With V the span of the means, Sigma_T^+ restricted to it is the inverse of
    # Sigma_B + S, S the Schur complement of the within-class scatter.
    scatter = moments.within_scatter("pooled")
    inside, triangular = torch.linalg.qr(whitener.T, mode="complete")
    rotated = inside.T @ scatter @ inside
    head = rotated[:directions, :directions]
    cross = rotated[directions:, :directions]
    schur = head - _predicted(rotated[directions:, directions:], cross)
    root = triangular[:directions]
    relative = torch.linalg.eigvalsh(root.T @ schur @ root).clamp_min(0)
    full = min(moments.dim, int(moments.present.sum()) - 1)
    missing = 0 if rank == "numerical" else full - directions
    return float(((relative / (1 + relative)).sum() + missing) / (directions + missing))


def separation_fuzziness(moments: ClassMoments) -> float:
    r"""Return the separation fuzziness of He & Su, whose logarithm falls linearly with depth.

    .. math:: D = \mathrm{tr}(SS_W \, SS_B^+)

    with both scatters weighted by n_k/N and taken about the sample mean.

    Parameters
    ----------
    moments
        Moments with a scatter.

    Returns
    -------
    float
        In [0, inf]; 0 when collapsed.

    References
    ----------
    He & Su 2023, "A law of data separation in deep learning".

    Examples
    --------
    >>> features = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]])
    >>> separation_fuzziness(ClassMoments(2, 1).update(features, [0, 0, 1, 1]))
    0.25
    """
    return nc1_pinv(moments, between="pooled", center="sample_mean", normalize=False)


def effective_rank(spectrum: Float[Tensor, " r"]) -> float:
    """Return exp of the entropy of a spectrum normalised to sum 1.

    Parameters
    ----------
    spectrum
        (r,) non-negative eigenvalues, such as ``torch.linalg.eigvalsh(moments.within)``.

    Returns
    -------
    float
        From 1 (one direction) to r (all alike); NaN for a zero spectrum.

    References
    ----------
    Roy & Vetterli 2007, "The effective rank".

    Examples
    --------
    >>> round(effective_rank(torch.tensor([2.0, 2.0, 0.0])), 6)
    2.0
    """
    weights = spectrum.to(torch.float64).clamp_min(0)
    return float(torch.special.entr(weights / weights.sum()).sum().exp())


def numerical_rank(singular_values: Float[Tensor, " r"]) -> float:
    r"""Return the stable count of singular values, :math:`(\|A\|_* / \|A\|_F)^2`.

    Parameters
    ----------
    singular_values
        (r,) non-negative.

    Returns
    -------
    float
        From 1 to r; NaN for a zero matrix.

    Examples
    --------
    >>> numerical_rank(torch.tensor([3.0, 3.0, 0.0]))
    2.0
    """
    values = singular_values.to(torch.float64)
    return float(values.sum().square() / values.square().sum())


def _weighted_means(moments: ClassMoments, weighting: Weighting, center: Center) -> Tensor:
    """Rows R, one a present class, with R^T R = Sigma_B."""
    _require_two_classes(moments)
    weights = moments.class_weights(weighting)[moments.present]
    return moments.centered_means(center) * weights.sqrt()[:, None]


def _between_whitener(moments: ClassMoments, weighting: Weighting, center: Center) -> Tensor:
    """Rows B (r, d), r = rank of Sigma_B, with B^T B = Sigma_B^+; empty if all means are equal."""
    rows = _weighted_means(moments, weighting, center)
    num, dim = rows.shape
    small = rows @ rows.T if num <= dim else rows.T @ rows
    values, vectors = torch.linalg.eigh(small)
    # Class means are known to round-off of their own size: below it there is no direction. The
    # means lie in a plane through the centre, so one direction fewer than classes.
    noise = EPS * float(moments.means[moments.present].square().sum().sqrt())
    floor = max(max(num, dim) * EPS * float(values[-1]), (4 * noise) ** 2)
    kept = values > floor
    if num <= dim:
        kept[0] = False
    values, vectors = values[kept], vectors[:, kept]
    if num <= dim:
        return (vectors / values).T @ rows
    return (vectors / values.sqrt()).T


def _predicted(scatter: Tensor, cross: Tensor) -> Tensor:
    """Return cross^T scatter^- cross for a positive semidefinite scatter of any rank."""
    if not scatter.numel():
        return torch.zeros(cross.shape[1], cross.shape[1], dtype=cross.dtype, device=cross.device)
    # Pivoted Cholesky: a generalised inverse at a tenth of the cost of an eigendecomposition.
    factor, pivots, rank, _ = dpstrf(scatter.cpu().numpy(), lower=1)
    if rank == 0:
        return torch.zeros(cross.shape[1], cross.shape[1], dtype=cross.dtype, device=cross.device)
    half = solve_triangular(
        factor[:rank, :rank], cross.cpu().numpy()[pivots[:rank] - 1], lower=True
    )
    return torch.from_numpy(np.asarray(half.T @ half)).to(cross.device)


def _require_two_classes(moments: ClassMoments) -> None:
    present = int(moments.present.sum())
    if present < 2:
        raise NeuralCollapseError(
            "moments",
            "samples of at least 2 classes",
            f"samples of {present}",
            "collapse is a relation between classes: measure on data that has several",
        )


def _ratio(numerator: float, denominator: float) -> float:
    if denominator > 0:
        return numerator / denominator
    return float("inf") if numerator > 0 else float("nan")
