"""Definition 3.1, Theorem 3.3, Corollary 3.1 and Example 3.1: no critical point is a trap."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from neuralcollapse.studies.claims import Evidence, farthest, largest, smallest
from neuralcollapse.studies.ji2022.flows import decayed_loss, separating_norm, summed_loss
from neuralcollapse.studies.ji2022.study import study
from neuralcollapse.theory import (
    LayerPeeledModel,
    escape_direction,
    gradient_flow,
    kkt_residuals,
    paired_critical_point,
    paired_kkt_point,
    polygon_kkt_point,
    separation_optimum,
    separation_value,
    simplex_groups_kkt_point,
    weight_decay_optimum,
)
from neuralcollapse.theory.kkt_points import KKTPoint
from neuralcollapse.theory.landscape import EscapeDirection

LARGE = 30.0  # margin at which the loss itself is looked at
ANGLE = 0.1  # radians along the great circle
SMALL = [(3, 2, 2), (4, 2, 5)]  # K, n, d
MODERATE = (1.0, 2.0, 3.0)  # margins at which every term of the Hessian counts


def suboptimal_points() -> list[KKTPoint]:
    """Return polygons and groups of simplices, at the least and at a larger dimension."""
    polygons = [polygon_kkt_point(K, n) for K in (4, 5, 6, 8, 10) for n in (1, 3)]
    groups = [
        simplex_groups_kkt_point(sizes, n)
        for sizes in ([2, 2], [3, 3], [2, 3], [2, 2, 2], [4, 6])
        for n in (1, 3)
    ]
    return [*polygons, *groups, polygon_kkt_point(5, 2, dim=9), paired_kkt_point(5, dim=7)]


def _escape(point: KKTPoint) -> EscapeDirection:
    return escape_direction(point.W, point.H, point.labels, point.multipliers)


def _scaled(point: KKTPoint, margin: float = LARGE) -> tuple[Tensor, Tensor]:
    """Return (W, H) with this minimum margin."""
    return math.sqrt(margin) * point.W, math.sqrt(margin) * point.H


def _at_finite_norm(point: KKTPoint, margin: float = LARGE) -> EscapeDirection:
    return escape_direction(*_scaled(point, margin), point.labels)


def _sphere_curvature(point: KKTPoint, found: EscapeDirection, margin: float) -> float:
    """Return the second derivative of log L along the great circle, by Hessian and gradient."""
    W, H = _scaled(point, margin)
    model = LayerPeeledModel(point.labels, W.shape[1])
    along = model.log_hvp(W, H, found.dW, found.dH)
    radial = _inner(model.log_gradient(W, H), (W, H)) / _inner((W, H), (W, H))
    return _inner(along, (found.dW, found.dH)) - radial


def _dense_hessian(W: Tensor, H: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return point, gradient and Hessian of log L over (W, H) at once, by torch's autograd."""
    point = torch.cat([W.ravel(), H.ravel()])

    def log_loss(x: Tensor) -> Tensor:
        return summed_loss(x, labels, W.shape[1]).log()

    gradient = torch.func.grad(log_loss)(point)
    return point, gradient, torch.func.hessian(log_loss)(point)


def _least_sphere_curvature(W: Tensor, H: Tensor, labels: Tensor) -> float:
    """Return the least eigenvalue of the Hessian of log L on the sphere through (W, H)."""
    point, gradient, hessian = _dense_hessian(W, H, labels)
    unit = point / point.norm()
    tangent = torch.eye(len(point)).double() - torch.outer(unit, unit)
    radial = (gradient @ point) / point.square().sum()
    curved = tangent @ (hessian - radial * torch.eye(len(point)).double()) @ tangent
    return float(torch.linalg.eigvalsh(curved)[0])


def _inner(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> float:
    return float((a[0] * b[0]).sum() + (a[1] * b[1]).sum())


@study.claim(
    "ex3.1",
    "Minimum-norm separation has KKT points that are not optimal: four classes in two opposite "
    "pairs, and (ours) regular polygons and groups of simplices, and the pairs with weight decay.",
)
def _suboptimal_kkt_points() -> Iterator[Evidence]:
    pairs = paired_kkt_point()
    yield Evidence("value of the two pairs, K = 4, n = 1", pairs.value, 4, 1e-14)
    yield Evidence("where the simplex ETF has", separation_value([1] * 4), 3, 1e-14)
    points = suboptimal_points()
    residual = largest(
        *(kkt_residuals(p.W, p.H, p.labels, p.multipliers).largest for p in [pairs, *points])
    )
    ratio = smallest(*(p.value / separation_value(torch.bincount(p.labels)) for p in points))
    note = f"{len(points)} points, K to 10"
    yield Evidence("largest KKT residual, with multipliers", residual, 0, 1e-13, note=note)
    values = [p.value / separating_norm(p.W, p.H, p.labels) for p in points]
    words = "value over half the squared norm at margin 1, the farthest"
    yield Evidence(words, farthest(values), 1, 1e-12, note="by brute force on the logits")
    yield Evidence.at_least("least value / optimal value", ratio, 1.01)
    yield from _pairs_with_decay()


def _pairs_with_decay() -> Iterator[Evidence]:
    """Show that pairs of opposite classes are critical with decay too, and no minimum."""
    decays, n = (0.02, 0.05), 3
    point = paired_critical_point(*decays, samples_per_class=n, dim=5, num_classes=6)
    W, H = point.W.clone().requires_grad_(), point.H.clone().requires_grad_()
    loss = decayed_loss(W, H, point.labels, decays)
    slope = largest(*(float(part.norm()) for part in torch.autograd.grad(loss, (W, H))))
    note = f"K = 6, n = {n}, torch's loss and autograd"
    yield Evidence("with weight decay: gradient at the pairs", slope, 0, 1e-14, note=note)
    found = float(loss.detach())
    yield Evidence("their value over that loss", point.value / found, 1, 1e-12)
    excess = found / weight_decay_optimum(6, n, 5, *decays).value
    yield Evidence.at_least("their loss over the least", excess, 1.001)


@study.claim(
    "def3.1",
    "The tangent space of the sphere at (W, H) is <W, dW> + <H, dH> = 0, and the directions of "
    "escape lie in it.",
)
def _tangent() -> Iterator[Evidence]:
    worst = length = 0.0
    points = [(p.W, p.H, _escape(p)) for p in suboptimal_points()]
    W, H = torch.tensor([[1.0], [-1.0]]).double(), torch.tensor([[-1.0], [1.0]]).double()
    points.append((W, H, escape_direction(W, H, [0, 1])))  # features on the wrong sides
    for W, H, found in points:
        own = _inner((found.dW, found.dH), (found.dW, found.dH))
        length = largest(length, abs(own - 1))
        # The norm is stationary along the direction: by a central difference, not by the product.
        ahead, behind = (
            _inner((W + s * found.dW, H + s * found.dH), (W + s * found.dW, H + s * found.dH))
            for s in (1e-3, -1e-3)
        )
        worst = largest(worst, abs(ahead - behind) / 2e-3)
    note = f"{len(points)} points, one of them with kappa < 0"
    yield Evidence("largest slope of ||(W, H)||^2 along the escape", worst, 0, 1e-10, note=note)
    yield Evidence("largest | ||(dW, dH)||^2 - 1 |", length, 0, 1e-13)
    size = [4, 2, 1]
    best = separation_optimum(size, 3)
    point, gradient, _ = _dense_hessian(best.W, best.H, best.labels)
    slope = float(gradient @ point) / float(point.norm() * gradient.norm())
    words = "at an optimum of unequal classes, margin 1: cosine of the gradient with the radius"
    note = "near the radius, but not along it: no critical point of L at finite norm"
    yield Evidence(words, slope, -1, 0.1, note=note)
    words = "stationarity there, against the share of the gradient that is tangent"
    measured = escape_direction(best.W, best.H, best.labels).stationarity
    yield Evidence(words, measured, math.sqrt(1 - slope**2), 1e-9, note="autograd")


@study.claim(
    "thm3.3",
    "From every suboptimal KKT point the loss falls along a tangent direction of the sphere, once "
    "the norm is large.",
)
def _descent() -> Iterator[Evidence]:
    points = suboptimal_points()
    rises = [_change(point, _escape(point), LARGE)[0] for point in points]
    note = f"{len(points)} points, margin {LARGE:g}, {ANGLE} rad along the great circle"
    yield Evidence.at_most("largest change of log L", largest(*rises), -1e-3, note=note)
    two = paired_kkt_point(2)
    found = _at_finite_norm(two, 2.0)
    change, arc = _change(two, found, 2.0)
    words = "change of log L from the two pairs over curvature x arc^2 / 2, margin 2"
    yield Evidence(words, change / (found.curvature * arc**2 / 2), 1, 0.02)
    yield Evidence(
        "tangential share of the gradient at groups of 2 and 3",
        _at_finite_norm(simplex_groups_kkt_point([2, 3])).stationarity,
        0.2,
        1e-3,
        note="ours: a KKT point with unequal multipliers is not critical for L at finite norm, "
        "so KKT points must be judged by their multipliers",
    )
    pairs = _at_finite_norm(paired_kkt_point())
    yield Evidence("and at the two pairs", pairs.stationarity, 0, 1e-12)


def _change(point: KKTPoint, found: EscapeDirection, margin: float) -> tuple[float, float]:
    """Return the change of log L along the great circle from a point, and the length of the arc."""
    W, H = _scaled(point, margin)
    model, radius = LayerPeeledModel(point.labels, W.shape[1]), math.sqrt(_inner((W, H), (W, H)))
    moved = (
        math.cos(ANGLE) * start + math.sin(ANGLE) * radius * direction
        for start, direction in ((W, found.dW), (H, found.dH))
    )
    return model.log_loss(*moved) - model.log_loss(W, H), ANGLE * radius


@study.claim(
    "cor3.1",
    "Every suboptimal critical point on the sphere is a strict saddle: log L has curvature "
    "-(||G||_2 - kappa) < 0 along the escape direction (the formula is ours).",
)
def _strict_saddles() -> Iterator[Evidence]:
    points = suboptimal_points()
    found = [_escape(point) for point in points]
    note = f"{len(points)} points, d = K - 1 among them"
    escaping = sum(escape.status == "escape" for escape in found) / len(found)
    yield Evidence("share with a direction of escape", escaping, 1, note=note)
    scaled = [
        escape.curvature * separation_value(torch.bincount(point.labels))
        for point, escape in zip(points, found, strict=True)
    ]
    yield Evidence.at_most("largest curvature, times the optimal value", largest(*scaled), -0.01)
    errors = [
        abs(_sphere_curvature(point, escape, margin) / escape.curvature - 1)
        for margin in (*MODERATE, LARGE)
        for point in points
        for escape in [_at_finite_norm(point, margin)]
        if escape.status == "escape"
    ]
    words = "largest relative error of the formula against the Hessian of log L"
    note = f"{len(errors)} points critical at finite norm, margins 1, 2, 3 and {LARGE:g}"
    yield Evidence(words, largest(*errors), 0, 1e-11, note=note)
    yield Evidence("largest error of the Hessian product, against autograd", _hvp_error(), 0, 1e-12)
    small = [paired_kkt_point(2), polygon_kkt_point(5), simplex_groups_kkt_point([3, 3])]
    least = [
        _least_sphere_curvature(*_scaled(p, m), p.labels) / _at_finite_norm(p, m).curvature
        for p in small
        for m in MODERATE
    ]
    words = "the least curvature of all over that of the escape: least"
    note = "all eigenvalues on the sphere by autograd; pairs, pentagon and two triangles"
    yield Evidence.at_least(words, smallest(*least), 1, 1e-9, note=note)
    optima = [(separation_optimum([n] * K, d), m) for K, n, d in SMALL for m in MODERATE]
    curvatures = [
        _least_sphere_curvature(best.W * math.sqrt(m), best.H * math.sqrt(m), best.labels)
        for best, m in optima
    ]
    note = "balanced, margins 1 to 3: there is no way down, so none may be claimed"
    words = "least curvature of all at a global optimum"
    yield Evidence(words, smallest(*curvatures), 0, 1e-9, note=note)
    status = [
        escape_direction(m**0.5 * best.W, m**0.5 * best.H, best.labels).status for best, m in optima
    ]
    recognised = status.count("global optimum") / len(status)
    yield Evidence("share of these recognised as such", recognised, 1)


def _hvp_error() -> float:
    """Compare Hessian products of L and log L with torch's, at random points of small margins."""
    worst = 0.0
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 1, 2, 2, 1])
    model = LayerPeeledModel(labels, 4)
    for _ in range(3):
        W, H, U, V = (
            torch.randn(rows, 4, generator=generator, dtype=torch.float64) for rows in (3, 5, 3, 5)
        )
        _, gradient, hessian = _dense_hessian(W, H, labels)
        direction = torch.cat([U.ravel(), V.ravel()])
        log_product = hessian @ direction
        loss = model.loss(W, H)
        product = loss * (log_product + gradient * (gradient @ direction))
        for expected, measured in (
            (log_product, model.log_hvp(W, H, U, V)),
            (product, model.hvp(W, H, U, V)),
        ):
            flat = torch.cat([part.ravel() for part in measured])
            worst = largest(worst, float((flat - expected).norm() / expected.norm()))
    return worst


@study.claim(
    "cor3.1-rate",
    "Ours: the flow leaves a suboptimal KKT point as slowly as (log t)^((sigma - 1) / 2), sigma "
    "the spectral norm of the dual matrix.",
)
def _escape_rate() -> Iterator[Evidence]:
    for name, point in (
        ("the two pairs, n = 5", paired_kkt_point(5)),
        ("the pentagon, n = 2", polygon_kkt_point(5, 2)),
    ):
        found = _escape(point)
        measured = _measured_rate(point, found)
        note = "log t from 1e3 to 1e5, perturbed by 1e-6"
        yield Evidence(f"exponent at {name}", measured, found.rate, 2e-3, note=note)


def _measured_rate(point: KKTPoint, found: EscapeDirection) -> float:
    """Fit the growth of the share of (W, H) along the escape direction."""
    times = np.geomspace(1e3, 1e5, 20)
    flow = gradient_flow(point.W + 1e-6 * found.dW, point.H + 1e-6 * found.dH, point.labels, times)
    along = (flow.W * found.dW).sum((1, 2)) + (flow.H * found.dH).sum((1, 2))
    norm = (flow.W.square().sum((1, 2)) + flow.H.square().sum((1, 2))).sqrt()
    return float(np.polyfit(np.log(times), (along / norm).log(), 1)[0])
