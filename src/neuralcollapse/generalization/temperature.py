"""Temperature scaling: the one number that logits are best divided by."""

from __future__ import annotations

import math

from torch import Tensor

COLDEST, HOTTEST = 1e-3, 1e3  # the limits of what is searched


def best_temperature(logits: Tensor, labels: Tensor) -> float:
    r"""Return the temperature T that minimises the cross-entropy of logits / T.

    Convex in 1/T, so that there is one minimum. Where every sample is right, colder is always
    better; where logits are worse than none, hotter is. The answer is then the limit itself.

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
    from scipy.optimize import brentq

    true = logits.gather(1, labels[:, None]).squeeze(1)

    def slope(log: float) -> float:
        """Return the derivative by 1/T, which falls as T rises, over its own scale."""
        mean = ((logits / math.exp(log)).softmax(1) * logits).sum(1)
        return float((mean - true).mean())

    cold, hot = math.log(COLDEST), math.log(HOTTEST)
    if slope(hot) >= 0:
        return HOTTEST
    return COLDEST if slope(cold) <= 0 else math.exp(brentq(slope, cold, hot))
