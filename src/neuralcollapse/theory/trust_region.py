"""Newton's method in a trust region, for objectives that are smooth and cheap to differentiate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

Array = np.ndarray
ROUNDING = 1e-12  # below this relative decrease, differences of values are rounding noise


@runtime_checkable
class Point(Protocol):
    """An objective expanded to second order about one argument.

    ``argument``, ``value`` and ``gradient`` are what they say; ``hessian(v)`` is the product of
    the Hessian with v, of the shape of the argument.
    """

    argument: Array
    value: float
    gradient: Array

    def hessian(self, direction: Array) -> Array:
        """Apply the Hessian."""


P = TypeVar("P", bound="Point")


def trust_region_newton(
    expand: Callable[[Array], P], start: Array, tolerance: float, max_iterations: int = 200
) -> tuple[P, int]:
    """Minimise by Steihaug's trust-region Newton method with conjugate gradients.

    Once the predicted decrease is within the rounding of the values, the ratio of actual to
    predicted decrease says nothing; the last steps are then full Newton steps, kept while they
    lower the gradient norm. So the gradient norm reaches its rounding floor, not its square root.

    Parameters
    ----------
    expand
        Maps an argument to the objective's value, gradient and Hessian there.
    start
        Where to begin.
    tolerance
        Gradient norm at which to stop.
    max_iterations
        Newton steps tried at most.

    Returns
    -------
    point, iterations
        The last point, whose gradient norm tells whether the tolerance was met, and the number of
        Newton steps tried.

    References
    ----------
    Steihaug 1983; Nocedal & Wright 2006, Algorithms 4.1 and 7.2.
    """
    point = expand(start)
    radius = max(1.0, float(np.linalg.norm(start)))
    for iteration in range(max_iterations):
        slope = float(np.linalg.norm(point.gradient))
        if slope <= tolerance:
            return point, iteration
        step, predicted = _steihaug(point, radius, min(0.1, math.sqrt(slope)) * slope)
        trial = expand(point.argument + step)
        if predicted <= ROUNDING * abs(point.value):
            if np.linalg.norm(trial.gradient) >= slope:
                return point, iteration + 1
            point = trial
            continue
        ratio = (point.value - trial.value) / predicted
        length = float(np.linalg.norm(step))
        if ratio < 0.25:
            radius = length / 4
        elif ratio > 0.75 and length > 0.99 * radius:
            radius *= 2
        if ratio > 0.1:
            point = trial
    return point, max_iterations


def _steihaug(point: Point, radius: float, tolerance: float) -> tuple[Array, float]:
    """Minimise the quadratic model in the ball; return the step and the decrease it predicts."""
    step = np.zeros_like(point.gradient)
    residual = point.gradient
    direction = -residual
    squared = float(np.vdot(residual, residual))
    decrease = 0.0
    for _ in range(2 * step.size):
        image = point.hessian(direction)
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
