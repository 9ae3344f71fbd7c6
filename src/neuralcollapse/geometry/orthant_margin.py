"""How well non-negative features can fit a head: the orthant margin of each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neuralcollapse.geometry.least_distance import largest_least_product
from neuralcollapse.geometry.simplex_etf import simplex_etf
from neuralcollapse.validation import check_size, class_rows, whole_number

MOST_DRAWS = 10**6  # each is a least squares problem for every class


@dataclass(frozen=True)
class OrthantMargins:
    """The orthant margin of each class of a head, with a proof of its value.

    Attributes
    ----------
    margins
        (K,) largest margin that non-negative features of norm 1 can reach, >= 0; 0 where the class
        cannot be fitted, or by no more than 1e-10 of its longest difference from another row.
        Attained by `features`, so it is itself a lower bound.
    upper
        (K,) value of the dual at a feasible point, an upper bound.
    features
        (K, d) the non-negative unit features that attain `margins`; 0 where there are none.

    Examples
    --------
    >>> from neuralcollapse.geometry import orthant_margins
    >>> found = orthant_margins([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    >>> found.unfittable.tolist()  # no non-negative features point along (-1, -1)
    [False, False, True]
    """

    margins: Float[Tensor, " K"]
    upper: Float[Tensor, " K"]
    features: Float[Tensor, "K d"]

    @property
    def least(self) -> float:
        """The margin of the class that is hardest to fit."""
        return float(self.margins.min())

    @property
    def unfittable(self) -> Bool[Tensor, " K"]:
        """Which classes no head of these rows can tell from the others behind a ReLU."""
        return self.margins == 0

    @property
    def gap(self) -> float:
        """Largest `upper` minus `margins`: how far the values can be off."""
        return float((self.upper - self.margins).max())


def orthant_margins(weight: Any) -> OrthantMargins:
    r"""Return the largest margin that non-negative unit features can give each class of a head.

    .. math:: \omega_y = \max_{z \ge 0, \|z\| \le 1} \min_{j \ne y} \langle m_y - m_j, z \rangle
        = \min_{\lambda \in \Delta} \Bigl\| \bigl( \sum_{j \ne y} \lambda_j (m_y - m_j) \bigr)_+
        \Bigr\|

    Features behind a ReLU are non-negative. If :math:`\omega_y = 0`, no such features put class y
    above all others: without a bias the head cannot be fitted, whatever the network before it. For
    unit simplex ETFs the margin lies in [0, K/(K-1)]. It scales with the head, a permutation of
    the rows permutes it, and a rotation of the head changes it.

    Parameters
    ----------
    weight
        (K, d) head, one row per class, K >= 2, without bias.

    Returns
    -------
    OrthantMargins
        The margins, the features that attain them, and the dual bound, whose gap to them is
        round-off.

    Raises
    ------
    NeuralCollapseError
        If K < 2.
    NonFiniteError
        If a number is NaN or infinite.

    Notes
    -----
    Ours. Each class is a least-distance problem, solved by active sets as one non-negative least
    squares problem (Lawson & Hanson 1974, chapter 23), in finitely many steps.

    Examples
    --------
    >>> from neuralcollapse.geometry import orthant_margins
    >>> orthant_margins([[1.0, 0.0], [0.0, 1.0]]).margins
    tensor([1., 1.], dtype=torch.float64)
    >>> orthant_margins([[1.0], [-1.0]]).unfittable
    tensor([False,  True])
    """
    head = class_rows("weight", weight).detach().cpu().numpy()
    solved = [
        largest_least_product(head[y] - np.delete(head, y, 0), nonnegative=True)
        for y in range(len(head))
    ]
    margins, upper, features = (np.array(part) for part in zip(*solved, strict=True))
    return OrthantMargins(*(torch.from_numpy(part) for part in (margins, upper, features)))


@dataclass(frozen=True)
class FittableETF:
    """The rotation of a simplex ETF that non-negative features fit best among random ones.

    Attributes
    ----------
    vertices
        (K, d) unit rows of the chosen ETF.
    orthant
        Its orthant margins.
    least
        (draws,) the minimum orthant margin of every ETF drawn; the largest is the chosen one's.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.geometry import fittable_etf
    >>> found = fittable_etf(4, 8, draws=50, generator=torch.Generator().manual_seed(0))
    >>> found.vertices.shape, bool(found.orthant.least >= found.least.max())
    (torch.Size([4, 8]), True)
    """

    vertices: Float[Tensor, "K d"]
    orthant: OrthantMargins
    least: Float[Tensor, " draws"]


def fittable_etf(
    num_classes: int, dim: int, draws: int = 50, generator: torch.Generator | None = None
) -> FittableETF:
    r"""Draw rotations of the simplex ETF and keep the one with the largest least orthant margin.

    .. math:: \arg\max_{\text{draws}} \; \min_y \omega_y

    Parameters
    ----------
    num_classes, dim
        K >= 2 and d >= K - 1.
    draws
        Rotations to draw from the Haar measure, from 1 to 1,000,000.
    generator
        Random state; torch's global one if omitted.

    Returns
    -------
    FittableETF
        The best one, and the minimum margin of every one drawn. Its margin can still be 0: then
        more draws, more dimensions or the block orientation of `simplex_etf` are needed.

    Raises
    ------
    NeuralCollapseError
        If there is no such ETF or it fits in no memory, draws are none or more than a million, or
        the generator is none.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.geometry import fittable_etf
    >>> found = fittable_etf(4, 6, draws=5, generator=torch.Generator().manual_seed(0))
    >>> found.orthant.least == float(found.least.max())
    True
    """
    draws = whole_number("draws", draws, at_most=MOST_DRAWS)
    dim = whole_number("dim", dim)
    check_size("dim", dim, dim)
    candidates = [simplex_etf(num_classes, dim, generator=generator) for _ in range(draws)]
    margins = [orthant_margins(candidate) for candidate in candidates]
    least = torch.tensor([margin.least for margin in margins], dtype=torch.float64)
    best = int(least.argmax())
    return FittableETF(candidates[best], margins[best], least)
