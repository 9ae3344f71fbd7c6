"""The central path: the gradient flow of the regularised MSE model with its optimal head."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.theory.landing import increasing_times, land_on
from neuralcollapse.theory.minimizing_head import least_head, minimizing_head
from neuralcollapse.theory.round_off import regular_systems
from neuralcollapse.theory.sufficient_statistics import (
    HasMoments,
    SufficientStatistics,
    sufficient_statistics,
)
from neuralcollapse.validation import Array, decay_strength, finite_matrix, integer_labels


@dataclass(frozen=True)
class CentralPath:
    """The flow at each of T times.

    Attributes
    ----------
    times
        (T,) the times asked for.
    means
        (T, K, d) class means.
    within
        (T, d, d) pooled within-class scatter, positive semidefinite to rounding.
    propagators
        (T, d, d) matrices G with H - means = (H0 - means) G^T, row by row.
    trace_within, trace_between
        (T,) traces of the within- and between-class scatter.
    trace_within_rate, trace_between_rate
        (T,) their time derivatives, from the flow's right-hand side.
    deviations, labels
        (N, d) features of H0 less their class means, and (N,) their classes; None when only
        moments were given.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.theory import central_path
    >>> H0 = torch.tensor([[2.0, 0.1], [2.0, -0.1], [0.1, 1.0], [-0.1, 1.0]])
    >>> path = central_path(H0, [0, 0, 1, 1], lambda_w=0.5, lambda_h=0.1, times=[0, 1])
    >>> path.means.shape, bool((path.features(0) - H0).abs().max() < 1e-9)
    (torch.Size([2, 2, 2]), True)
    """

    times: Float[Tensor, " T"]
    means: Float[Tensor, "T K d"]
    within: Float[Tensor, "T d d"]
    propagators: Float[Tensor, "T d d"]
    trace_within: Float[Tensor, " T"]
    trace_between: Float[Tensor, " T"]
    trace_within_rate: Float[Tensor, " T"]
    trace_between_rate: Float[Tensor, " T"]
    deviations: Float[Tensor, "N d"] | None
    labels: Int[Tensor, " N"] | None

    @property
    def trace_ratio(self) -> Float[Tensor, " T"]:
        """NC1 as Tr Sigma_W / Tr Sigma_B."""
        return self.trace_within / self.trace_between

    def features(self, index: int) -> Float[Tensor, "N d"]:
        """Rebuild all features at the time of this index, in the order of H0.

        Parameters
        ----------
        index
            Which of the times.

        Returns
        -------
        Tensor of shape (N, d)
            The features.

        Raises
        ------
        NeuralCollapseError
            If the path started from moments only.
        """
        if self.deviations is None or self.labels is None:
            got = "moments only"
            raise NeuralCollapseError("H0", "features", got, "pass features to central_path")
        return self.means[index][self.labels] + self.deviations @ self.propagators[index].T


@regular_systems("lambda_w")
def central_path(H0: Any, labels: Any, lambda_w: float, lambda_h: float, times: Any) -> CentralPath:
    r"""Follow the gradient flow of the regularised MSE loss with the optimal head throughout.

    .. math:: \dot H = -N \nabla L(H), \qquad L(H) = \min_W f(W, H)

    In terms of class means M (K, d) and pooled scatter, with class weights D = diag(K n_k / N),

    .. math::
        W &= D M (M^\top D M + K \Sigma_W + \lambda_W I)^{-1}, \qquad
        \dot M = (I - M W^\top) W - \lambda_H M, \\
        \Sigma_W &= e^{-2 \lambda_H t}\, G \Sigma_W(0) G^\top, \qquad
        \dot G = -W^\top W G, \quad G(0) = I,

    which does not depend on the number of samples, and keeps the scatter positive semidefinite.
    For balanced classes the ratio of traces strictly falls, and :math:`e^{2 \lambda_H t}` times
    the within-class (between-class) trace never rises (falls).

    Parameters
    ----------
    H0
        (N, d) features, or an object with ``means``, ``within`` (pooled) and ``counts``.
    labels
        (N,) class indices 0..K-1 in any order, classes of any sizes; None when moments are given.
    lambda_w
        Weight decay of the head, above 0.
    lambda_h
        Weight decay of the features, at least 0.
    times
        (T,) times, at least 0 and increasing.

    Returns
    -------
    CentralPath
        Class means and within-class scatter at each time, traces and their derivatives.

    Raises
    ------
    NeuralCollapseError
        If labels and features do not match, a strength or a time is out of range, the flow does
        not reach a time, or all class means of H0 are equal: they then stay equal for ever, and
        nothing collapses.
    NonFiniteError
        If a number is NaN or infinite.

    References
    ----------
    Tirer, Huang & Niles-Weed 2023, Equation 4 and Theorem 3.1. The reduction is ours.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.theory import central_path
    >>> H0 = torch.tensor([[2.0, 0.1], [2.0, -0.1], [0.1, 1.0], [-0.1, 1.0]])
    >>> path = central_path(H0, [0, 0, 1, 1], 0.5, 0.1, [0, 1, 10])
    >>> bool((path.trace_ratio.diff() < 0).all())
    True
    """
    moments = sufficient_statistics(H0, labels)
    lambda_w = decay_strength("lambda_w", lambda_w)
    lambda_h = decay_strength("lambda_h", lambda_h, or_zero=True)
    instants = increasing_times(times)
    _check_distinct(moments)
    flow = _ReducedFlow(moments, lambda_w, lambda_h)
    states = [flow.split(state) for state in flow.integrate(instants)]
    means = np.stack([state[0] for state in states])
    propagators = np.stack(
        [math.exp(-lambda_h * t) * state[1] for t, state in zip(instants, states, strict=True)]
    )
    roots = propagators @ flow.root
    within = roots @ np.swapaxes(roots, 1, 2)
    diagnostics = np.array([flow.traces(*pair) for pair in zip(means, roots, strict=True)])
    deviations = target = None
    if not isinstance(H0, HasMoments):
        rows = finite_matrix("H0", H0).cpu()
        target = integer_labels("labels", labels, len(rows)).cpu()
        deviations = rows - moments.means[target]
    trace_within, trace_between, within_rate, between_rate = torch.from_numpy(diagnostics).unbind(1)
    return CentralPath(
        times=torch.from_numpy(instants),
        means=torch.from_numpy(means),
        within=torch.from_numpy(within),
        propagators=torch.from_numpy(propagators),
        trace_within=trace_within,
        trace_between=trace_between,
        trace_within_rate=within_rate,
        trace_between_rate=between_rate,
        deviations=deviations,
        labels=target,
    )


@regular_systems("lambda_w")
def central_path_velocity(
    H: Any, labels: Any, lambda_w: float, lambda_h: float
) -> Float[Tensor, "N d"]:
    r"""Return how features move along the central path, with the optimal head.

    .. math:: \dot H = -N \nabla L(H) = (Y - H W^\top) W - \lambda_H H, \qquad W = W^*(H)

    Parameters
    ----------
    H
        (N, d) features.
    labels
        (N,) class indices 0..K-1 in any order, classes of any sizes.
    lambda_w, lambda_h
        Weight decay of the head, above 0, and of the features, at least 0.

    Returns
    -------
    Tensor of shape (N, d)
        Change of each feature in a unit of time.

    Raises
    ------
    NeuralCollapseError
        If labels and features do not match, or a strength is out of range.
    NonFiniteError
        If a number is NaN or infinite.

    References
    ----------
    Tirer, Huang & Niles-Weed 2023, Equation 4.

    Examples
    --------
    >>> from neuralcollapse.theory import central_path_velocity
    >>> central_path_velocity([[1.0, 0.0], [0.0, 1.0]], [0, 1], lambda_w=1.0, lambda_h=0.25)
    tensor([[0., 0.], [0., 0.]], dtype=torch.float64)
    """
    rows = finite_matrix("H", H).cpu()
    target = integer_labels("labels", labels, len(rows)).cpu()
    decay = decay_strength("lambda_h", lambda_h, or_zero=True)
    W = minimizing_head(rows, target, lambda_w)
    return W[target] - rows @ W.T @ W - decay * rows


class _ReducedFlow:
    """The flow on (class means, propagator without its factor exp(-lambda_h t))."""

    def __init__(self, moments: SufficientStatistics, lambda_w: float, lambda_h: float) -> None:
        self.start = moments.means.numpy()
        self.weights = moments.weights.numpy()
        self.lambda_w, self.lambda_h = lambda_w, lambda_h
        values, vectors = np.linalg.eigh(moments.within.numpy())
        self.root = vectors * np.sqrt(values.clip(min=0))  # within = root root^T

    def split(self, state: Array) -> tuple[Array, Array]:
        num_classes, dim = self.start.shape
        means, propagator = np.split(state, [num_classes * dim])
        return means.reshape(num_classes, dim), propagator.reshape(dim, dim)

    def integrate(self, times: Array) -> list[Array]:
        start = np.concatenate([self.start.ravel(), np.eye(self.start.shape[1]).ravel()])
        return land_on(self._velocity, start, times)

    def head(self, means: Array, root: Array) -> Array:
        return least_head(means, root @ root.T, self.weights, self.lambda_w)

    def drift(self, means: Array, W: Array) -> Array:
        return W - means @ W.T @ W - self.lambda_h * means

    def traces(self, means: Array, root: Array) -> tuple[float, float, float, float]:
        """Tr Sigma_W and Tr Sigma_B, and their rates of change."""
        W = self.head(means, root)
        share = self.weights / len(means)
        centered = means - share @ means
        within = float(np.vdot(root, root))
        image = W @ root
        return (
            within,
            float(share @ (centered**2).sum(1)),
            -2 * self.lambda_h * within - 2 * float(np.vdot(image, image)),
            2 * float(share @ (centered * self.drift(means, W)).sum(1)),
        )

    def _velocity(self, time: float, state: Array) -> Array:
        means, propagator = self.split(state)
        W = self.head(means, math.exp(-self.lambda_h * time) * propagator @ self.root)
        return np.concatenate([self.drift(means, W).ravel(), -(W.T @ (W @ propagator)).ravel()])


def _check_distinct(moments: SufficientStatistics) -> None:
    rounding = len(moments.counts) * torch.finfo(torch.float64).eps
    if moments.centered_means.norm() <= rounding * moments.means.norm():
        remedy = "they stay equal along the flow: start from other features"
        raise NeuralCollapseError("H0", "class means that differ", "equal class means", remedy)
