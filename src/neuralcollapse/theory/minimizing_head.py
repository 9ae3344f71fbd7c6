"""The head that minimises the regularised MSE loss of given features: a ridge regression."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve
from torch import Tensor

from neuralcollapse.theory.round_off import regular_systems
from neuralcollapse.theory.sufficient_statistics import sufficient_statistics
from neuralcollapse.validation import Array, decay_strength


@regular_systems("lambda_w")
def minimizing_head(H: Any, labels: Any, lambda_w: float) -> Float[Tensor, "K d"]:
    r"""Return the head that minimises the regularised MSE loss of given features.

    .. math:: W^*(H) = \arg\min_W \frac{1}{2N} \|H W^\top - Y\|^2 + \frac{\lambda_W}{2K} \|W\|^2

    Parameters
    ----------
    H
        (N, d) features, or an object with ``means``, ``within`` (pooled) and ``counts``.
    labels
        (N,) class indices 0..K-1 in any order, classes of any sizes; None when moments are given.
    lambda_w
        Weight decay of the head, above 0.

    Returns
    -------
    Tensor of shape (K, d)
        The head, the same for all features of these moments.

    Raises
    ------
    NeuralCollapseError
        If labels and features do not match, or the strength is not above 0.
    NonFiniteError
        If a number is NaN or infinite.

    References
    ----------
    Tirer, Huang & Niles-Weed 2023, Section 3.

    Examples
    --------
    >>> from neuralcollapse.theory import minimizing_head
    >>> minimizing_head([[1.0, 0.0], [0.0, 1.0]], [0, 1], lambda_w=1.0).tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    """
    moments = sufficient_statistics(H, labels)
    means, within, weights = (
        part.numpy() for part in (moments.means, moments.within, moments.weights)
    )
    return torch.from_numpy(
        least_head(means, within, weights, decay_strength("lambda_w", lambda_w))
    )


def least_head(means: Array, within: Array, weights: Array, lambda_w: float) -> Array:
    """Return the head of class means (K, d), pooled scatter (d, d), weights K n_k / N (K,)."""
    weighted = weights[:, None] * means
    gram = means.T @ weighted + len(means) * within
    gram.flat[:: len(gram) + 1] += lambda_w
    head: Array = cho_solve(cho_factor(gram), weighted.T).T
    return head
