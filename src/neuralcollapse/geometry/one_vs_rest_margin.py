"""The one-vs-rest margin of a head: how far each row lies from the hull of the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.geometry.least_distance import AGREEMENT, largest_least_product
from neuralcollapse.validation import Array, class_rows


@dataclass(frozen=True)
class OneVsRestMargin:
    r"""The one-vs-rest margin rho of a head, with a proof of its value.

    Attributes
    ----------
    lower, upper
        Bounds of rho that agree to round-off: unit features, one per class, attain the lower one,
        a point of the hull the upper one.
    margins
        (K,) distance of each row from the hull of the others, attained by `features`; with
        ``every_class=False`` a lower bound where a class was not needed.
    features
        (K, d) unit features :math:`h_k` with :math:`\min_{j \ne k} \langle w_k - w_j, h_k \rangle`
        = ``margins[k]``, the normalised difference of the row and its projection on the hull; 0
        where the row lies in the hull. Where a class was not needed, the direction of its row from
        the mean row.

    Examples
    --------
    >>> from neuralcollapse.geometry import one_vs_rest_margin, simplex_etf
    >>> found = one_vs_rest_margin(simplex_etf(4, 3))
    >>> round(found.lower, 6), found.gap < 1e-9  # 4/3: the largest that four rows can have
    (1.333333, True)
    """

    lower: float
    upper: float
    margins: Float[Tensor, " K"]
    features: Float[Tensor, "K d"]

    @property
    def gap(self) -> float:
        """`upper` minus `lower`: how far the value can be off."""
        return self.upper - self.lower


def one_vs_rest_margin(weight: Any, every_class: bool = True) -> OneVsRestMargin:
    r"""Return the least distance of a head's row from the convex hull of the others.

    .. math:: \rho(W) = \min_k \mathrm{dist}\bigl(w_k, \mathrm{conv} \{w_j\}_{j \ne k}\bigr)
        = \min_k \max_{\|h\| \le 1} \min_{j \ne k} \langle w_k - w_j, h \rangle

    Unit rows of largest rho are a softmax code: the head that cross-entropy approaches, with unit
    rows and features, as the temperature falls, also for K > d + 1. Rows are taken as they are:
    divide by their lengths to compare with a code. Invariant to rotations and common shifts.

    Parameters
    ----------
    weight
        (K, d) head, one row per class, K >= 2.
    every_class
        Whether to solve every class; False solves only those that can attain the minimum, which is
        much faster for many classes.

    Returns
    -------
    OneVsRestMargin
        The value between two bounds that agree to round-off, and the margin of each class.

    Raises
    ------
    NeuralCollapseError
        If K < 2.
    NonFiniteError
        If a number is NaN or infinite.

    Notes
    -----
    Each class is a least-distance problem, solved with the rivals that matter; the lower bound is
    taken over all rivals.

    References
    ----------
    Jiang et al. 2023, "Generalized neural collapse for a large number of classes", Definition 1.

    Examples
    --------
    >>> from neuralcollapse.geometry import one_vs_rest_margin
    >>> square = one_vs_rest_margin([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    >>> round(square.lower, 12), square.gap < 1e-12
    (1.0, True)
    """
    head = class_rows("weight", weight).detach().cpu().numpy()
    head = head - head.mean(0)  # only differences matter, and so an offset costs no precision
    unit = float(np.abs(head).max()) or 1.0  # whose square need not be a double
    head = head / unit
    length = np.linalg.norm(head, axis=1)
    features = head / np.where(length > 0, length, 1.0)[:, None]
    products = head @ features.T  # <w_j, h_k> for h_k = w_k / ||w_k||
    own = products.diagonal().copy()
    np.fill_diagonal(products, -np.inf)
    margins = np.maximum(own - products.max(0), 0.0)
    least_upper = np.inf
    for k in np.argsort(margins):
        if not every_class and margins[k] > least_upper:
            break
        margins[k], upper, features[k] = _class_margin(head, int(k), products[:, k])
        least_upper = min(least_upper, upper)
    # A dual value below its primal one is round-off: the bounds are then swapped.
    lower, upper = sorted((unit * float(margins.min()), unit * float(least_upper)))
    margins = unit * margins
    return OneVsRestMargin(lower, upper, torch.from_numpy(margins), torch.from_numpy(features))


def _class_margin(head: Array, k: int, products: Array) -> tuple[float, float, Array]:
    """Solve one class with its nearest rivals, then add all that violate the solution."""
    rivals = np.argsort(-products)[: min(2 * head.shape[1] + 2, len(head) - 1)]
    tolerance = AGREEMENT * float(np.linalg.norm(head, axis=1).max())
    while True:
        lower, upper, feature = largest_least_product(head[k] - head[rivals])
        slack = (head[k] - head) @ feature
        slack[k] = np.inf
        violators = np.setdiff1d(np.flatnonzero(slack < lower - tolerance), rivals)
        if not len(violators):
            return max(min(lower, float(slack.min())), 0.0), upper, feature
        rivals = np.r_[rivals, violators[np.argsort(slack[violators])][: 2 * head.shape[1]]]
