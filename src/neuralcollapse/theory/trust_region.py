"""Newton's method in a trust region, for objectives that are smooth and cheap to differentiate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from neuralcollapse.validation import Array

ROUNDING = 1e-12  # below this relative decrease, differences of values are rounding noise
MOST_STEPS = 200


@runtime_checkable
class Point(Protocol):
    """An objective expanded to second order about one argument.

    ``argument``, ``value`` and ``gradient`` are what they say. ``scaled_gradient`` and
    ``scaled_hessian(v)`` are gradient and Hessian in coordinates of the point's choice, in which
    the trust region is a ball: the nearer the Hessian is to the identity there, the better.
    ``unscale(v)`` is the change of the argument that they stand for.
    """

    argument: Array
    value: float
    gradient: Array
    scaled_gradient: Array

    def scaled_hessian(self, direction: Array) -> Array:
        """Apply the Hessian in scaled coordinates."""

    def unscale(self, direction: Array) -> Array:
        """Map scaled coordinates to a change of the argument."""


P = TypeVar("P", bound="Point")


def trust_region_newton(
    expand: Callable[[Array], P], start: Array, tolerance: float
) -> tuple[P, int]:
    """Minimise by Steihaug's trust-region Newton method with conjugate gradients.

    Once the predicted decrease is within the rounding of the values, the ratio of actual to
    predicted decrease says nothing; the last steps are then full Newton steps, until three in a
    row do not lower the gradient norm (in a curved valley some raise it before the next lower it).
    So the gradient norm reaches its rounding floor, not its square root.

    Parameters
    ----------
    expand
        Maps an argument to the objective's value, gradient and Hessian there.
    start
        Where to begin.
    tolerance
        Gradient norm at which to stop.

    Returns
    -------
    point, iterations
        The last point, whose gradient norm tells whether the tolerance was met, and the number of
        Newton steps tried.

    References
    ----------
    Steihaug 1983; Nocedal & Wright 2006, Algorithms 4.1 and 7.2.
    """
    point = best = expand(start)
    rises = 0
    radius = math.sqrt(abs(point.value)) or 1.0  # at unit curvature, this gains half the value
    for iteration in range(MOST_STEPS):
        slope = float(np.linalg.norm(point.gradient))
        if slope <= tolerance:
            return point, iteration
        step, predicted = _steihaug(point, radius)
        trial = expand(point.argument + point.unscale(step))
        if predicted <= ROUNDING * abs(point.value):
            point = trial
            if np.linalg.norm(point.gradient) < np.linalg.norm(best.gradient):
                best, rises = point, 0
            elif (rises := rises + 1) == 3:
                return best, iteration + 1
            continue
        ratio = (point.value - trial.value) / predicted
        length = float(np.linalg.norm(step))
        if ratio < 0.25:
            radius = length / 4
        elif ratio > 0.75 and length > 0.99 * radius:
            radius *= 2
        if ratio > 0.1:
            point = best = trial
    return best, MOST_STEPS


def _steihaug(point: Point, radius: float) -> tuple[Array, float]:
    """Minimise the quadratic model in the ball; return the step and the decrease it predicts."""
    residual = point.scaled_gradient
    step = np.zeros_like(residual)
    slope = float(np.linalg.norm(residual))
    tolerance = min(0.1, math.sqrt(slope)) * slope
    direction = -residual
    squared = float(np.vdot(residual, residual))
    decrease = 0.0
    for _ in range(2 * step.size):
        image = point.scaled_hessian(direction)
        curvature = float(np.vdot(direction, image))
        length = squared / curvature if curvature > 0 else math.inf
        if curvature <= 0 or np.linalg.norm(step + length * direction) >= radius:
            length = _to_boundary(step, direction, radius)
            return step + length * direction, decrease + length * (squared - length * curvature / 2)
        step = step + length * direction
        decrease += length * squared / 2
        residual = residual + length * image
        previous, squared = squared, float(np.vdot(residual, residual))
        if math.sqrt(squared) <= tolerance:
            break
        direction = squared / previous * direction - residual
    return step, decrease


def _to_boundary(step: Array, direction: Array, radius: float) -> float:
    """Length along the direction at which the step leaves the ball."""
    a, b = float(np.vdot(direction, direction)), float(np.vdot(step, direction))
    gap = radius**2 - float(np.vdot(step, step))
    root = math.sqrt(b * b + a * gap)
    return gap / (b + root) if b > 0 else (root - b) / a
