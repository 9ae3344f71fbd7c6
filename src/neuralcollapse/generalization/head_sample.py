"""A sample and the linear head that is judged on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.decisions import decide
from neuralcollapse.metrics.head import checked_bias
from neuralcollapse.validation import ROW_A_CLASS, check_shape, finite_matrix, integer_labels

MAX_LOG2 = 30  # how many powers of two above and below its unit a grid of margins goes


@dataclass(frozen=True)
class HeadSample:
    """Features, labels and a centred head; a bias has become one more feature, of value 1.

    Attributes
    ----------
    features
        (n, d), float64.
    labels
        (n,) in 0..K-1.
    head
        (K, d) rows less their mean, which changes no margin.
    """

    features: Float[Tensor, "n d"]
    labels: Int[Tensor, " n"]
    head: Float[Tensor, "K d"]

    @classmethod
    def of(cls, features: Any, labels: Any, weight: Any, bias: Any = None) -> HeadSample:
        """Check the arguments and take them over.

        Parameters
        ----------
        features
            (n, d), n >= 1, finite.
        labels
            (n,) in 0..K-1.
        weight, bias
            (K, d) and (K,), K >= 2, with at least two different rows.

        Raises
        ------
        NonFiniteError
            If an entry is NaN or infinite.
        NeuralCollapseError
            If there is no sample, K < 2, the shapes or labels do not fit, or all rows are equal.

        Examples
        --------
        >>> HeadSample.of([[2.0]], [0], [[1.0], [-1.0]], [1.0, 0.0]).margins
        tensor([5.], dtype=torch.float64)
        """
        rows = finite_matrix("features", features)
        if not len(rows):
            raise NeuralCollapseError("features", "at least one sample", "none", "pass a sample")
        head = finite_matrix("weight", weight).to(rows.device)
        check_shape("weight", head, ("K >= 2", rows.shape[1]), ROW_A_CLASS)
        true = integer_labels("labels", labels, len(rows), len(head)).to(rows.device)
        if bias is not None:
            offset = checked_bias(bias, head)
            head = torch.cat([head, offset[:, None]], 1)
            rows = torch.cat([rows, torch.ones_like(rows[:, :1])], 1)
        centered = head - head.mean(0)
        if float(centered.norm()) <= len(head) * torch.finfo(torch.float64).eps * head.norm():
            raise NeuralCollapseError(
                "weight", "at least two different rows", "equal rows", "such a head decides nothing"
            )
        return cls(rows, true, centered)

    @property
    def num_samples(self) -> int:
        """The number n of samples."""
        return len(self.features)

    @property
    def num_classes(self) -> int:
        """The number K of classes."""
        return len(self.head)

    @property
    def margins(self) -> Float[Tensor, " n"]:
        """Multi-class margin of each sample, in logits."""
        return decide(self.features @ self.head.T, self.labels)[0]

    @property
    def head_norm(self) -> float:
        """Frobenius norm of the centred head."""
        return float(self.head.norm())

    @property
    def feature_norm(self) -> float:
        """Frobenius norm of the features."""
        return float(self.features.norm())


def ramp_loss(margins: Tensor, margin: float) -> float:
    """Return the mean of min(1, max(0, 1 - m/g)): at most the share of margins below g.

    Parameters
    ----------
    margins
        (n,) m.
    margin
        g > 0, in the same units.

    Examples
    --------
    >>> ramp_loss(torch.tensor([-1.0, 1.0, 3.0, 9.0]), 2.0)
    0.375
    """
    return float((1 - margins / margin).clamp(0, 1).mean())


def grid_weight(exponent: int) -> float:
    r"""Return the share of the failure probability that the margin 2^k of a grid gets.

    .. math:: \frac{1}{C (1 + |k|)^2}, \qquad C = \sum_{k \in \mathbb Z} (1 + |k|)^{-2}
        = \frac{\pi^2}{3} - 1

    Parameters
    ----------
    exponent
        k, any whole number.

    Examples
    --------
    >>> round(sum(grid_weight(k) for k in range(-10**5, 10**5)), 4)
    1.0
    """
    return 1 / ((math.pi**2 / 3 - 1) * (1 + abs(exponent)) ** 2)


def rademacher_deviation(num_samples: int, delta: float) -> float:
    """Return 3 sqrt(ln(2/delta) / (2n)), the price of confidence with the sample's own complexity.

    Parameters
    ----------
    num_samples
        n >= 1.
    delta
        Probability of failure, in (0, 1).

    References
    ----------
    Mohri, Rostamizadeh & Talwalkar 2018, Theorem 3.3.

    Examples
    --------
    >>> round(rademacher_deviation(1000, 0.05), 4)
    0.1288
    """
    return 3 * math.sqrt(math.log(2 / delta) / (2 * num_samples))
