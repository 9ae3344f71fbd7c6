"""NC4: whether the classifier decides for the nearest class mean."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.head import checked_bias
from neuralcollapse.validation import integer_labels

CHUNK_ELEMENTS = 2**21  # scores held at once; never samples x classes
CHUNK_ROWS = 1024


class CenterScores:
    r"""Scores whose largest is the nearest class mean, beside the logits, in one product.

    .. math:: \arg\min_k \|x - \mu_k\|
        = \arg\max_k \; \langle x - m, \mu_k - m\rangle - \tfrac12 \|\mu_k - m\|^2

    Features are centred first: \|x\|^2 + \|mu\|^2 - 2 x.mu in float32 falls to chance when the
    offset is a few hundred times the distance between the means.

    Parameters
    ----------
    means
        (K, d) class means; rows with NaN are absent classes and never the nearest.
    weight, bias
        (K, d) and (K,) of the last linear layer, if its decisions are wanted from the features.

    Raises
    ------
    NeuralCollapseError
        If no class has a mean, or the shapes differ.

    Examples
    --------
    >>> scores = CenterScores(torch.tensor([[0.0], [1.0], [float("nan")]]))
    >>> scores.nearest(torch.tensor([[0.2], [5.0]]))
    tensor([0, 1])
    """

    def __init__(self, means: Tensor, weight: Tensor | None = None, bias: Any = None) -> None:
        if weight is not None and weight.shape != means.shape:
            raise NeuralCollapseError(
                "weight",
                f"the shape of the class means, {tuple(means.shape)}",
                str(tuple(weight.shape)),
                "pass one row a class, of the layer that takes these features",
            )
        means = means.detach().to(torch.float64)
        present = torch.isfinite(means).all(1)
        if not present.any():
            raise NeuralCollapseError(
                "means", "a class with samples", "none", "compute the means of training data first"
            )
        self.num_classes, self.dim = means.shape
        # The centre is rounded first, so that rows and means are taken from the same point.
        self._center = means[present].mean(0).to(torch.float32).to(torch.float64)
        rows = means - self._center
        offsets = -0.5 * torch.linalg.vector_norm(rows, dim=1).square()
        offsets.masked_fill_(~present, float("-inf"))
        rows.nan_to_num_()
        if weight is not None:
            head = weight.detach().to(means)
            head_offsets = head @ self._center
            if bias is not None:
                head_offsets += checked_bias(bias, head)
            rows, offsets = torch.cat([rows, head]), torch.cat([offsets, head_offsets])
        self._rows, self._offsets = rows, offsets[:, None]
        self._cast: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor, Tensor]] = {}

    def chunk_rows(self) -> int:
        """Return how many samples to score at once."""
        return max(1, min(CHUNK_ROWS, CHUNK_ELEMENTS // len(self._rows)))

    def __call__(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores (n, K), -inf for absent classes, and the logits (n, K; or n, 0)."""
        wide = features.dtype == torch.float64 or not features.is_floating_point()
        dtype = torch.float64 if wide else torch.float32
        key = (dtype, features.device)
        if key not in self._cast:
            center, rows, offsets = (
                part.to(features.device, dtype)
                for part in (self._center, self._rows, self._offsets)
            )
            self._cast[key] = (center, rows, offsets)
        center, rows, offsets = self._cast[key]
        # One row a class: for few classes a product of this shape is a third faster, and maxima
        # over classes run along contiguous samples. Into a given place, autocast leaves it alone.
        both = torch.empty(len(rows), len(features), dtype=dtype, device=features.device)
        torch.addmm(offsets, rows, (features.to(dtype) - center).T, out=both)
        both = both.T
        return both[:, : self.num_classes], both[:, self.num_classes :]

    def nearest(self, features: Shaped[Tensor, "n d"]) -> Int[Tensor, " n"]:
        """Return the label of the nearest class mean of each row."""
        found = [self(chunk)[0].argmax(1) for chunk in features.split(self.chunk_rows())]
        return torch.cat(found) if found else torch.empty(0, dtype=torch.int64)


def decide_alike(
    distances: Float[Tensor, "n K"], logits: Float[Tensor, "n K"]
) -> Bool[Tensor, " n"]:
    """Return whether each class that a head ranks first is also a nearest one, sample by sample.

    A head that ranks several first has not decided: it agrees only if all are equally near.

    Parameters
    ----------
    distances, logits
        (n, K) scores of the class means and of the head.

    Returns
    -------
    Tensor of shape (n,), bool
        Without ties, whether both have their largest entry at the same class.

    Examples
    --------
    >>> decide_alike(torch.tensor([[2.0, 1.0], [2.0, 1.0]]), torch.tensor([[5.0, 0.0], [0.0, 0.0]]))
    tensor([ True, False])
    """
    first = logits == logits.amax(1, keepdim=True)
    beaten = distances < distances.amax(1, keepdim=True)
    return ~(first & beaten).any(1)


def nearest_center(features: Tensor, means: Tensor) -> Int[Tensor, " n"]:
    r"""Return the label of the nearest class mean, :math:`\arg\min_k \|x - \mu_k\|`.

    Parameters
    ----------
    features
        (n, d), in any dtype.
    means
        (K, d) class means, from training data; NaN rows are absent classes.

    Returns
    -------
    Tensor of shape (n,), int64
        Labels; the lowest of those tied.

    Raises
    ------
    NeuralCollapseError
        If no class has a mean.

    Examples
    --------
    >>> nearest_center(torch.tensor([[0.4], [0.6]]), torch.tensor([[0.0], [1.0]]))
    tensor([0, 1])
    """
    return CenterScores(means).nearest(features)


def ncc_accuracy(features: Tensor, labels: Any, means: Tensor) -> float:
    """Return the share of samples whose nearest class mean is that of their label.

    Not the same as the agreement of NC4: it needs labels, and no classifier.

    Parameters
    ----------
    features, means
        As in `nearest_center`.
    labels
        (n,) true labels.

    Returns
    -------
    float
        In [0, 1]; 1 when collapsed; NaN without samples.

    Examples
    --------
    >>> ncc_accuracy(torch.tensor([[0.4], [0.6]]), [0, 0], torch.tensor([[0.0], [1.0]]))
    0.5
    """
    true = integer_labels("labels", labels, len(features), len(means))
    nearest = nearest_center(features, means)
    return float((nearest == true.to(nearest.device)).double().mean())


def nc4_agreement(
    features: Tensor, means: Tensor, weight: Tensor, bias: Tensor | None = None
) -> float:
    r"""Return the share of samples that classifier and nearest class mean decide alike (NC4).

    .. math:: \arg\max_k \langle w_k, x\rangle + b_k = \arg\min_k \|x - \mu_k\|

    Parameters
    ----------
    features
        (n, d) of training or test data.
    means
        (K, d) class means, always of training data.
    weight, bias
        (K, d) and (K,) of the last linear layer; forgetting the bias changes the value.

    Returns
    -------
    float
        In [0, 1]; 1 when collapsed; NaN without samples.

    References
    ----------
    Papyan, Han & Donoho 2020, Figure 7 (which shows one minus this).

    Examples
    --------
    >>> means = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> nc4_agreement(torch.tensor([[2.0, 1.0], [1.0, 1.5]]), means, weight=means)
    1.0
    """
    scores = CenterScores(means, weight, bias)
    agreeing = sum(
        int(decide_alike(*scores(chunk)).sum()) for chunk in features.split(scores.chunk_rows())
    )
    return agreeing / len(features) if len(features) else float("nan")
