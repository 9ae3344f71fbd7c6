"""Projection onto the conserved quantities of the flow, leaving every logit difference as it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuralcollapse.validation import Array


@dataclass(frozen=True)
class Conserved:
    """What the gradient flow conserves exactly.

    Attributes
    ----------
    balance
        Q = W^T W - H^T H, (d, d).
    mean_row
        1^T W / K, (d,).
    """

    balance: Array
    mean_row: Array


def conserved(W: Array, H: Array) -> Conserved:
    """Return the conserved quantities of a state."""
    return Conserved(W.T @ W - H.T @ H, W.mean(0))


def project(W: Array, H: Array, target: Conserved) -> tuple[Array, Array]:
    r"""Move (W, H) onto the conserved quantities by one Newton step, without changing the loss.

    The mean row of W is restored first (a common shift of a sample's logits). Then

    .. math:: W \leftarrow W (I + X), \qquad H \leftarrow H (I + X)^{-1}, \qquad X = X^\top

    leaves the logits alone, and :math:`X P + P X = Q - (W^\top W - H^\top H)` with
    P = W^T W + H^T H restores the balance to second order in what was lost.
    """
    W = W + (target.mean_row - W.mean(0))
    power, frame = np.linalg.eigh(W.T @ W + H.T @ H)
    defect = frame.T @ (target.balance - conserved(W, H).balance) @ frame
    pairs = power[:, None] + power[None, :]
    # Where neither W nor H has anything, there is nothing to exchange.
    occupied = pairs > 1e-12 * power[-1]
    exchange = frame @ (np.where(occupied, defect, 0.0) / np.where(occupied, pairs, 1.0)) @ frame.T
    factor = np.eye(len(exchange)) + exchange
    return W @ factor, np.linalg.solve(factor, H.T).T
