"""Margins: by how much the true class wins, for each sample and each pair of classes."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.metrics.decisions import decide
from neuralcollapse.validation import (
    as_tensor,
    check_finite,
    check_shape,
    finite_matrix,
    integer_labels,
)


def sample_margins(logits: Any, labels: Any) -> Float[Tensor, " n"]:
    r"""Return the multi-class margin of each sample, :math:`\min_{j \ne y} (s_y - s_j)`.

    Parameters
    ----------
    logits
        (n, K) scores, K >= 2.
    labels
        (n,) true labels in 0..K-1.

    Returns
    -------
    Tensor of shape (n,)
        In the units and dtype of the logits; where the sample is misclassified, negative, or zero
        for a tie.

    Raises
    ------
    NonFiniteError
        If a margin is NaN or infinite, since a logit is.
    NeuralCollapseError
        If K < 2, or the labels do not fit.

    References
    ----------
    Gao et al. 2023, Section 4.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.metrics import sample_margins
    >>> sample_margins(torch.tensor([[3.0, 1.0, 2.5], [0.0, 1.0, 0.0]]), [0, 2])
    tensor([ 0.5000, -1.0000])
    """
    scores = as_tensor("logits", logits).detach()
    check_shape("logits", scores, ("n", "K >= 2"), "pass one column per class")
    true = integer_labels("labels", labels, len(scores), scores.shape[1])
    margins, _ = decide(scores, true.to(scores.device))
    check_finite("logits", margins)
    return margins.to(scores.dtype) if scores.is_floating_point() else margins


def margin_min(logits: Any, labels: Any) -> float:
    r"""Return p_min, the minimum margin of all samples: above 0 if all are classified correctly.

    Parameters
    ----------
    logits, labels
        As in `sample_margins`.

    Returns
    -------
    float
        In the units of the logits; NaN if there is no sample.

    Raises
    ------
    NonFiniteError
        If a margin is NaN or infinite, since a logit is.
    NeuralCollapseError
        If K < 2, or the labels do not fit.

    References
    ----------
    Gao et al. 2023, Theorem 4.1.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.metrics import margin_min
    >>> margin_min(torch.tensor([[3.0, 1.0, 2.5], [0.0, 0.0, 4.0]]), [0, 2])
    0.5
    """
    margins = sample_margins(logits, labels)
    return float(margins.min()) if len(margins) else float("nan")


def pair_margins(logits: Any, labels: Any) -> Float[Tensor, "K K"]:
    r"""Return the minimum margin of each class against each other class, over its samples.

    .. math:: \gamma_{ij} = \min_{x : y(x) = i} (s_i(x) - s_j(x))

    Parameters
    ----------
    logits, labels
        As in `sample_margins`.

    Returns
    -------
    Tensor of shape (K, K), float64
        Not symmetric. NaN on the diagonal; inf in the row of an absent class. Its least entry is
        p_min, the minimum margin.

    Raises
    ------
    NonFiniteError
        If a logit is not finite.
    NeuralCollapseError
        If the labels do not fit.

    References
    ----------
    Gao et al. 2023, Theorem 4.4.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.metrics import pair_margins
    >>> pair_margins(torch.tensor([[3.0, 1.0], [0.0, 1.0], [2.0, 1.0]]), [0, 1, 0])
    tensor([[nan, 1.],
            [1., nan]], dtype=torch.float64)
    """
    scores = finite_matrix("logits", logits).detach()
    num_classes = scores.shape[1]
    true = integer_labels("labels", labels, len(scores), num_classes).to(scores.device)
    return lower_pairs(None, scores, true).fill_diagonal_(float("nan"))


def lower_pairs(least: Tensor | None, scores: Tensor, labels: Tensor) -> Float[Tensor, "K K"]:
    """Return the minimum margin of each class against each other class, updated by a batch.

    Parameters
    ----------
    least
        (K, K) result of the batches before, modified in place; None before the first.
    scores, labels
        (n, K) and (n,), already checked.

    Examples
    --------
    >>> lower_pairs(None, torch.tensor([[3.0, 1.0]]), torch.tensor([0]))
    tensor([[0., 2.],
            [inf, inf]])
    """
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    index = labels[:, None]
    differences = (scores.gather(1, index) - scores).contiguous()  # three times as fast
    if least is None:
        least = torch.full_like(scores[:1], float("inf")).repeat(scores.shape[1], 1)
    least = least.to(differences)
    return least.scatter_reduce_(0, index.expand_as(differences), differences, "amin")
