"""The mean row of a head, which has no gradient under softmax losses (NC0)."""

from __future__ import annotations

from typing import Any

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.validation import check_squares, finite_matrix


def head_mean(weight: Any) -> float:
    r"""Return the squared length of the sum of a head's rows, over K.

    .. math:: \|W^\top \mathbf 1\|^2 / K

    Softmax does not see it, and no softmax loss whose targets sum to 1 has a gradient along it:
    only weight decay removes it (`theory.head_mean_path`).

    Parameters
    ----------
    weight
        (K, d) head.

    Returns
    -------
    float
        At least 0; 0 for a centred head.

    Raises
    ------
    NeuralCollapseError
        If it is not a matrix, or has no row.
    NonFiniteError
        If an entry is NaN or infinite.

    References
    ----------
    arXiv 2602.16642.

    Examples
    --------
    >>> from neuralcollapse.metrics import head_mean
    >>> head_mean([[1.0, 0.0], [1.0, 0.0]])
    2.0
    """
    rows = finite_matrix("weight", weight).detach()
    if not len(rows):
        raise NeuralCollapseError(
            "weight", "one row per class", "none", "pass the head of a network"
        )
    total = rows.sum(0)
    check_squares("weight", total)
    return float(total.square().sum()) / len(rows)
