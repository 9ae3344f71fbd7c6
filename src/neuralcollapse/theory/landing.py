"""Landing on every time of a flow: interpolation would lose the integrator's last digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from scipy.integrate import solve_ivp

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.validation import Array, as_tensor

MOST_EVALUATIONS = 100_000  # of the velocity: ten seconds or so for a few classes


def increasing_times(times: Any) -> Array:
    """Check that times are finite, at least 0 and increasing."""
    instants = as_tensor("times", times).detach().to(torch.float64).cpu()
    valid = instants.ndim == 1 and len(instants) > 0 and bool(torch.isfinite(instants).all())
    if not (valid and bool((instants.diff() > 0).all()) and float(instants[0]) >= 0):
        raise NeuralCollapseError(
            "times", "finite increasing times of at least 0", str(times), "sort them"
        )
    return instants.numpy()


def land_on(velocity: Callable[[float, Array], Array], start: Array, times: Array) -> list[Array]:
    """Return the states of a flow at increasing times.

    Each step of the integrator errs by an estimated 1e-12 of every entry plus 1e-14, and the errors
    of steps add up: entries far below 0.01 have no relative accuracy of 1e-12.

    Parameters
    ----------
    velocity
        Of time and state (n,).
    start
        (n,) state at time 0.
    times
        (T,) at least 0 and increasing.

    Raises
    ------
    NeuralCollapseError
        If the flow does not reach a time in 100,000 evaluations of its velocity, or overflows.

    Examples
    --------
    >>> import numpy as np
    >>> [state] = land_on(lambda time, state: -state, np.ones(1), np.array([1.0]))
    >>> float(state[0] * np.e)
    1.000000
    """
    state, now, states, left = start, 0.0, [], MOST_EVALUATIONS

    def counted(time: float, state: Array) -> Array:
        nonlocal left
        left -= 1
        if left < 0:
            raise _unreached(target, f"t = {time:.3g} after {MOST_EVALUATIONS:,} evaluations")
        return velocity(time, state)

    for target in times.tolist():
        if target > now:
            found = solve_ivp(counted, (now, target), state, "DOP853", rtol=1e-12, atol=1e-14)
            if not found.success:
                raise _unreached(target, f"t = {found.t[-1]:.3g}: {found.message}")
            now, state = target, found.y[:, -1]
        states.append(state)
    return states


def _unreached(target: float, got: str) -> NeuralCollapseError:
    expected = f"times that the flow reaches, such as t = {target:.3g}"
    remedy = "end earlier: by then it has long come to rest, or never does"
    return NeuralCollapseError("times", expected, got, remedy)
