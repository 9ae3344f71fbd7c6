"""How weight decay shrinks the mean row of a head, step by step."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.validation import finite_array, real_number, whole_number

MOST_STEPS = 10**8


def head_mean_path(
    lr: float | Sequence[float],
    momentum: float = 0.0,
    decay: float = 0.0,
    steps: int | None = None,
    dampening: float = 0.0,
    nesterov: bool = False,
) -> Float[Tensor, " T"]:
    r"""Return what is left of a head's mean row after each step of SGD, as a share of its start.

    .. math:: v' = \beta v + (1 - \delta) \lambda m, \qquad m' = m - \eta u, \qquad
        u = v' \;\text{ or, Nesterov, }\; \lambda m + \beta v'

    with m = W^T 1 and v = lambda m in the first step, as in torch. It holds exactly, whatever the
    data and the features, for every softmax loss whose targets sum to 1, since those have no
    gradient along m. Adam and AdamW have no such law: their scaling by entry breaks the zero sum.

    Parameters
    ----------
    lr
        eta, one number, or one for each step.
    momentum, dampening, nesterov
        beta and delta in [0, 1], and the kind of momentum, as in ``torch.optim.SGD``.
    decay
        lambda >= 0, the (coupled) weight decay; without it the mean row stays.
    steps
        How many, where `lr` is one number.

    Returns
    -------
    Tensor of shape (T + 1,), float64
        m_t / m_0, from 1; `metrics.head_mean` falls by the square.

    Raises
    ------
    NeuralCollapseError
        If the number of steps is missing or above 100 million, or a setting is out of range.

    References
    ----------
    arXiv 2602.16642; the recursion for Nesterov's momentum and dampening is ours.

    Examples
    --------
    >>> from neuralcollapse.theory import head_mean_path
    >>> head_mean_path(lr=0.1, decay=0.5, steps=2)
    tensor([1.0000, 0.9500, 0.9025], dtype=torch.float64)
    """
    rates = finite_array("lr", lr)
    if rates.ndim > 1:
        expected, got = "one number, or one for each step", f"shape {rates.shape}"
        raise NeuralCollapseError("lr", expected, got, "pass those of one group of parameters")
    if rates.ndim == 0:
        if steps is None:
            raise NeuralCollapseError(
                "steps", "a number of steps", "None", "say how many, or pass one lr for each step"
            )
        rates = np.full(whole_number("steps", steps, 0, MOST_STEPS), rates)
    settings = {"momentum": momentum, "decay": decay, "dampening": dampening}
    for name, given in settings.items():
        value = float(real_number(name, given))
        most = sys.float_info.max if name == "decay" else 1.0
        if not 0 <= value <= most:
            expected = "a number in [0, 1]" if most == 1 else "a finite number of at least 0"
            raise NeuralCollapseError(name, expected, str(value), "pass the optimiser's setting")
    mean, velocity = 1.0, None
    path = [mean]
    for rate in rates.tolist():
        gradient = decay * mean
        step = gradient
        if momentum:
            damped = (1 - dampening) * gradient
            velocity = gradient if velocity is None else momentum * velocity + damped
            step = gradient + momentum * velocity if nesterov else velocity
        mean -= rate * step
        path.append(mean)
    return torch.tensor(path, dtype=torch.float64)
