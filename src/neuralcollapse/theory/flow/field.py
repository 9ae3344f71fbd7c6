"""The vector field of the gradient flow, over the flattened state (W, H), in two time variables.

In ordinary time t the flow is over after a few units: the gradient falls like 1/t. So nothing here
is integrated in t. The rescaled time s has ds = L dt, d(theta)/ds = -grad log L; log time has
d(theta)/d log t = -t grad L. Neither underflows, however small the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuralcollapse.theory.layer_peeled import hessian_product, residual
from neuralcollapse.validation import Array


@dataclass(frozen=True)
class Evaluation:
    """The field at one state: log L, its residual and its gradient, flattened."""

    log_loss: float
    ghat: Array
    gradient: Array


class FlowField:
    """The flow of N labelled samples and K classes in d dimensions, on states of length d(K+N)."""

    def __init__(self, labels: NDArray[np.int64], num_classes: int, dim: int) -> None:
        self.labels = labels
        self.num_classes = num_classes
        self.dim = dim
        self.size = dim * (num_classes + len(labels))

    def join(self, W: Array, H: Array) -> Array:
        """Return the state of (W, H)."""
        return np.concatenate([W.ravel(), H.ravel()])

    def split(self, state: Array) -> tuple[Array, Array]:
        """Return W (K, d) and H (N, d) as views of the state."""
        head = self.num_classes * self.dim
        return state[:head].reshape(-1, self.dim), state[head:].reshape(-1, self.dim)

    def evaluate(self, state: Array) -> Evaluation:
        """Return log L, the residual and grad log L."""
        W, H = self.split(state)
        log_loss, ghat = residual(H @ W.T, self.labels)
        return Evaluation(log_loss, ghat, self.join(ghat.T @ H, ghat @ W))

    def log_time_velocity(self, log_t: float, state: Array) -> Array:
        """Return d(theta)/d log t = -t grad L; NaN at a trial state far out of range."""
        if not np.abs(state).max() < 1e100:
            return np.full_like(state, np.nan)
        here = self.evaluate(state)
        # A trial state may overflow; the solver then refuses it.
        with np.errstate(over="ignore", invalid="ignore"):
            velocity: Array = -np.exp(log_t + here.log_loss) * here.gradient
        return velocity

    def log_time_jacobian(self, log_t: float, state: Array) -> Array:
        """Return the derivative of the log-time velocity, -t Hess L, as a dense matrix."""
        W, H = self.split(state)
        log_loss, ghat = residual(H @ W.T, self.labels)
        dim, head, num = self.dim, W.size, len(H)
        curvature = self._logit_curvature(log_loss, ghat)
        curved_head = curvature @ W
        hessian = np.empty((self.size, self.size))
        hessian[:head, :head] = np.einsum(
            "nkl,na,nb->kalb", curvature, H, H, optimize=True
        ).reshape(head, head)
        mixed = np.einsum("na,nkb->kanb", H, curved_head)
        mixed += np.einsum("nk,ab->kanb", ghat, np.eye(dim))
        hessian[:head, head:] = mixed.reshape(head, -1)
        hessian[head:, :head] = hessian[:head, head:].T
        blocks = np.zeros((num, dim, num, dim))
        samples = np.arange(num)
        blocks[samples, :, samples, :] = np.einsum("ka,nkb->nab", W, curved_head)
        hessian[head:, head:] = blocks.reshape(num * dim, -1)
        hessian *= -np.exp(log_t + log_loss)
        return hessian

    def log_hessian(self, state: Array, here: Evaluation) -> Callable[[Array], Array]:
        """Return the product with the Hessian of log L at a state already evaluated."""
        point, at = self.split(state), (here.log_loss, here.ghat)

        def product(direction: Array) -> Array:
            along = self.join(*hessian_product(point, at, self.labels, self.split(direction)))
            along -= (here.gradient @ direction) * here.gradient
            return along

        return product

    def _logit_curvature(self, log_loss: float, ghat: Array) -> Array:
        """Return each sample's Hessian in the logits, (diag(p) - p p^T) / L, as (N, K, K)."""
        samples, classes = np.arange(len(ghat)), np.arange(self.num_classes)
        others = ghat.copy()
        others[samples, self.labels] = 0.0
        curvature: Array = -np.exp(log_loss) * others[:, :, None] * others[:, None, :]
        curvature[:, classes, classes] += others
        rows = curvature.sum(2)
        # The own class carries minus the others, so that shifting all logits changes nothing.
        curvature[samples, self.labels, :] = -rows
        curvature[samples, :, self.labels] = -rows
        curvature[samples, self.labels, self.labels] = rows.sum(1)
        return curvature
