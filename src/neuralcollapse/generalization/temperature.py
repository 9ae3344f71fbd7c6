"""Temperature scaling: the one number that logits are best divided by."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import cross_entropy

COLDEST, HOTTEST = 1e-3, 1e3  # temperatures tried


def best_temperature(logits: Tensor, labels: Tensor) -> float:
    r"""Return the temperature T that minimises the cross-entropy of logits / T.

    Convex in 1/T, so that there is one minimum. Where every sample is right, colder is always
    better, and the answer is near the least that is tried.

    Parameters
    ----------
    logits
        (n, K), float64 and finite.
    labels
        (n,) in 0..K-1.

    Returns
    -------
    float
        From 0.001 to 1000.

    References
    ----------
    Guo et al. 2017, "On calibration of modern neural networks", Section 4.2.

    Examples
    --------
    >>> import torch
    >>> logits = torch.tensor([[4.0, 0.0]] * 4, dtype=torch.float64)
    >>> T = best_temperature(logits, torch.tensor([0, 0, 0, 1]))  # right three times in four
    >>> round(4 / T, 3), round(math.log(3), 3)
    (1.099, 1.099)
    """
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log: float(cross_entropy(logits / math.exp(log), labels)),
        bounds=(math.log(COLDEST), math.log(HOTTEST)),
        method="bounded",
    )
    return math.exp(found.x)
