"""The flows of this study: where they start, and how they are followed and fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from neuralcollapse.theory import gradient_flow
from neuralcollapse.theory.flow.solution import FlowSolution

Kind = Literal["generic", "balanced"]


@dataclass(frozen=True)
class Problem:
    """K classes of n samples, free features in d dimensions."""

    num_classes: int = 4
    per_class: int = 5
    dim: int = 6

    @property
    def labels(self) -> Int[Tensor, " N"]:
        """The class of each sample, class-major."""
        return torch.arange(self.num_classes).repeat_interleave(self.per_class)

    def start(self, kind: Kind, seed: int) -> tuple[Float[Tensor, "K d"], Float[Tensor, "N d"]]:
        """Draw (W, H) at t = 0.

        ``"generic"``: independent standard normal entries. ``"balanced"``: all that the flow
        conserves is zero, 1^T W = 0 and W^T W = H^T H, with W otherwise the generic one.
        """
        generator = torch.Generator().manual_seed(seed)
        K, N = self.num_classes, self.num_classes * self.per_class
        W, H = (
            torch.randn(rows, self.dim, generator=generator, dtype=torch.float64) for rows in (K, N)
        )
        if kind == "generic":
            return W, H
        W = W - W.mean(0)
        frame = torch.linalg.qr(torch.randn(N, K, generator=generator, dtype=torch.float64))[0]
        return W, frame @ W

    def follow(self, kind: Kind, seed: int, log_times: Any, progress: bool = False) -> FlowSolution:
        """Follow the gradient flow from one of these starts."""
        return gradient_flow(*self.start(kind, seed), self.labels, log_times, progress=progress)


def exponent(x: Any, y: Any, low: float, high: float) -> float:
    """Fit y ~ x^a by least squares of log y on log x, over low <= x <= high."""
    x, y = np.asarray(x), np.asarray(y)
    chosen = (x >= low) & (x <= high)
    return float(np.polyfit(np.log(x[chosen]), np.log(y[chosen]), 1)[0])


def follow_classes(
    sizes: Sequence[int], dim: int, seed: int, log_times: Sequence[float]
) -> tuple[FlowSolution, Tensor]:
    """Follow the flow for classes of these sizes from a normal start; return it and the labels."""
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    generator = torch.Generator().manual_seed(seed)
    W, H = (
        torch.randn(rows, dim, generator=generator, dtype=torch.float64)
        for rows in (len(sizes), len(labels))
    )
    return gradient_flow(W, H, labels, log_times), labels


def summed_loss(flat: Tensor, labels: Tensor, dim: int) -> Tensor:
    """Return the sum of torch's cross-entropies of a flat (W, H), without the library's kernels."""
    W, H = flat.view(-1, dim).split([int(labels.max()) + 1, len(labels)])
    return cross_entropy(H @ W.T, labels, reduction="sum")


def decayed_loss(
    W: Tensor, H: Tensor, labels: Tensor, decays: tuple[float, float], smoothing: float = 0.0
) -> Tensor:
    """Return torch's mean cross-entropy of head and features, both with weight decay."""
    fit = cross_entropy(H @ W.T, labels, label_smoothing=smoothing)
    return fit + decays[0] / 2 * W.square().sum() + decays[1] / 2 * H.square().sum()


def margins_of_pairs(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the margin of every sample against every other class, flat."""
    others = one_hot(labels, logits.shape[1]) == 0
    return (logits.gather(1, labels[:, None]) - logits)[others]


def separating_norm(W: Tensor, H: Tensor, labels: Tensor) -> float:
    """Return half the squared norm at margin 1, sample by sample."""
    minimum = float(margins_of_pairs(H @ W.T, labels).min())
    return float(W.square().sum() + H.square().sum()) / 2 / minimum
