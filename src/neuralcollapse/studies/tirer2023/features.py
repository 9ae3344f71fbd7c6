"""The features that the claims start from, and those that the near-features model makes of them."""

from __future__ import annotations

import torch
from torch import Tensor

from neuralcollapse.theory import near_features_minimizer


def random_features(K: int, n: int, d: int, seed: int, noise: float = 0.5) -> tuple[Tensor, Tensor]:
    """Draw (H0, labels): normal class means of unit expected norm, and normal noise about them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(K).repeat_interleave(n)
    means, noises = (
        torch.randn(rows, d, generator=generator, dtype=torch.float64) / d**0.5
        for rows in (K, K * n)
    )
    return means[labels] + noise * noises, labels


def loss_by_hand(
    W: Tensor, H: Tensor, labels: Tensor, strengths: tuple[float, float, float], H0: Tensor
) -> Tensor:
    """Return the near-features loss term by term of the paper, for (lambda_w, lambda_h, beta)."""
    lambda_w, lambda_h, beta = strengths
    targets = torch.eye(len(W), dtype=torch.float64)[labels]
    energy = (H @ W.T - targets).square().sum() + lambda_h * H.square().sum()
    energy = energy + beta * (H - H0).square().sum()
    return energy / (2 * len(H)) + lambda_w / (2 * len(W)) * W.square().sum()


def next_features(
    H0: Tensor, labels: Tensor, lambda_w: float, lambda_h: float, beta: float
) -> Tensor:
    """Return the features of the near-features minimiser: those of the next layer."""
    found = near_features_minimizer(H0, labels, lambda_w, lambda_h, beta).H
    assert found is not None  # it is None for moments only
    return found
