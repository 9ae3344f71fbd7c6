"""The margin bound pair by pair of classes: the paper's form, with its constants."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization.certificates.held_out import failure_probability
from neuralcollapse.generalization.head_sample import (
    MAX_LOG2,
    HeadSample,
    grid_weight,
    rademacher_deviation,
)
from neuralcollapse.generalization.validity import Fitted, FittedBound, check_fitted
from neuralcollapse.validation import as_tensor, occupied_labels, positive


@dataclass(frozen=True)
class PairMarginBound(FittedBound):
    """An upper bound on the error of a linear head, as a sum over ordered pairs of classes.

    Attributes
    ----------
    empirical
        (K, K): the share of class i with a margin against j below `margins`. Diagonals are 0.
    complexity
        (K, K): what the choice among all heads may cost.
    deviation
        (K, K): what chance may cost.
    margins
        (K, K) g_ij at which each pair was judged, in logits; NaN on the diagonal.
    priors
        (K,) p_i, the share of each class in the data to come.
    confidence
        Probability, over the sample, that the bound is right.
    fitted
        What was fitted on this very sample: ``"nothing"``, ``"head"`` or ``"network"``.

    Examples
    --------
    >>> from neuralcollapse.generalization import pair_margin_bound
    >>> from neuralcollapse.geometry import simplex_etf
    >>> vertices, labels = simplex_etf(2, 4, "axis"), [0, 1] * 500
    >>> bound = pair_margin_bound(vertices[labels], labels, vertices, fitted="head")
    >>> bound.fitted, bound.vacuous, bound.priors.tolist()
    ('head', False, [0.5, 0.5])
    """

    empirical: Float[Tensor, "K K"]
    complexity: Float[Tensor, "K K"]
    deviation: Float[Tensor, "K K"]
    margins: Float[Tensor, "K K"]
    priors: Float[Tensor, " K"]
    confidence: float
    fitted: Fitted

    @property
    def pairs(self) -> Float[Tensor, "K K"]:
        """What each pair adds to the bound: class i decided as j, or as good as."""
        return self.priors[:, None] * (self.empirical + self.complexity + self.deviation)

    @property
    def bound(self) -> float:
        """The bound, the sum over pairs; above 1 it says nothing."""
        return float(self.pairs.sum())


def pair_margin_bound(
    features: Any,
    labels: Any,
    weight: Any,
    bias: Any = None,
    *,
    fitted: Fitted,
    distances: Any = None,
    feature_scale: float = 1.0,
    confidence: float = 0.95,
) -> PairMarginBound:
    r"""Bound the error on new data by the margins of each pair of classes.

    .. math:: P(m \le 0) \le \sum_i p_i \sum_{j \ne i} \Biggl[
        \frac{\#\{y = i,\, m_{ij} < g_{ij}\}}{n_i}
        + \frac{2 \|w_i - w_j\|}{g_{ij} n_i} \sqrt{\textstyle\sum_{y = i} \|z\|^2}
        + 3 \sqrt{\frac{\ln(2 / \delta_{ij})}{2 n_i}} \Biggr]

    with probability at least 1 - delta = 1 - sum of delta_ij, for all heads, on data that have the
    sample's shares of the classes, p_i. It shows which pairs carry the risk. As a bound it is worse
    than `uniform_margin_bound`: every pair is judged by the n_i samples of its class alone, and
    what that costs adds up over the pairs.

    Parameters
    ----------
    features, labels, weight, bias, fitted, confidence
        As in `margin_bound`; every class needs a sample.
    distances
        (K, K) g_ij / ||w_i - w_j|| > 0 fixed before the sample is seen (the diagonal is not
        read), in the units of the features. If omitted, the best of a grid as in
        `uniform_margin_bound`, for each pair apart.
    feature_scale
        The unit of that grid.

    Returns
    -------
    PairMarginBound
        The bound, its parts and its pairs.

    Raises
    ------
    NonFiniteError
        If an entry is NaN or infinite.
    NeuralCollapseError
        If an argument is out of range, a class has no sample, or two have the same weights.

    Notes
    -----
    The paper prints the form without constants; these are ours, of the two-class margin bound
    for each pair and a union bound.

    References
    ----------
    Gao et al. 2023, Theorem 4.4; Mohri, Rostamizadeh & Talwalkar 2018, Theorem 5.8.

    Examples
    --------
    >>> from neuralcollapse.generalization import pair_margin_bound
    >>> from neuralcollapse.geometry import simplex_etf
    >>> vertices, labels = simplex_etf(2, 4, "axis"), [0, 1] * 500
    >>> bound = pair_margin_bound(vertices[labels], labels, vertices, fitted="head")
    >>> round(bound.bound, 4), round(float(bound.pairs[0, 1]), 4)
    (0.306, 0.153)
    """
    check_fitted(fitted)
    sample = HeadSample.of(features, labels, weight, bias)
    K, scale = sample.num_classes, positive("feature_scale", feature_scale)
    occupied_labels("labels", sample.labels, K)
    sizes = torch.bincount(sample.labels, minlength=K)
    shares = sizes / sizes.sum(dtype=torch.float64)
    fixed = None if distances is None else _distances(distances, K)
    powers = range(-MAX_LOG2, MAX_LOG2 + 1) if fixed is None else [0]
    grid = scale * torch.tensor([2.0**k for k in powers], dtype=torch.float64)
    # delta_ij, and its part for each margin of the grid, which a union bound adds up.
    delta = failure_probability(confidence) / (K * (K - 1))
    parts = [delta * (grid_weight(k) if fixed is None else 1.0) for k in powers]
    tables = torch.zeros(4, K, K, dtype=torch.float64)
    for i in range(K):
        own = sample.features[sample.labels == i]
        candidates = grid[:, None].expand(-1, K) if fixed is None else fixed[i][None].cpu()
        tables[:, i] = _best(own, sample.head[i] - sample.head, i, candidates, parts)
    empirical, complexity, deviation, margins = tables
    return PairMarginBound(
        empirical, complexity, deviation, margins, shares.cpu(), confidence, fitted
    )


def _best(
    own: Tensor, normals: Tensor, i: int, candidates: Tensor, deltas: list[float]
) -> Float[Tensor, "4 K"]:
    """Judge the samples of class i against every class, each at the best of (G, K) distances."""
    lengths = normals.norm(dim=1).cpu()
    same = [j for j in (lengths == 0).nonzero().flatten().tolist() if j != i]
    if same:
        raise NeuralCollapseError(
            "weight", "different rows", f"rows {i} and {same[0]} equal", "merge these classes"
        )
    n, lengths[i] = len(own), math.nan  # no class is judged against itself
    away = (own @ normals.T).cpu() / lengths
    ordered = away.T.contiguous().sort(dim=1).values
    below = torch.searchsorted(ordered, candidates.T.contiguous()).T.double() / n  # strictly below
    complexity = 2 * float(own.norm()) / (candidates * n)
    chance = torch.tensor([rademacher_deviation(n, part) for part in deltas], dtype=torch.float64)
    options = torch.stack(
        [below, complexity, chance[:, None].expand_as(below), candidates * lengths]
    )
    best = options[:3].sum(0).argmin(0)
    row = options.gather(1, best.expand(4, 1, -1)).squeeze(1)
    row[:3, i] = 0
    return row


def _distances(value: Any, num_classes: int) -> Tensor:
    distances = as_tensor("distances", value).to(torch.float64)
    if distances.shape == (num_classes, num_classes):
        off = distances[~torch.eye(num_classes, dtype=torch.bool, device=distances.device)]
        if bool((torch.isfinite(off) & (off > 0)).all()):
            return distances
    raise NeuralCollapseError(
        "distances",
        f"({num_classes}, {num_classes}) finite numbers above 0 off the diagonal",
        f"shape {tuple(distances.shape)}"
        + (f", least {float(distances.min()):g}" if distances.numel() else ""),
        "pass the distance from the boundary at which each pair is judged",
    )
