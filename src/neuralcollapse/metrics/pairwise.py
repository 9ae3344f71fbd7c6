"""All statistics over pairs of classes in one sweep, with extremes per class: for many classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.class_vectors import unit_rows
from neuralcollapse.metrics.pairs import CLOSE, TILE, PairMean, PairSpread, PairTile, sweep_pairs
from neuralcollapse.moments.checked_moments import checked_moments
from neuralcollapse.moments.class_moments import Center, ClassMoments
from neuralcollapse.validation import check_choice, finite_tensor, whole_number


@dataclass(frozen=True)
class PairwiseCollapse:
    """Statistics over pairs of classes: how evenly class means spread, how much classes overlap.

    Attributes
    ----------
    classes
        (K',) the classes with enough samples, over which all else is computed.
    cosine_mean, cosine_std, cosine_max
        Interference: cosines between centred class means, -1/(K'-1) for all of a simplex ETF.
    log_energy_mean, log_energy_variance
        Hyperspherical uniformity, of log 1/||u_i - u_j|| over pairs of directions; the variance is
        0 for a simplex ETF.
    log_riesz_mean
        Logarithm of the mean Riesz kernel ||u_i - u_j||^(2-d), formed in logarithms.
    cdnv_mean
        Mean class-distance normalised variance; infinite if class means with a spread coincide.
    cdnv_least, cdnv_largest
        (K',) smallest and largest CDNV of each class with another, NaN if it has none.
    cosine_largest
        (K',) largest cosine of each class with another.
    coinciding
        Number of pairs of class means at distance 0. They have no energy, and without spread no
        CDNV: such pairs are left out.

    Examples
    --------
    >>> from neuralcollapse import ClassMoments, simplex_etf
    >>> from neuralcollapse.metrics import pairwise_collapse
    >>> pairs = pairwise_collapse(ClassMoments(4, 6).update(simplex_etf(4, 6), [0, 1, 2, 3]))
    >>> round(pairs.cosine_mean, 6), pairs.log_energy_variance < 1e-9, pairs.coinciding
    (-0.333333, True, 0)
    """

    classes: Int[Tensor, " K"]
    cosine_mean: float
    cosine_std: float
    cosine_max: float
    log_energy_mean: float
    log_energy_variance: float
    log_riesz_mean: float
    cdnv_mean: float
    cdnv_least: Float[Tensor, " K"]
    cdnv_largest: Float[Tensor, " K"]
    cosine_largest: Float[Tensor, " K"]
    coinciding: int

    @property
    def log_energy_variation(self) -> float:
        """Coefficient of variation of the logarithmic energy (GNC2); negative with its mean."""
        return math.sqrt(self.log_energy_variance) / self.log_energy_mean


def pairwise_collapse(
    moments: ClassMoments, center: Center = "class_mean", min_samples: int = 1
) -> PairwiseCollapse:
    r"""Return all statistics over pairs of classes, in one sweep that never holds all pairs.

    .. math:: \cos(\mu_i - c, \mu_j - c), \quad \log \frac{1}{\|u_i - u_j\|}, \quad
        \|u_i - u_j\|^{2-d}, \quad \frac{v_i + v_j}{2 \|\mu_i - \mu_j\|^2}

    Means, spread and extremes, for any K, d: 50,000 classes need no K x K matrix.

    Parameters
    ----------
    moments
        Moments, also with ``scatter=False``.
    center
        What is subtracted from the class means: ``"class_mean"`` or ``"sample_mean"``, of the
        classes with enough samples.
    min_samples
        Classes with fewer samples are left out: a class of one token has no spread, and rare
        classes have noisy means.

    Returns
    -------
    PairwiseCollapse
        The statistics; NaN where a class mean lies at the centre and has no direction.

    Raises
    ------
    NeuralCollapseError
        If fewer than two classes have that many samples, or the centre is unknown.

    References
    ----------
    Wu & Papyan 2024, "Linguistic collapse"; Liu et al. 2023 for the kernels; Galanti et al. 2022.

    Examples
    --------
    >>> from neuralcollapse import ClassMoments
    >>> from neuralcollapse.geometry import simplex_etf
    >>> from neuralcollapse.metrics import pairwise_collapse
    >>> found = pairwise_collapse(ClassMoments(4, 3).update(simplex_etf(4, 3), [0, 1, 2, 3]))
    >>> round(found.cosine_mean, 6), round(found.log_energy_variance, 6), found.coinciding
    (-0.333333, 0.0, 0)
    """
    min_samples = whole_number("min_samples", min_samples, 0)
    check_choice("center", center, get_args(Center))
    enough = checked_moments(moments).counts >= max(min_samples, 1)
    if int(enough.sum()) < 2:
        expected = "at least 2 classes with that many samples"
        got = f"{int(enough.sum())} with {max(min_samples, 1)}"
        remedy = "lower min_samples or measure more samples"
        raise NeuralCollapseError("min_samples", expected, got, remedy)
    rows, counts = moments.means, moments.counts[enough].to(torch.float64)
    rows = rows if bool(enough.all()) else rows[enough]
    weights = torch.ones_like(counts) if center == "class_mean" else counts
    rows -= rows[:1].clone()  # so that equal means become zero, not round-off
    rows -= (weights / weights.sum()) @ rows
    statistic = _Pairwise(rows, moments.trace_variances[enough])
    sweep_pairs(rows, [statistic])
    return statistic.result(enough.nonzero().squeeze(1))


class _Pairwise:
    """The visitor: extremes per class go into (K,) tensors, the rest into running sums."""

    def __init__(self, rows: Tensor, variances: Tensor) -> None:
        num, dim = rows.shape
        self._rows = rows
        self._half_variances = variances / 2
        self._exponent = dim - 2
        # Energies are taken from that of a simplex ETF, so that their variance does not cancel.
        self._simplex = num / (num - 1)  # half its squared distance
        self._cosines, self._logarithms, self._cdnv = PairSpread(), PairSpread(), PairMean()
        self._riesz = -math.inf
        self._largest_cosine = rows.new_full((num,), -math.inf)
        self._least_cdnv = rows.new_full((num,), math.inf)
        self._largest_cdnv = rows.new_full((num,), -math.inf)
        self._coinciding = 0

    def add(self, tile: PairTile) -> None:
        """Take the pairs of one tile into account."""
        if not tile.gram.numel():
            return
        cosines = tile.cosines
        self._cosines.add(cosines)
        i, j, distances = tile.i, tile.j, tile.squared_distances
        nearest = _extremes(i, j, cosines, largest=self._largest_cosine)
        a, b = tile.of_pairs((self._half_variances / tile.unit**2).to(cosines.dtype))
        values, squares = a + b, self._half_squares(tile, cosines, nearest)
        if tile.coincide:  # pairs at distance 0 count apart, as in `cdnv` and `uniformity`
            apart = distances != 0
            self._coinciding += int((~apart).sum())
            defined, squares = apart | (values != 0), squares[apart]
            i, j = (index.expand(apart.shape)[defined] for index in (i, j))
            values, distances = values[defined], distances[defined]
        self._cdnv.add(values.div_(distances))
        _extremes(i, j, values, least=self._least_cdnv, largest=self._largest_cdnv)
        logarithms = squares.log_()  # -2 times the energy
        self._logarithms.add(logarithms)
        self._riesz = float(np.logaddexp(self._riesz, self._log_riesz(logarithms)))

    def _log_riesz(self, logarithms: Tensor) -> float:
        """Logarithm of the sum of the Riesz kernel; less than e^-80 of the closest counts so."""
        if not logarithms.numel():
            return -math.inf
        if self._exponent == 0:  # the kernel is 1 in the plane, also where directions coincide
            return math.log(logarithms.numel())
        power = -self._exponent / 2
        peak = float(logarithms.min() if power < 0 else logarithms.max())
        if not math.isfinite(peak):
            return power * peak
        # Numbers too small for a processor's ordinary ones would take it many times longer.
        kernel = logarithms.sub_(peak).mul_(power).clamp_min_(-80).exp_()
        return power * peak + math.log(float(kernel.sum(-1).to(torch.float64).sum()))

    def _half_squares(self, tile: PairTile, cosines: Tensor, nearest: float) -> Tensor:
        """Half the squared distances of unit vectors, over those of a simplex ETF.

        By differences where vectors nearly coincide.
        """
        unit = torch.tensor(1 / self._simplex, dtype=cosines.dtype, device=cosines.device)
        squared = torch.sub(unit, cosines, alpha=1 / self._simplex)
        if not nearest <= 1 - CLOSE:
            close = (cosines > 1 - CLOSE).nonzero(as_tuple=True)
            i, j = (index.expand(squared.shape)[close] for index in (tile.i, tile.j))
            for part in torch.arange(len(i), device=i.device).split(TILE):
                left, right = (unit_rows(self._rows[k[part]]) for k in (i, j))
                exact = (left - right).square().sum(1).div_(2 * self._simplex)
                squared[tuple(axis[part] for axis in close)] = exact.to(squared.dtype)
        return squared

    def result(self, classes: Tensor) -> PairwiseCollapse:
        """Return what was seen."""
        pairs, alone = self._logarithms.count, self._largest_cdnv == -math.inf
        shift = 0.5 * math.log(2 * self._simplex)
        return PairwiseCollapse(
            classes=classes,
            cosine_mean=self._cosines.mean,
            cosine_std=math.sqrt(self._cosines.variance),
            cosine_max=float(self._largest_cosine.max()),
            log_energy_mean=-0.5 * self._logarithms.mean - shift,
            log_energy_variance=0.25 * self._logarithms.variance,
            log_riesz_mean=self._riesz - math.log(pairs or math.nan) - self._exponent * shift,
            cdnv_mean=self._cdnv.mean,
            cdnv_least=self._least_cdnv.masked_fill_(alone, math.nan),
            cdnv_largest=self._largest_cdnv.masked_fill_(alone, math.nan),
            cosine_largest=self._largest_cosine,
            coinciding=self._coinciding,
        )


def _extremes(
    i: Tensor, j: Tensor, values: Tensor, largest: Tensor, least: Tensor | None = None
) -> float:
    """Take the extremes of each row's pairs into (K,) tensors, and return the largest of all."""
    pairs, highs = values.ndim == 1, []
    for axis, index in ((-1, i.flatten()), (0, j.flatten())):
        highs.append(values if pairs else values.amax(axis))
        largest.scatter_reduce_(0, index, highs[-1].to(largest), "amax")
        if least is not None:
            low = values if pairs else values.amin(axis)
            least.scatter_reduce_(0, index, low.to(least), "amin")
    return float(highs[0].max()) if values.numel() else -math.inf


def frequency_thirds(counts: Any) -> Int[Tensor, " K"]:
    """Return the third by frequency of each class: 0 rare, 1 middling, 2 frequent.

    Parameters
    ----------
    counts
        (K,) samples of each class; classes without samples belong to no third.

    Returns
    -------
    Tensor of shape (K,), int64
        The thirds, -1 for absent classes; the present classes are split as evenly as possible,
        ties by their order.

    Raises
    ------
    NeuralCollapseError
        If these are not whole numbers of at least 0.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.metrics import frequency_thirds
    >>> frequency_thirds(torch.tensor([100, 1, 0, 7, 50, 2, 8]))
    tensor([ 2,  0, -1,  1,  2,  0,  1])
    """
    sizes = finite_tensor("counts", counts)
    if sizes.ndim != 1 or bool(((sizes < 0) | (sizes != sizes.round())).any()):
        raise NeuralCollapseError(
            "counts", "whole numbers of at least 0, one per class", str(counts), "count the samples"
        )
    order = sizes.argsort(stable=True)
    order = order[sizes[order] > 0]
    thirds = torch.full_like(sizes, -1, dtype=torch.int64)
    for third, classes in enumerate(order.tensor_split(3)):
        thirds[classes] = third
    return thirds
