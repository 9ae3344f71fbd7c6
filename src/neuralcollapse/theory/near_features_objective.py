"""The near-features model with the features eliminated: a function of the head alone."""

from __future__ import annotations

import numpy as np

from neuralcollapse.theory.minimizing_head import least_head
from neuralcollapse.theory.sufficient_statistics import SufficientStatistics
from neuralcollapse.validation import Array


class NearFeaturesObjective:
    r"""K times the least value of the near-features loss over all features, given the head.

    With :math:`\mu = \lambda_H + \beta`, class weights :math:`D = \mathrm{diag}(K n_k / N)`,
    :math:`X = \frac\beta\mu \bar H_0` (K, d) and
    :math:`C = X^\top D X + K (\beta/\mu)^2 \Sigma_W(H_0)` (d, d),

    .. math::
        \varphi(W) &= \tfrac12 \mathrm{Tr}\, N^{-1} \Psi + \tfrac{\lambda_W}2 \|W\|^2
        + \tfrac{\beta \lambda_H}{2\mu} (\mathrm{Tr}\, \bar H_0^\top D \bar H_0 + K\, \mathrm{Tr}\,
        \Sigma_W(H_0)), \\
        N &= I + W W^\top / \mu, \qquad \Psi = W C W^\top - W X^\top D - D X W^\top + D.

    The number of samples enters through D only, and only K x K matrices are inverted. Ours.

    Parameters
    ----------
    moments
        Class means, pooled scatter and counts of H0.
    lambda_w, lambda_h, beta
        Strengths of the regularisation and of the pull towards H0.
    """

    def __init__(
        self, moments: SufficientStatistics, lambda_w: float, lambda_h: float, beta: float
    ) -> None:
        self.means = moments.means.numpy()
        self.within = moments.within.numpy()
        self.weights = moments.weights.numpy()
        self.lambda_w, self.lambda_h, self.beta = lambda_w, lambda_h, beta
        self.mu = lambda_h + beta
        shrunk = beta / self.mu * self.means
        cross = self.weights[:, None] * shrunk  # D X
        scatter = shrunk.T @ cross + len(shrunk) * (beta / self.mu) ** 2 * self.within  # C
        self.scales, self.axes = np.linalg.eigh(scatter)
        self.cross = cross @ self.axes
        energy = np.vdot(self.weights, (self.means**2).sum(1)) + len(shrunk) * self.within.trace()
        self.energy = float(energy)  # K ||H0||^2 / N
        self.constant = beta * lambda_h / (2 * self.mu) * self.energy

    def expand(self, W: Array) -> Expansion:
        """Return value, gradient and Hessian at the head W (K, d)."""
        return Expansion(self, W)

    def best_head(self, means: Array, within: Array) -> Array:
        """Return the optimal head for features of these class means and pooled scatter."""
        return least_head(means, within, self.weights, self.lambda_w)

    def shrinkage(self, W: Array) -> Array:
        """Return G = (W^T W + mu I)^-1: the best features are H = (Y W + beta H0) G."""
        # Through the K x K inverse, which is well conditioned however large mu is.
        inner = np.linalg.solve(self.mu * np.eye(len(W)) + W @ W.T, W)
        return (np.eye(W.shape[1]) - W.T @ inner) / self.mu

    def best_moments(self, W: Array) -> tuple[Array, Array]:
        """Return class means and pooled scatter of the best features for the head W."""
        G = self.shrinkage(W)
        return (W + self.beta * self.means) @ G, self.beta**2 * G @ self.within @ G


class Expansion:
    r"""Value, gradient and Hessian of the reduced objective at one head.

    All is computed in the eigenbases of W W^T and C, where the dominant part of the Hessian,
    :math:`V \mapsto N^{-1} V C + \lambda_W V`, is diagonal; scaled by the root of that diagonal,
    the Hessian is near the identity, which spares conjugate gradients and Lanczos most steps.

    Parameters
    ----------
    objective
        The objective.
    W
        (K, d) the head.
    """

    def __init__(self, objective: NearFeaturesObjective, W: Array) -> None:
        self.objective, self.argument = objective, W
        self.mu, lambda_w = objective.mu, objective.lambda_w
        rotated = W @ objective.axes
        spread, self.turn = np.linalg.eigh(rotated @ rotated.T)
        self.head = self.turn.T @ rotated
        cross = self.turn.T @ objective.cross
        # N^-1; for K > d round-off makes zeros of W W^T a little negative.
        self.shrink = 1 / (1 + spread.clip(min=0)[:, None] / self.mu)
        self.projected = self.head * objective.scales - cross
        fit = self.projected @ self.head.T - self.head @ cross.T
        fit += (self.turn.T * objective.weights) @ self.turn
        self.pull = self.shrink * self.projected
        self.curl = self.shrink * fit * self.shrink.T
        decay = lambda_w / 2 * float(np.vdot(W, W))
        self.value = float(self.shrink[:, 0] @ fit.diagonal()) / 2 + decay + objective.constant
        gradient = self.pull - self.curl @ self.head / self.mu + lambda_w * self.head
        self.gradient = self.turn @ gradient @ objective.axes.T
        self.diagonal = self.shrink * objective.scales.clip(min=0) + lambda_w
        self.root = np.sqrt(self.diagonal)
        self.scaled_gradient = gradient / self.root

    def hessian(self, direction: Array) -> Array:
        """Apply the Hessian to a direction (K, d), or to a stack of them (..., K, d)."""
        axes = self.objective.axes
        return self.turn @ self._curve(self.turn.T @ direction @ axes) @ axes.T

    def scaled_hessian(self, direction: Array) -> Array:
        """Apply the Hessian to a direction (K, d), both in scaled coordinates."""
        return self._curve(direction / self.root) / self.root

    def unscale(self, direction: Array) -> Array:
        """Return the change of the head that scaled coordinates stand for."""
        return self.turn @ (direction / self.root) @ self.objective.axes.T

    def _curve(self, V: Array) -> Array:
        turn = self.shrink * _twice_symmetric(V @ self.head.T) / self.mu
        change = self.shrink * _twice_symmetric(V @ self.projected.T) * self.shrink.T
        curl = change - _twice_symmetric(turn @ self.curl)
        return self.diagonal * V - turn @ self.pull - (curl @ self.head + self.curl @ V) / self.mu


def _twice_symmetric(matrix: Array) -> Array:
    return matrix + matrix.swapaxes(-1, -2)
