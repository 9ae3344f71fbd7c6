"""Minimum-norm separation: its optimum in closed form, for any class sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuralcollapse.geometry.sel import simplex_encoded_spectrum
from neuralcollapse.geometry.simplex_etf import standard_simplex
from neuralcollapse.theory.predicted_geometry import CODES
from neuralcollapse.validation import check_size, class_counts, simplex_dim


@dataclass(frozen=True)
class SeparationOptimum:
    """The head and features of least norm that separate the classes with margin 1.

    Attributes
    ----------
    W
        (K, d) head, in the first K - 1 coordinates; every other optimum is a rotation of it.
    H
        (N, d) features, one point per class.
    labels
        (N,) class-major: n_1 zeros, n_2 ones, ...
    value
        (||W||^2 + ||H||^2) / 2 = D, the least there is.
    dual
        (N, K) optimal dual matrix, rows per sample (the transpose of the literature's): the
        multipliers of the margins with a minus sign, and their sum at the sample's own class.
        Its singular values are 1, its rows sum to zero.

    Examples
    --------
    >>> from neuralcollapse.theory import separation_optimum
    >>> best = separation_optimum([2, 2, 2], dim=2)
    >>> (best.H @ best.W.T).round(decimals=6)[0]  # margin 1 against each other class
    tensor([ 0.6667, -0.3333, -0.3333], dtype=torch.float64)
    """

    W: Float[Tensor, "K d"]
    H: Float[Tensor, "N d"]
    labels: Int[Tensor, " N"]
    value: float
    dual: Float[Tensor, "N K"]

    @property
    def multipliers(self) -> Float[Tensor, "N K"]:
        """The multiplier of each margin constraint, all positive; 0 at the own class."""
        return (-self.dual).scatter(1, self.labels[:, None], 0.0)


def separation_value(class_sizes: Any) -> float:
    r"""Return the least mean square norm that separates the classes with margin 1.

    .. math:: D = \sum_{k=1}^{K-1} \sqrt{\lambda_k}, \qquad
        \sum_{k=1}^K \frac{1}{n_k - \lambda} = 0

    It is attained whenever d >= K - 1, and a lower bound for every d. Balanced classes have
    D = (K - 1) sqrt(n), two classes D = sqrt((n_1 + n_2) / 2).

    Parameters
    ----------
    class_sizes
        (K,) samples n_k >= 1 of each class.

    Returns
    -------
    float
        D.

    Raises
    ------
    NeuralCollapseError
        If there are fewer than two classes or a size is no whole number above zero.

    References
    ----------
    Ji et al. 2022, Theorem 3.1, for balanced classes; any class sizes are ours.

    Examples
    --------
    >>> from neuralcollapse.theory import separation_value
    >>> separation_value([9, 9, 9, 9])
    9.000000
    """
    return float(simplex_encoded_spectrum(class_sizes).sum())


def separation_optimum(class_sizes: Any, dim: int) -> SeparationOptimum:
    r"""Solve the minimum-norm separation problem in closed form.

    .. math:: \min_{W, H} \tfrac12 (\|W\|^2 + \|H\|^2) \quad \text{such that} \quad
        w_{y_i} \cdot h_i - w_j \cdot h_i \ge 1 \quad \text{for all } i,\ j \ne y_i

    The logits of an optimum are the simplex-encoded labels: every margin is exactly 1, every
    multiplier positive. With F (K, K-1) an orthonormal basis of the vectors of zero sum, the class
    sizes on the diagonal of D_n, and S = F^T D_n F, this one has W = F S^{1/4}, class means
    F S^{-1/4} and dual rows those of F S^{-1/2} F^T. Balanced, W is a simplex ETF and so are the
    class means.

    Parameters
    ----------
    class_sizes
        (K,) samples n_k >= 1 of each class.
    dim
        d >= K - 1.

    Returns
    -------
    SeparationOptimum
        Head, features, dual matrix and value.

    Raises
    ------
    NeuralCollapseError
        If a class size is no whole number above zero, there are fewer than two, d < K - 1, or the
        features are more than 2,147,483,648 numbers.

    References
    ----------
    Ji et al. 2022, Theorem 3.1, for balanced classes; Thrampoulidis et al. 2022
    for the simplex-encoded labels; the dual matrix is ours.

    Examples
    --------
    >>> from neuralcollapse.theory import separation_optimum
    >>> optimum = separation_optimum([2, 2], dim=1)
    >>> round(optimum.value, 6), (optimum.H @ optimum.W.T).round(decimals=6)[0]
    (1.414214, tensor([ 0.5000, -0.5000], dtype=torch.float64))
    """
    sizes = class_counts("class_sizes", class_sizes).cpu()
    num_classes = len(sizes)
    dim = simplex_dim(dim, num_classes, CODES)
    check_size("class_sizes", int(sizes.sum()), max(dim, num_classes))
    basis = standard_simplex(num_classes) * math.sqrt((num_classes - 1) / num_classes)
    squares, frame = torch.linalg.eigh(basis.T @ (sizes[:, None] * basis))
    # Acting within the zero-sum space leaves no null vector whose rounding a root could magnify.
    rows = basis @ frame
    pad = torch.zeros(num_classes, dim - num_classes + 1, dtype=torch.float64)
    head = torch.cat([rows * squares**0.25 @ frame.T, pad], 1)
    means = torch.cat([rows * squares**-0.25 @ frame.T, pad], 1)
    labels = torch.repeat_interleave(sizes)
    dual = (rows * squares**-0.5) @ rows.T
    return SeparationOptimum(head, means[labels], labels, separation_value(sizes), dual[labels])
