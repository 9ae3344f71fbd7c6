"""Code share: for K > d + 1, how close head and class means are to the best softmax code."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from neuralcollapse.geometry.code_bound import one_vs_rest_bound
from neuralcollapse.geometry.one_vs_rest_margin import one_vs_rest_margin
from neuralcollapse.geometry.softmax_code import SEARCHED, best_known_margin
from neuralcollapse.metrics.class_vectors import unit_rows


@dataclass(frozen=True)
class CodeShare:
    """NC2 and NC3 where no simplex fits (Jiang et al. 2023).

    Attributes
    ----------
    margin
        rho, the one-vs-rest margin of the rows at unit length.
    proved, known
        The margin as a share of the upper bound, and of the best code known: what a short search
        found, or these rows if they are better; NaN for more classes than are searched.
    duality
        Mean cosine between class means and the features that attain the margin.
    means
        Minimum margin of unit rows on unit class means, as a share of the best code's.
    """

    margin: float
    proved: float
    known: float
    duality: float
    means: float


def code_share(weight: Tensor, means: Tensor) -> CodeShare:
    r"""Return how close head and class means are to a softmax code.

    .. math:: \rho(W) / \rho^*, \qquad \mathrm{mean}_k \cos(\mu_k, h_k), \qquad
        \min_{k, j \ne k} \langle w_k - w_j, \mu_k \rangle / \rho^*

    Parameters
    ----------
    weight, means
        (K, d) rows of the head (none of them zero) and class means (not centred), K > d + 1.

    Examples
    --------
    >>> import torch
    >>> square = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    >>> found = code_share(2 * square, 3 * square)
    >>> round(found.margin, 6), round(found.proved, 6), round(found.duality, 6)
    (1.0, 1.0, 1.0)
    """
    num, dim = weight.shape
    rows = unit_rows(weight.detach().cpu().double())
    directions = unit_rows(means.detach().cpu().double())
    found, bound = one_vs_rest_margin(rows), one_vs_rest_bound(num, dim)
    best = max(best_known_margin(num, dim), found.lower) if num <= SEARCHED else math.nan
    products = directions @ rows.T
    ahead = products.diagonal()[:, None] - products
    least = float(ahead.fill_diagonal_(math.inf).min())
    return CodeShare(
        margin=found.lower,
        proved=min(found.lower / bound, 1.0) if bound > 0 else math.nan,
        known=found.lower / best if best else 1.0,
        duality=float((found.features * directions).sum(1).mean()),
        means=least / best if best else math.nan,
    )
