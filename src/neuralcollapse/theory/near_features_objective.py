"""The near-features model with the features eliminated: a function of the head alone."""

from __future__ import annotations

import numpy as np

from neuralcollapse.theory.sufficient_statistics import SufficientStatistics

Array = np.ndarray


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
        self.cross = self.weights[:, None] * shrunk  # D X
        self.scatter = shrunk.T @ self.cross + len(shrunk) * (beta / self.mu) ** 2 * self.within
        energy = np.vdot(self.weights, (self.means**2).sum(1)) + len(shrunk) * self.within.trace()
        self.energy = float(energy)  # K ||H0||^2 / N
        self.constant = beta * lambda_h / (2 * self.mu) * self.energy

    def expand(self, W: Array) -> Expansion:
        """Return value, gradient and Hessian at the head W (K, d)."""
        return Expansion(self, W)

    def best_head(self, means: Array, within: Array) -> Array:
        """Return the optimal head for features of these class means and pooled scatter."""
        weighted = self.weights[:, None] * means
        gram = means.T @ weighted + len(means) * within + self.lambda_w * np.eye(means.shape[1])
        return np.linalg.solve(gram, weighted.T).T

    def shrinkage(self, W: Array) -> Array:
        """Return G = (W^T W + mu I)^-1: the best features are H = (Y W + beta H0) G."""
        # Through the K x K inverse, which is well conditioned however large mu is.
        inner = np.linalg.solve(self.mu * np.eye(len(W)) + W @ W.T, W)
        return (np.eye(W.shape[1]) - W.T @ inner) / self.mu

    def best_moments(self, W: Array) -> tuple[Array, Array]:
        """Return class means and pooled scatter of the best features for the head W."""
        G = self.shrinkage(W)
        return (W + self.beta * self.means) @ G, self.beta**2 * G @ self.within @ G

    @property
    def start(self) -> Array:
        """Optimal head for H0 itself."""
        return self.best_head(self.means, self.within)

    @property
    def scale(self) -> float:
        """Size of the Hessian, to tell a flat direction from rounding."""
        return float(np.linalg.norm(self.scatter, 2)) + self.lambda_w


class Expansion:
    """Value, gradient and Hessian of the reduced objective at one head.

    Parameters
    ----------
    objective
        The objective.
    W
        (K, d) the head.
    """

    def __init__(self, objective: NearFeaturesObjective, W: Array) -> None:
        self.objective, self.argument = objective, W
        mu, weights = objective.mu, objective.weights
        self.inverse = np.linalg.inv(np.eye(len(W)) + W @ W.T / mu)
        projected = W @ objective.scatter - objective.cross
        fit = projected @ W.T - W @ objective.cross.T + np.diag(weights)
        self.pull = self.inverse @ projected
        self.curl = self.inverse @ fit @ self.inverse
        decay = objective.lambda_w / 2 * float(np.vdot(W, W))
        self.value = float(np.vdot(self.inverse, fit)) / 2 + decay + objective.constant
        self.gradient = self.pull - self.curl @ W / mu + objective.lambda_w * W

    def hessian(self, direction: Array) -> Array:
        """Apply the Hessian to a direction (K, d), or to a stack of them (..., K, d)."""
        V, W, inverse = direction, self.argument, self.inverse
        mu, lambda_w = self.objective.mu, self.objective.lambda_w
        turn = _twice_symmetric(V @ W.T) / mu
        image = V @ self.objective.scatter
        change = _twice_symmetric(image @ W.T - V @ self.objective.cross.T)
        curl = inverse @ change @ inverse - _twice_symmetric(inverse @ turn @ self.curl)
        return inverse @ (image - turn @ self.pull) - (curl @ W + self.curl @ V) / mu + lambda_w * V


def _twice_symmetric(matrix: Array) -> Array:
    return matrix + np.swapaxes(matrix, -1, -2)
