"""Simplex-encoded labels: the geometry of collapse for arbitrary class sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import brentq
from torch import Tensor

from neuralcollapse.validation import class_counts, occupied_labels


def simplex_encoded_labels(labels: Any, num_classes: int | None = None) -> Float[Tensor, "N K"]:
    r"""Return the centred one-hot labels, one row per sample.

    .. math:: Z = Y C, \qquad C = I - \mathbf{1}\mathbf{1}^\top / K

    They are the logits of least nuclear norm whose margins are all at least 1, whatever the class
    sizes; for balanced classes their distinct rows are a simplex ETF.

    Parameters
    ----------
    labels
        (N,) class indices 0..K-1 in any order, each class with at least one sample.
    num_classes
        K >= 2; the largest label plus one if omitted.

    Returns
    -------
    Tensor of shape (N, K), float64
        The transpose of the literature's K x N matrix.

    Raises
    ------
    NeuralCollapseError
        If a label is not a class index, there are fewer than two classes, or one has no sample.

    References
    ----------
    Thrampoulidis, Kini, Vakilian & Behnia 2022, "Imbalance trouble: revisiting neural-collapse
    geometry".

    Examples
    --------
    >>> from neuralcollapse.geometry import simplex_encoded_labels
    >>> simplex_encoded_labels([0, 1, 1])
    tensor([[ 0.5000, -0.5000],
            [-0.5000,  0.5000],
            [-0.5000,  0.5000]], dtype=torch.float64)
    """
    labels = occupied_labels("labels", labels, num_classes)
    one_hot = torch.nn.functional.one_hot(labels).to(torch.float64)
    return one_hot - 1 / one_hot.shape[1]


def simplex_encoded_spectrum(class_sizes: Any) -> Float[Tensor, " m"]:
    r"""Return the K - 1 nonzero singular values of the simplex-encoded labels.

    Their squares are the roots of the secular equation

    .. math:: \sum_{k=1}^K \frac{1}{n_k - \lambda} = 0,

    one between any two neighbouring distinct sizes, and each size shared by m classes m - 1 times.

    Parameters
    ----------
    class_sizes
        (K,) samples n_k >= 1 of each class, in any order.

    Returns
    -------
    Tensor of shape (K - 1,), float64
        The singular values, descending, accurate to rounding.

    Raises
    ------
    NeuralCollapseError
        If there are fewer than two classes or a size is not a whole number above zero.

    References
    ----------
    Golub 1973, "Some modified matrix eigenvalue problems", for the secular equation; that it
    gives this spectrum for any class sizes is ours.

    Examples
    --------
    >>> from neuralcollapse.geometry import simplex_encoded_spectrum
    >>> simplex_encoded_spectrum([4, 4, 4])
    tensor([2., 2.], dtype=torch.float64)
    """
    sizes, shared = np.unique(class_counts("class_sizes", class_sizes).cpu(), return_counts=True)
    roots = [*np.repeat(sizes, shared - 1)]
    roots += [_root_after(i, sizes.astype(float), shared) for i in range(len(sizes) - 1)]
    return torch.from_numpy(np.sort(np.sqrt(np.array(roots, dtype=float)))[::-1].copy())


def _root_after(i: int, poles: np.ndarray, weights: np.ndarray) -> float:
    """Return the root of sum_k w_k / (n_k - x) between poles i and i + 1."""
    low, high = poles[i : i + 2]
    far_poles, far_weights = np.delete(poles, [i, i + 1]), np.delete(weights, [i, i + 1])

    def secular(x: float) -> float:
        # Times the two nearest poles, which leaves a smooth function with one change of sign.
        far = (far_weights / (far_poles - x)).sum() * (x - low) * (high - x)
        return float(far - weights[i] * (high - x) + weights[i + 1] * (x - low))

    return float(brentq(secular, low, high, xtol=1e-15 * high, rtol=1e-15))
