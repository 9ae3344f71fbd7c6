"""measure_head: what the weights of the last layer tell, without data and without running it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from neuralcollapse.geometry.code_bound import one_vs_rest_bound
from neuralcollapse.geometry.one_vs_rest_margin import one_vs_rest_margin
from neuralcollapse.geometry.softmax_code import SEARCHED, best_known_margin
from neuralcollapse.metrics.class_vectors import centered_rows, unit_rows
from neuralcollapse.metrics.equiangularity import (
    EquiangularityStatistic,
    equinorm,
    etf_distance,
    gram_distance,
)
from neuralcollapse.metrics.head import Head, checked_bias
from neuralcollapse.metrics.head_mean import head_mean
from neuralcollapse.metrics.pairs import PairTile, sweep_pairs, unit_of
from neuralcollapse.metrics.ranks import effective_rank
from neuralcollapse.plain_text import plain
from neuralcollapse.theory.predicted_geometry import predicted_geometry
from neuralcollapse.validation import check_class_names, check_shape, class_rows
from neuralcollapse.validation import class_counts as checked_counts
from neuralcollapse.wording import number, share

TWIN = 0.98  # cosine from which two rows are near twins
DEAD = 1e-3  # of the median length: a shorter row is dead
SHOWN = 10
HULL_CLASSES = 2000  # up to so many, the one-vs-rest margin is solved; beyond, it is bounded


@dataclass(frozen=True)
class HeadReport:
    """What the weights of a head tell.

    Attributes
    ----------
    values
        The numbers by name. ``nc2_equinorm``; for K <= d + 1 ``nc2_equiangular`` and ``nc2_etf`` of
        the centred rows, and with class sizes ``nc2_sel``, the distance from the Gram matrix that
        unequal classes approach as the decay vanishes (no bias). For K > d + 1, of the rows at unit
        length: ``rho_lower`` and ``rho_upper``, bounds of the one-vs-rest margin, and
        ``rho_best`` and ``rho_bound``, the largest known (`rho_lower` if none was searched for)
        and an upper bound for any head. Always ``twin_pairs``, ``twin_rows``,
        ``coinciding_pairs``, ``dead_rows``, ``effective_rank``, ``head_mean``, and
        ``head_mean_share``, the share of the squared norm that softmax does not see. With class
        sizes ``norm_frequency``, the rank correlation of length and size (NaN where one of them is
        the same for all).
    twins
        The nearest pairs of rows (class, class, cosine), nearest first, at most 10.
    dead
        Classes whose rows are shorter than a thousandth of the median.
    norms
        (K,) length of each row.
    spectrum
        Singular values of the centred head, descending.
    class_names
        One per row.
    dim
        d.

    Examples
    --------
    >>> import neuralcollapse as nc
    >>> report = nc.measure_head(nc.simplex_etf(4, 8))
    >>> round(report["nc2_etf"], 6), report.dead, report.norms.round(decimals=6).tolist()
    (0.0, [], [1.0, 1.0, 1.0, 1.0])
    """

    values: dict[str, float]
    twins: list[tuple[int, int, float]]
    dead: list[int]
    norms: Float[Tensor, " K"]
    spectrum: Float[Tensor, " m"]
    class_names: list[str]
    dim: int

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    def __str__(self) -> str:
        num, value, name = len(self.norms), self.values, list(map(plain, self.class_names))
        lines = [f"head of {num} classes in {self.dim} dimensions"]
        if num <= self.dim + 1:
            if num == 2:
                lines.append("  two rows, about their mean, are always a simplex ETF")
            else:
                lines.append(
                    f"  from a simplex ETF        {number(value['nc2_etf'])} (0 at collapse of "
                    f"equal classes); cosines off by {number(value['nc2_equiangular'])} in the mean"
                )
            if "nc2_sel" in value:
                lines.append(f"  from these class sizes'   {value['nc2_sel']:.4g} (no bias)")
        else:
            searched = num <= SEARCHED
            best = f"best known {value['rho_best']:.4g}, " if searched else ""
            lines.append(
                f"  one-vs-rest margin        between {value['rho_lower']:.4g} and "
                f"{value['rho_upper']:.4g}; {best}none exceeds {value['rho_bound']:.4g}"
            )
            lines.append("  more classes than d + 1: no simplex ETF fits")
        if num > 2:
            lines.append(
                f"  lengths vary by           {number(value['nc2_equinorm'])} of their mean"
            )
        if "norm_frequency" in value:
            lines.append(
                f"  lengths with frequency    rank correlation {number(value['norm_frequency'])}"
            )
        lines.append(
            f"  near twins                {value['twin_rows']:.0f} rows with one at a cosine of "
            f"{TWIN} or more, {value['coinciding_pairs']:.0f} pairs coincide"
        )
        lines += [f"    {name[i]} ~ {name[j]}  {cosine:.4f}" for i, j, cosine in self.twins]
        dead = ", ".join(name[k] for k in self.dead[:SHOWN])
        lines.append(f"  dead rows                 {len(self.dead)}{': ' + dead if dead else ''}")
        lines.append(f"  effective rank            {number(value['effective_rank'])}")
        lines.append(
            f"  mean row                  {share(value['head_mean_share'])} of the squared norm, "
            "which softmax does not see"
        )
        return "\n".join(lines)


def measure_head(
    weight: Any,
    bias: Any = None,
    class_names: Sequence[str] | None = None,
    class_sizes: Any = None,
) -> HeadReport:
    r"""Return what the weights of a head tell, without data.

    How its rows are spread, compared with what fits K classes into d dimensions: a simplex ETF for
    K <= d + 1, otherwise a softmax code, by its one-vs-rest margin :math:`\rho(W / \|w\|)`. And
    what may be wrong with single rows: near twins, dead rows, lengths that follow the class
    frequency, a mean row that softmax does not see. Any number of classes, in O(K d) memory.

    Parameters
    ----------
    weight
        (K, d) rows, K >= 2.
    bias
        (K,) or None; checked, but without effect on the geometry.
    class_names
        K names for the printed report; numbers if omitted.
    class_sizes
        (K,) samples of each class in training.

    Returns
    -------
    HeadReport
        The values, the near twins, the dead rows, lengths and spectrum.

    Raises
    ------
    NeuralCollapseError
        If shapes do not fit.
    NonFiniteError
        If an entry is NaN or infinite.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import measure_head
    >>> from neuralcollapse.geometry import simplex_etf
    >>> rows = torch.cat([simplex_etf(4, 8), torch.zeros(1, 8)])
    >>> report = measure_head(rows, class_names=["cat", "dog", "cow", "elk", "unused"])
    >>> report.dead, report["twin_rows"]
    ([4], 0.0)
    """
    rows = class_rows("weight", weight).detach().cpu()
    head = Head("weight", rows, None if bias is None else checked_bias(bias, rows))
    num, dim = rows.shape
    names = check_class_names(class_names, num)
    sizes = None if class_sizes is None else checked_counts("class_sizes", class_sizes).cpu()
    if sizes is not None:
        check_shape("class_sizes", sizes, (num,), "pass one size per class")
    unit = unit_of(float(rows.abs().amax()))  # squares of the rows themselves may leave float64
    rows = rows / unit
    centered, norms = centered_rows(rows), rows.norm(dim=1)
    spectrum = torch.linalg.svdvals(centered)
    fits = num <= head.dim + 1
    dead = (norms <= DEAD * norms.median()).nonzero().squeeze(1).tolist()
    twins = _Twins(num)
    directions = unit_rows(centered if fits else rows)
    angles = EquiangularityStatistic(num)
    sweep_pairs(directions, [twins, angles])
    mean_share = head_mean(rows) / float(rows.square().sum()) if rows.any() else 0.0
    values = {
        "nc2_equinorm": equinorm(rows, None if fits else rows.new_zeros(dim)),
        "twin_pairs": float(twins.pairs),
        "twin_rows": float(twins.rows.sum()),
        "coinciding_pairs": float(twins.coinciding),
        "dead_rows": float(len(dead)),
        "effective_rank": effective_rank(spectrum.square()),
        "head_mean": head_mean(rows) * unit * unit,
        "head_mean_share": mean_share,
    }
    if fits:
        values |= {"nc2_equiangular": angles.absolute.mean, "nc2_etf": etf_distance(rows)}
        if sizes is not None:
            values["nc2_sel"] = gram_distance(
                rows, predicted_geometry(sizes, num - 1, bias=False).head_gram
            )
    else:
        values |= _one_vs_rest(directions, twins.largest)
    if sizes is not None:
        vary = norms.unique().numel() > 1 and sizes.unique().numel() > 1
        correlation = spearmanr(norms.numpy(), sizes.numpy()).statistic if vary else math.nan
        values["norm_frequency"] = float(correlation)
    return HeadReport(values, twins.nearest, dead, norms * unit, spectrum * unit, names, dim)


class _Twins:
    """Rows that nearly coincide, in a sweep over unit rows; dead rows have no twins."""

    def __init__(self, num: int) -> None:
        self.rows = torch.zeros(num, dtype=torch.bool, device="cpu")
        self.pairs = self.coinciding = 0
        self.largest = -1.0
        self.nearest: list[tuple[int, int, float]] = []

    def add(self, tile: PairTile) -> None:
        """Take the pairs of one tile into account."""
        if not tile.gram.numel():
            return
        self.largest = max(self.largest, float(tile.gram.max()))
        if self.largest < TWIN:
            return
        squared = tile.squared_distances
        alive = torch.minimum(*tile.of_pairs(tile.squared_norms)) > 0
        near = ((squared <= 2 - 2 * TWIN) & alive).nonzero(as_tuple=True)
        i, j = (index.expand(squared.shape)[near] for index in (tile.i, tile.j))
        self.rows[i], self.rows[j] = True, True
        self.pairs += len(i)
        distances = squared[near].double()
        self.coinciding += int((distances == 0).sum())
        order = distances.argsort()[:SHOWN]
        cosines = (1 - distances[order] / 2).tolist()
        found = zip(i[order].tolist(), j[order].tolist(), cosines, strict=True)
        self.nearest = sorted([*self.nearest, *found], key=lambda pair: -pair[2])[:SHOWN]


def _one_vs_rest(directions: Tensor, largest_cosine: float) -> dict[str, float]:
    """Return bounds of the one-vs-rest margin of unit rows, and the bounds for any rows."""
    num, dim = directions.shape
    if num <= HULL_CLASSES:
        found = one_vs_rest_margin(directions, every_class=False)
        lower, upper = found.lower, found.upper
    else:  # h = w attains the lower one; the nearest row lies in the hull of the others
        lower = max(1 - largest_cosine, 0.0)
        upper = max(2 - 2 * largest_cosine, 0.0) ** 0.5
    best = best_known_margin(num, dim) if num <= SEARCHED else lower
    bound = one_vs_rest_bound(num, dim)
    return {
        "rho_lower": lower,
        "rho_upper": min(upper, bound),
        "rho_best": max(best, lower),
        "rho_bound": bound,
    }
