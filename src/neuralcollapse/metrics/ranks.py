"""Effective numbers of directions in a spectrum: ranks that are not whole numbers."""

from __future__ import annotations

import math
from typing import Any

import torch

from neuralcollapse.validation import check_squares, finite_tensor


def effective_rank(spectrum: Any) -> float:
    """Return the exponential of the entropy of a spectrum, normalised to sum 1.

    Parameters
    ----------
    spectrum
        (r,) non-negative eigenvalues, such as ``torch.linalg.eigvalsh(moments.within)``.

    Returns
    -------
    float
        From 1 (one direction) to r (all equal); NaN for a zero spectrum.

    References
    ----------
    Roy & Vetterli 2007, "The effective rank".

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.metrics import effective_rank
    >>> round(effective_rank(torch.tensor([2.0, 2.0, 0.0])), 6)
    2.0
    """
    weights = finite_tensor("spectrum", spectrum).clamp_min(0)
    total = weights.sum()
    return float(torch.special.entr(weights / total).sum().exp()) if total > 0 else math.nan


def numerical_rank(singular_values: Any) -> float:
    r"""Return the numerical rank given singular values, :math:`(\|A\|_* / \|A\|_F)^2`.

    Parameters
    ----------
    singular_values
        (r,) non-negative.

    Returns
    -------
    float
        From 1 to r; NaN for a zero matrix.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.metrics import numerical_rank
    >>> numerical_rank(torch.tensor([3.0, 3.0, 0.0]))
    2.000000
    """
    values = finite_tensor("singular_values", singular_values)
    check_squares("singular_values", values)
    return float(values.sum().square() / values.square().sum())
