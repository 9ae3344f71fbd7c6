"""Plain descents, by which claims find again what the theory has in closed form."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor


def minimize_flat(
    loss: Callable[[Tensor], Tensor], start: np.ndarray, **options: Any
) -> tuple[float, Tensor]:
    """Minimise a function of a flat tensor by L-BFGS, with gradients by autograd.

    Parameters
    ----------
    loss
        From a (P,) tensor to a scalar one.
    start
        (P,) where to begin.
    options
        Of scipy's ``L-BFGS-B``.

    Returns
    -------
    tuple
        The least value found, and where.
    """

    def both(x: np.ndarray) -> tuple[float, np.ndarray]:
        flat = torch.from_numpy(x).requires_grad_()
        value = loss(flat)
        return value.item(), torch.autograd.grad(value, flat)[0].numpy()

    limits: Any = {"maxiter": 5000} | options
    found = minimize(both, start, jac=True, method="L-BFGS-B", options=limits)
    return float(found.fun), torch.from_numpy(found.x)


def train_on_all(parameters: Iterable[Tensor], loss: Callable[[], Tensor], steps: int) -> None:
    """Minimise a loss of all samples at once by Adam, its learning rate falling as a cosine.

    Parameters
    ----------
    parameters
        What is trained.
    loss
        Computes the loss anew.
    steps
        How many.
    """
    optimizer = torch.optim.Adam(parameters, lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        schedule.step()
