"""The central path where means and scatter share their directions: each goes its own way."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.theory.landing import increasing_times, land_on
from neuralcollapse.validation import decay_strength, finite_array, whole_number


class CommutingPath(NamedTuple):
    """(T, m) singular values of the class means, and variances along their directions.

    Examples
    --------
    >>> from neuralcollapse.theory import commuting_path
    >>> path = commuting_path([1.0, 2.0], [0.1, 0.1], 3, 0.5, 0.1, [0.0, 100.0])
    >>> bool(path.variances[1].max() < path.variances[0].min())  # they shrink
    True
    """

    radii: Float[Tensor, "T m"]
    variances: Float[Tensor, "T m"]


def commuting_path(
    radii: Any, variances: Any, num_classes: int, lambda_w: float, lambda_h: float, times: Any
) -> CommutingPath:
    r"""Follow the central path along common singular directions of means and scatter.

    If the classes are balanced, the class means are :math:`U \mathrm{diag}(h) V^\top` and
    :math:`\Sigma_W V = V \mathrm{diag}(s)`, they stay so, and with
    :math:`a = K s + \lambda_W` every direction is a flow of two numbers,

    .. math::
        \dot h = \frac{a h}{(a + h^2)^2} - \lambda_H h, \qquad
        \dot s = -2 \Bigl( \frac{h^2}{(a + h^2)^2} + \lambda_H \Bigr) s.

    For :math:`\lambda_H = 0` each keeps :math:`h^2 + K s + \lambda_W \ln s`; for s = 0 its time is
    that of `collapsed_path_time`.

    Parameters
    ----------
    radii
        (m,) singular values h at time 0.
    variances
        (m,) variances s at time 0, at least 0.
    num_classes
        K >= 2.
    lambda_w
        Weight decay of the head, above 0.
    lambda_h
        Weight decay of the features, at least 0.
    times
        (T,) times, at least 0 and increasing.

    Returns
    -------
    CommutingPath
        h and s at each time.

    Raises
    ------
    NeuralCollapseError
        If shapes differ, a variance is negative, a strength or a time is out of range, or a time is
        out of reach.
    NonFiniteError
        If a number is NaN or infinite.

    References
    ----------
    Ours; Tirer, Huang & Niles-Weed 2023, Equation 4, is the flow.

    Examples
    --------
    >>> from neuralcollapse.theory import commuting_path
    >>> path = commuting_path([1.0, 2.0], [0.1, 0.1], 3, 0.5, 0.1, [0.0, 100.0])
    >>> path.radii[1] ** 2  # both tend to sqrt(lambda_w / lambda_h) - lambda_w
    tensor([1.7361, 1.7361], dtype=torch.float64)
    """
    h, s = (
        finite_array(name, value) for name, value in (("radii", radii), ("variances", variances))
    )
    num_classes = whole_number("num_classes", num_classes, 2)
    if h.ndim != 1 or h.shape != s.shape or (s < 0).any():
        expected = "one variance of at least 0 for each of m radii"
        got = f"{s.tolist()} for radii of shape {h.shape}"
        remedy = "project the scatter on the right singular vectors of the class means"
        raise NeuralCollapseError("variances", expected, got, remedy)
    lambda_w = decay_strength("lambda_w", lambda_w)
    lambda_h = decay_strength("lambda_h", lambda_h, or_zero=True)
    instants = increasing_times(times)

    def velocity(_: float, state: np.ndarray) -> np.ndarray:
        radius, log_decay = state.reshape(2, -1)
        a = num_classes * s * np.exp(log_decay) + lambda_w
        pull = radius / (a + radius**2)  # the head
        drift = a * pull / (a + radius**2) - lambda_h * radius
        return np.concatenate([drift, -2 * (pull**2 + lambda_h)])

    states = land_on(velocity, np.concatenate([h, 0 * s]), instants)
    found = np.array(states).reshape(len(states), 2, -1)
    return CommutingPath(
        torch.from_numpy(found[:, 0].copy()), torch.from_numpy(s * np.exp(found[:, 1]))
    )
