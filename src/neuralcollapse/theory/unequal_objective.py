r"""Cross-entropy with weight decay and one feature for each class: a convex form and its dual.

With M the K x K logits of the classes (column k those of class k, without bias), X = M D^{1/2},
c_k the share of class k in the loss, t_k its target and r = sqrt(lambda_W lambda_H),

.. math:: \min_{M, b} \; \sum_k c_k \, \mathrm{CE}(M_k + b, t_k) + r \|X\|_* +
    \tfrac{\lambda_b}{2} \|b\|^2
    = \max_p \; \sum_k c_k \mathcal{H}(p_k) - \frac{\|\sum_k c_k (p_k - t_k)\|^2}{2 \lambda_b}
    \quad \text{with} \quad \|\Gamma\|_2 \le r, \; \Gamma_k = \frac{c_k}{\sqrt{n_k}} (p_k - t_k).

Everything here is divided by r, so that it stays of order one as r falls. Rows of the arrays are
classes k, columns the entries of a logit: the transposes of M, X and Gamma.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import entr, log_softmax, xlog1py

from neuralcollapse.validation import Array

Bias = Literal["free"] | float | None


@dataclass(frozen=True)
class ConvexProblem:
    """The convex form for sizes n_k, shares c_k, smoothing s, strength r and a bias's cost."""

    sizes: Array
    shares: Array
    smoothing: float
    strength: float
    bias: Bias

    @property
    def targets(self) -> Array:
        """(K, K) one target distribution a row."""
        num = len(self.sizes)
        return (1 - self.smoothing) * np.eye(num) + self.smoothing / num

    @property
    def bias_decay(self) -> float:
        """lambda_b; 0 for a free bias, and where there is none."""
        return float(self.bias) if isinstance(self.bias, (int, float)) else 0.0

    def loss(self, logits: Array) -> tuple[float, Array, Array]:
        """Return sum_k c_k CE, the probabilities, and c_k (p_k - t_k)."""
        logs = log_softmax(logits, axis=1)
        probabilities = np.exp(logs)
        targets = self.targets
        # Of the class itself, log p_kk and p_kk - t_kk without cancellation.
        missed = _of_others(probabilities)
        likely = missed < 0.5
        np.fill_diagonal(logs, np.where(likely, np.log1p(-missed * likely), logs.diagonal()))
        residual = probabilities - targets
        np.fill_diagonal(residual, -_of_others(residual))
        value = -float(self.shares @ (targets * logs).sum(1))
        return value, probabilities, self.shares[:, None] * residual

    def best_bias(self, logits: Array, bias: Array) -> Array:
        """Minimise over the bias alone, by Newton's method: a free bias must be exact for the dual.

        Constants are not seen by the softmax, so the Hessian is bordered by their projection.
        """
        if self.bias is None:
            return bias
        ones = np.full((len(bias), len(bias)), 1 / len(bias))
        value = math.inf
        for _ in range(100):
            _, p, residual = self.loss(logits + bias)
            gradient = residual.sum(0) + self.bias_decay * bias
            size = float(np.linalg.norm(gradient))
            if size >= value and size < 1e-12:
                break
            value = size
            hessian = -(p.T * self.shares) @ p
            np.fill_diagonal(hessian, -_of_others(hessian))  # without cancellation
            hessian += self.bias_decay * np.eye(len(bias)) + hessian.trace() * ones
            step = np.linalg.solve(hessian, gradient)
            # Self-concordant damping: a whole Newton step only where the model holds.
            bias = bias - step / max(1.0, float(np.ptp(step)))
        return bias - bias.mean()

    def certificate(self, logits: Array, bias: Array) -> tuple[float, float]:
        """Return the value at logits without bias, its own nuclear norm, and the dual bound."""
        scaled = np.sqrt(self.sizes)[:, None] * logits
        nuclear = float(np.linalg.svd(scaled, compute_uv=False).sum())
        loss, probabilities, residual = self.loss(logits + bias)
        value = loss + self.strength * nuclear + self.bias_decay / 2 * float(bias @ bias)
        gamma = residual / np.sqrt(self.sizes)[:, None]
        shrink = min(1.0, self.strength / float(np.linalg.norm(gamma, 2)))
        # p' = t + s (p - t) is feasible; its entropy is that of p where s = 1.
        mixed = self.targets + shrink * (probabilities - self.targets)
        missed = np.minimum(_of_others(mixed), 1.0)
        own = -xlog1py(1 - missed, -missed)  # entr(p_kk) without cancellation
        dual = float(self.shares @ (own + _of_others(entr(mixed))))
        if self.bias_decay:
            dual -= shrink**2 * float(np.square(residual.sum(0)).sum()) / (2 * self.bias_decay)
        return value, dual


def _of_others(values: Array) -> Array:
    """Return the sum of each row, its entry on the diagonal left out."""
    others: Array = np.where(np.eye(len(values), dtype=bool), 0.0, values).sum(1)
    return others


class FactorPoint:
    """The objective over r at logits D^{-1/2} B A^T + b, expanded to second order.

    ``argument`` holds A (K, m), B (K, m), one row per class, and the scaled bias. The
    nuclear norm is the least (||A||^2 + ||B||^2)/2 of all factors, so no spurious minima arise.
    """

    def __init__(self, problem: ConvexProblem, argument: Array) -> None:
        num = len(problem.sizes)
        self.problem, self.argument = problem, argument
        self.width = (argument.size - (num if problem.bias is not None else 0)) // (2 * num)
        # In units in which the bias's own decay has curvature one at most.
        self._unit = 1 / math.sqrt(1 + problem.bias_decay / problem.strength)
        self.A, self.B, self.b = self._parts(argument)
        self._roots = np.sqrt(problem.sizes)[:, None]
        loss, self._probabilities, residual = problem.loss(self.logits + self.b)
        self._pull = residual / problem.strength
        decay = problem.bias_decay / problem.strength
        factors = argument[: 2 * num * self.width]
        self.value = (
            loss / problem.strength + float(factors @ factors + decay * self.b @ self.b) / 2
        )
        scaled = self._pull / self._roots
        self.gradient = self._join(
            scaled.T @ self.B + self.A, scaled @ self.A + self.B, self._pull.sum(0) + decay * self.b
        )

    @property
    def logits(self) -> Array:
        """(K, K) logits of each class, a row, without bias."""
        return self.B @ self.A.T / self._roots

    def hessian(self, direction: Array) -> Array:
        """Apply the Hessian."""
        problem = self.problem
        a, b, c = self._parts(direction)
        moved = (b @ self.A.T + self.B @ a.T) / self._roots + c
        moved = moved - moved.diagonal()[:, None]  # from the class itself: p_kk must not cancel
        p = self._probabilities
        curved = p * (moved - (p * moved).sum(1, keepdims=True))
        curved *= problem.shares[:, None] / problem.strength
        scaled, pull = curved / self._roots, self._pull / self._roots
        decay = problem.bias_decay / problem.strength
        return self._join(
            scaled.T @ self.B + pull.T @ b + a,
            scaled @ self.A + pull @ a + b,
            curved.sum(0) + decay * c,
        )

    def _parts(self, argument: Array) -> tuple[Array, Array, Array]:
        num = len(self.problem.sizes)
        size = num * self.width
        bias = np.zeros(num) if self.problem.bias is None else self._unit * argument[2 * size :]
        return argument[:size].reshape(num, -1), argument[size : 2 * size].reshape(num, -1), bias

    def _join(self, a: Array, b: Array, bias: Array) -> Array:
        parts = (a, b) if self.problem.bias is None else (a, b, self._unit * bias)
        return np.concatenate([part.ravel() for part in parts])
