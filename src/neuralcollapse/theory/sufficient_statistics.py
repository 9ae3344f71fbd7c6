"""All that the regularised MSE models need of the features: class means and pooled scatter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.validation import (
    as_tensor,
    class_counts,
    finite_matrix,
    integer_labels,
    occupied_labels,
)


@runtime_checkable
class HasMoments(Protocol):
    """Any object that has the first two class moments.

    ``means``: (K, d) class means; ``within``: (d, d) pooled within-class scatter, the sum over all
    samples divided by N; ``counts``: (K,) samples in each class.
    """

    @property
    def means(self) -> Any:
        """Class means."""

    @property
    def within(self) -> Any:
        """Pooled within-class scatter."""

    @property
    def counts(self) -> Any:
        """Samples in each class."""


@dataclass(frozen=True)
class SufficientStatistics:
    """First two class moments, in float64 on the CPU.

    Attributes
    ----------
    means
        (K, d) class means.
    within
        (d, d) pooled within-class scatter, the sum over all samples divided by N.
    counts
        (K,) samples in each class, each at least 1.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.theory import SufficientStatistics
    >>> million = torch.tensor([10**6, 10**6])
    >>> SufficientStatistics(torch.eye(2).double(), torch.eye(2).double(), million).weights
    tensor([1., 1.], dtype=torch.float64)
    """

    means: Float[Tensor, "K d"]
    within: Float[Tensor, "d d"]
    counts: Int[Tensor, " K"]

    @property
    def weights(self) -> Float[Tensor, " K"]:
        """Class weights K n_k / N: all 1 when the classes have equal sizes."""
        return len(self.counts) * self.counts.double() / self.counts.sum()

    @property
    def balanced(self) -> bool:
        """Whether every class has the same number of samples."""
        return bool((self.counts == self.counts[0]).all())

    @property
    def centered_means(self) -> Float[Tensor, "K d"]:
        """Class means less the mean over all samples."""
        return self.means - self.weights @ self.means / len(self.counts)


def sufficient_statistics(features: Any, labels: Any = None) -> SufficientStatistics:
    r"""Reduce features to class means and pooled within-class scatter, or check those given.

    .. math:: \Sigma_W = \frac1N \sum_i (h_i - \bar h_{y_i}) (h_i - \bar h_{y_i})^\top

    Parameters
    ----------
    features
        (N, d) features, one row per sample, or an object with ``means``, ``within``, ``counts``.
    labels
        (N,) class indices covering 0..K-1, in any order; none when moments are given.

    Returns
    -------
    SufficientStatistics
        The moments.

    Raises
    ------
    NeuralCollapseError
        If labels and features do not match, a class is empty, or the scatter is no covariance.
    NonFiniteError
        If a number is NaN or infinite.

    Examples
    --------
    >>> from neuralcollapse.theory import sufficient_statistics
    >>> sufficient_statistics([[0.0, 0], [2, 0], [0, 3]], [0, 0, 1]).means
    tensor([[1., 0.],
            [0., 3.]], dtype=torch.float64)
    """
    if isinstance(features, HasMoments):
        return _checked(features, labels)
    matrix = finite_matrix("H0", features).detach().cpu()
    target = integer_labels("labels", labels, matrix.shape[0]).cpu()
    counts = sample_counts(target)
    means = class_means(matrix, target, counts)
    residual = matrix - means[target]
    within = residual.T @ residual / len(target)
    if not bool(torch.isfinite(within).all()):
        expected = "features whose squares are doubles"
        got = f"one of {float(matrix.abs().max()):.3g}"
        raise NonFiniteError("H0", expected, got, "measure them in other units")
    return SufficientStatistics(means, within, counts)


def sample_counts(labels: Int[Tensor, " N"]) -> Int[Tensor, " K"]:
    """Count the samples of each class 0..K-1, none of which may be empty.

    Parameters
    ----------
    labels
        (N,) class indices.

    Returns
    -------
    Tensor of shape (K,), int64
        The counts.

    Raises
    ------
    NeuralCollapseError
        If there are fewer than two classes, or one is empty.

    Examples
    --------
    >>> sample_counts(torch.tensor([0, 1, 1]))
    tensor([1, 2])
    """
    return torch.bincount(occupied_labels("labels", labels))


def class_means(
    features: Float[Tensor, "*t N d"], labels: Int[Tensor, " N"], counts: Int[Tensor, " K"]
) -> Float[Tensor, "*t K d"]:
    """Average the rows of each class.

    Parameters
    ----------
    features
        (N, d) one row per sample, or several such matrices.
    labels
        (N,) class indices.
    counts
        (K,) samples in each class.

    Returns
    -------
    Tensor of shape (K, d), or as many
        The class means.

    Examples
    --------
    >>> labels = torch.tensor([1, 0, 1])
    >>> class_means(torch.tensor([[1.0], [5.0], [3.0]]), labels, sample_counts(labels))
    tensor([[5.],
            [2.]])
    """
    shape = (*features.shape[:-2], len(counts), features.shape[-1])
    sums = features.new_zeros(shape).index_add_(-2, labels, features)
    return sums / counts[:, None]


def _checked(moments: HasMoments, labels: Any) -> SufficientStatistics:
    if labels is not None:
        raise NeuralCollapseError(
            "labels", "None beside moments", "labels", "moments know their classes: pass None"
        )
    means = finite_matrix("means", moments.means).cpu()
    within = finite_matrix("within", moments.within).cpu()
    counts = as_tensor("counts", moments.counts).cpu()
    num_classes, dim = means.shape
    if within.shape != (dim, dim) or counts.shape != (num_classes,):
        raise NeuralCollapseError(
            "moments",
            f"within ({dim}, {dim}) and {num_classes} counts beside means {tuple(means.shape)}",
            f"within {tuple(within.shape)} and counts {tuple(counts.shape)}",
            "pass (K, d) means, (d, d) pooled scatter and (K,) counts",
        )
    if num_classes < 2 or not bool((counts >= 1).all()):
        raise NeuralCollapseError(
            "counts", "at least 2 classes, each with a sample", str(counts.tolist()), "leave it out"
        )
    counts = class_counts("counts", counts)
    values, vectors = torch.linalg.eigh(within)
    low, high = values[[0, -1]].tolist()
    # Where features depend on each other, sums of float32 round their zero eigenvalues.
    rounding = dim * torch.finfo(torch.float32).eps * max(high, 0.0)
    if low < -rounding or not torch.allclose(within, within.T, rtol=1e-10):
        expected = "a symmetric positive semidefinite scatter"
        got = f"eigenvalues from {low:.3g} to {high:.3g}"
        remedy = "pass the covariance of the features about their class means"
        raise NeuralCollapseError("within", expected, got, remedy)
    if low < 0:
        within = (vectors * values.clamp(min=0)) @ vectors.T
    return SufficientStatistics(means, within, counts)
