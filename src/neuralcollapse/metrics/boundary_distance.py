"""Margins as distances: how far features lie from the boundary between two classes."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.metrics.head import checked_bias
from neuralcollapse.validation import (
    ROW_A_CLASS,
    check_shape,
    check_squares,
    finite_matrix,
    integer_labels,
)


def boundary_distances(
    features: Any, labels: Any, weight: Any, bias: Any = None
) -> Float[Tensor, " n"]:
    r"""Return each sample's signed distance from the nearest point that is decided otherwise.

    .. math:: \min_{j \ne y} \frac{m_{yj}(x)}{\|w_y - w_j\|}, \qquad m_{yj} = s_y - s_j

    A feature that moves by less keeps its decision.

    Parameters
    ----------
    features
        (n, d) features that enter the head, finite.
    labels
        (n,) in 0..K-1.
    weight, bias
        (K, d) and (K,) of the head. The bias moves the boundary but does not change the norms.

    Returns
    -------
    Tensor of shape (n,), float64
        In the units of the features; negative where the sample is misclassified. NaN where a
        rival has the weights of the sample's own class.

    Raises
    ------
    NonFiniteError
        If an entry is NaN or infinite.
    NeuralCollapseError
        If shapes or labels do not fit, or squares of weights leave float64.

    Examples
    --------
    >>> from neuralcollapse.metrics import boundary_distances
    >>> boundary_distances([[3.0, 0.0], [1.0, 2.0]], [0, 1], [[2.0, 0.0], [-2.0, 0.0]])
    tensor([ 3., -1.], dtype=torch.float64)
    """
    rows = finite_matrix("features", features)
    head = finite_matrix("weight", weight).to(rows.device)
    check_shape("weight", head, ("K >= 2", rows.shape[1]), ROW_A_CLASS)
    true = integer_labels("labels", labels, len(rows), len(head)).to(rows.device)
    # What all rows share changes no decision, but its round-off could.
    head = head - head.mean(0)
    check_squares("weight", head)
    scores = rows @ head.T
    if bias is not None:
        offset = checked_bias(bias, head)
        scores = scores + (offset - offset.mean())
    margins = scores.gather(1, true[:, None]) - scores
    # From the differences: the product form of cdist cancels for near rows.
    apart = torch.cdist(head, head, compute_mode="donot_use_mm_for_euclid_dist")
    distances = margins / apart[true]
    return distances.scatter(1, true[:, None], float("inf")).amin(1)
