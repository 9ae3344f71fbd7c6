"""Linearly implicit and matrix-free: the two-stage Rosenbrock method ROS2 with conjugate gradients.

The Hessian of log L has few distinct eigenvalues near collapse, so that conjugate gradients need
about ten products with it however stiff the flow has become.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg

from neuralcollapse.theory.flow.clock import ClockReading, advance_clock
from neuralcollapse.theory.flow.field import Evaluation, FlowField
from neuralcollapse.theory.flow.projection import Conserved, project
from neuralcollapse.theory.flow.step import Step
from neuralcollapse.validation import Array

# L-stable, as is 1 - 1/sqrt 2, whose error is smaller but whose first stage overshoots a stiff
# component 3.4 times: e^{-margin} does not forgive that, and the trajectory oscillates for good.
_GAMMA = 1 + 1 / math.sqrt(2)
_MARGIN = 10.0  # of the tolerance: the error estimate is that of the embedded first-order method


@dataclass(frozen=True)
class _Point:
    """A state and its log t, with the field and the clock read there."""

    state: Array
    log_t: float
    field: Evaluation
    reading: ClockReading


def rosenbrock_steps(
    field: FlowField, start: Step, log_times: Sequence[float], rtol: float, target: Conserved
) -> Iterator[Step]:
    """Integrate in s from `start`, landing on each of the increasing log times.

    Each step is projected onto `target`. Ends early where the step size underflows
    or a log time cannot be hit.
    """
    point = _point(field, start.state, start.log_t)
    size = math.sqrt(rtol) * _norm(point.state) / _norm(point.field.gradient)
    for log_time in log_times:
        while point.log_t < log_time:
            end, error = rosenbrock_step(field, point.state, point.field, size, rtol)
            excess = _norm(error) / (_MARGIN * rtol * _norm(point.state))
            reached = _clocked(field, point, end, target) if excess <= 1 else point
            if not reached.log_t > point.log_t:
                size *= max(0.2, 0.9 / math.sqrt(max(excess, 4.0)))
                if size * _norm(point.field.gradient) < 1e-15 * _norm(point.state):
                    return
                continue
            if reached.log_t >= log_time:
                landed = _land(field, point, reached, size, rtol, target, log_time)
                if landed is None:
                    return
                reached = landed
            point = reached
            size *= min(3.0, 0.9 / math.sqrt(max(excess, 1e-3)))
            yield Step(point.log_t, point.state, point.log_t == log_time)


def rosenbrock_step(
    field: FlowField, state: Array, here: Evaluation, size: float, rtol: float
) -> tuple[Array, Array]:
    r"""Return the state after one step in s, and an estimate of its error.

    .. math::

        (I + \gamma h A) k_1 = f(y), \quad (I + \gamma h A) k_2 = f(y + h k_1) - 2 k_1, \quad
        y_+ = y + \tfrac{h}{2} (3 k_1 + k_2)

    with A = Hess log L, f = -grad log L, gamma = 1 + 1/sqrt 2: order 2, L-stable. The error is
    that of the embedded method of order 1; infinite where conjugate gradients fail, because the
    step is too long for the negative curvature of log L.

    References
    ----------
    Verwer, Spee, Blom & Hundsdorfer 1999, "A second-order Rosenbrock method applied to
    photochemical dispersion problems".
    """
    hessian = field.log_hessian(state, here)
    operator = LinearOperator(
        (field.size, field.size), lambda v: v + _GAMMA * size * hessian(v), dtype=np.float64
    )
    # The gap sees differences of margins, which are as large as -log L.
    tolerance = min(1e-4, 10 * rtol, 1 / max(1.0, -here.log_loss))
    first, failed = cg(operator, -here.gradient, x0=-here.gradient, rtol=tolerance, maxiter=500)
    if not failed:
        there = field.evaluate(state + size * first)
        right = -there.gradient - 2 * first
        second, failed = cg(operator, right, x0=-first, rtol=tolerance, maxiter=500)
    if failed:
        return state, np.full_like(state, np.inf)
    return state + size * (1.5 * first + 0.5 * second), 0.5 * size * (first + second)


def _point(field: FlowField, state: Array, log_t: float) -> _Point:
    here = field.evaluate(state)
    gradient = here.gradient
    pace = 1 / float(gradient @ gradient)
    slope = 2 * float(gradient @ field.log_hessian(state, here)(gradient)) * pace**3
    return _Point(state, log_t, here, ClockReading(-here.log_loss, pace, slope))


def _clocked(field: FlowField, start: _Point, state: Array, target: Conserved) -> _Point:
    """Project the end of a step and read its log t: NaN where the loss did not fall."""
    end = _point(field, field.join(*project(*field.split(state), target)), start.log_t)
    return replace(end, log_t=advance_clock(start.log_t, start.reading, end.reading))


def _land(
    field: FlowField,
    start: _Point,
    reached: _Point,
    size: float,
    rtol: float,
    target: Conserved,
    log_time: float,
) -> _Point | None:
    """Shorten a step until it ends at `log_time`; None if it cannot be made to.

    Interpolation would do for the direction, but not for margins of 1e8 whose differences matter.
    """
    for _ in range(50):
        early = log_time - reached.log_t
        pace = math.exp(reached.log_t + reached.field.log_loss)  # ds / d log t = L t
        if abs(early) <= 1e-6 * max(1.0, abs(log_time)):
            state = reached.state - pace * early * reached.field.gradient
            return _point(field, state, log_time)
        # Newton in log t, which is exact late; in t where it would step back past the start.
        shift = pace * early if size + pace * early > 0 else pace * math.expm1(early)
        size += shift
        end, _ = rosenbrock_step(field, start.state, start.field, size, rtol)
        reached = _clocked(field, start, end, target)
    return None


def _norm(vector: Array) -> float:
    return float(np.linalg.norm(vector))
