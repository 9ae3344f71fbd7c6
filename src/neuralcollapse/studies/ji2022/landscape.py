"""Definition 3.1, Theorem 3.3, Corollary 3.1 and Example 3.1: no critical point is a trap."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from neuralcollapse.studies.claims import Evidence
from neuralcollapse.studies.ji2022.study import study
from neuralcollapse.theory import (
    EscapeDirection,
    KKTPoint,
    LayerPeeledModel,
    escape_direction,
    gradient_flow,
    kkt_residuals,
    origin_spectrum,
    paired_kkt_point,
    polygon_kkt_point,
    separation_optimum,
    separation_value,
    simplex_groups_kkt_point,
)

LARGE = 30.0  # margin at which the loss itself is looked at


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


def _scaled(point: KKTPoint) -> tuple[Tensor, Tensor]:
    """Return (W, H) with the least margin LARGE."""
    return math.sqrt(LARGE) * point.W, math.sqrt(LARGE) * point.H


def _at_finite_norm(point: KKTPoint) -> EscapeDirection:
    return escape_direction(*_scaled(point), point.labels)


def _sphere_curvature(point: KKTPoint, found: EscapeDirection) -> float:
    """Return the second derivative of log L along the great circle, by Hessian and gradient."""
    W, H = _scaled(point)
    model = LayerPeeledModel(point.labels, W.shape[1])
    along = model.log_hvp(W, H, found.dW, found.dH)
    radial = _inner(model.log_gradient(W, H), (W, H)) / _inner((W, H), (W, H))
    return _inner(along, (found.dW, found.dH)) - radial


def _inner(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> float:
    return float((a[0] * b[0]).sum() + (a[1] * b[1]).sum())


@study.claim(
    "ex3.1",
    "Minimum-norm separation has KKT points that are not optimal: four classes in two opposite "
    "pairs, and (ours) regular polygons and groups of simplices.",
)
def _suboptimal_kkt_points() -> Iterator[Evidence]:
    pairs = paired_kkt_point()
    yield Evidence("value of the two pairs, K = 4, n = 1", pairs.value, 4, 1e-14)
    yield Evidence("where the simplex ETF has", separation_value([1] * 4), 3, 1e-14)
    points = suboptimal_points()
    residual = max(
        kkt_residuals(p.W, p.H, p.labels, p.multipliers).largest for p in [pairs, *points]
    )
    ratio = min(p.value / separation_value(torch.bincount(p.labels)) for p in points)
    note = f"{len(points)} points, K to 10"
    yield Evidence("largest KKT residual, with multipliers", residual, 0, 1e-13, note=note)
    yield Evidence("least value / optimal value", ratio, 1.01, relation=">=")


@study.claim(
    "def3.1",
    "The tangent space of the sphere at (W, H) is <W, dW> + <H, dH> = 0, and the directions of "
    "escape lie in it.",
)
def _tangent() -> Iterator[Evidence]:
    worst = length = 0.0
    for point in suboptimal_points():
        found = _escape(point)
        worst = max(worst, abs(_inner((point.W, point.H), (found.dW, found.dH))))
        own = _inner((found.dW, found.dH), (found.dW, found.dH))
        length = max(length, abs(own - 1))
    yield Evidence("largest |<W, dW> + <H, dH>|", worst, 0, 1e-13)
    yield Evidence("largest | ||(dW, dH)||^2 - 1 |", length, 0, 1e-13)


@study.claim(
    "thm3.3",
    "From every suboptimal KKT point the loss falls along a tangent direction of the sphere, once "
    "the norm is large.",
)
def _descent() -> Iterator[Evidence]:
    points = suboptimal_points()
    rises = []
    for point in points:
        found = _escape(point)
        W, H = _scaled(point)
        model, radius = (
            LayerPeeledModel(point.labels, W.shape[1]),
            math.sqrt(_inner((W, H), (W, H))),
        )
        angle = 0.1
        moved = (
            math.cos(angle) * start + math.sin(angle) * radius * direction
            for start, direction in ((W, found.dW), (H, found.dH))
        )
        rises.append(model.log_loss(*moved) - model.log_loss(W, H))
    note = f"{len(points)} points, margin {LARGE:g}, 0.1 rad along the great circle"
    yield Evidence("largest change of log L", max(rises), -1e-3, relation="<=", note=note)
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


@study.claim(
    "cor3.1",
    "Every suboptimal critical point on the sphere is a strict saddle: log L has curvature "
    "-(||G||_2 - kappa) < 0 along the escape direction (the formula is ours).",
)
def _strict_saddles() -> Iterator[Evidence]:
    points = suboptimal_points()
    found = [_escape(point) for point in points]
    note = f"{len(points)} points, d = K - 1 among them"
    yield Evidence(
        "share with a direction of escape",
        sum(escape.status == "escape" for escape in found) / len(found),
        1,
        note=note,
    )
    yield Evidence(
        "largest curvature, times the optimal value",
        max(
            escape.curvature * separation_value(torch.bincount(point.labels))
            for point, escape in zip(points, found, strict=True)
        ),
        -0.01,
        relation="<=",
    )
    finite = [(point, _at_finite_norm(point)) for point in points]
    errors = [
        abs(_sphere_curvature(point, escape) / escape.curvature - 1)
        for point, escape in finite
        if escape.status == "escape"
    ]
    yield Evidence(
        "largest relative error of the formula against the Hessian of log L",
        max(errors),
        0,
        1e-11,
        note=f"the {len(errors)} points critical at finite norm, margin {LARGE:g}",
    )
    optima = [([5] * 4, 3), ([2] * 10, 16), ([4, 2, 1], 2)]
    status = [
        escape_direction(best.W, best.H, best.labels, best.multipliers).status
        for best in (separation_optimum(sizes, dim) for sizes, dim in optima)
    ]
    yield Evidence(
        "share of global optima recognised as such", status.count("global optimum") / len(status), 1
    )


@study.claim(
    "cor3.1-origin",
    "Ours: the origin is a strict saddle of the loss; the eigenvalues of its Hessian are plus and "
    "minus the singular values of the simplex-encoded labels, d times each, and 0.",
)
def _origin() -> Iterator[Evidence]:
    slope = error = 0.0
    cases = [([1, 1], 1), ([4, 4, 4], 2), ([5, 2, 1], 4)]
    for sizes, dim in cases:
        gradient, hessian = _at_the_origin(sizes, dim)
        slope = max(slope, float(gradient.norm()))
        apart = torch.linalg.eigvalsh(hessian) - origin_spectrum(sizes, dim)
        error = max(error, float(apart.abs().max()))
    note = f"{len(cases)} sets of classes, unequal ones among them; derivatives by autograd"
    yield Evidence("largest gradient", slope, 0, 1e-15, note=note)
    yield Evidence("largest error of an eigenvalue", error, 0, 1e-13)
    least = float(origin_spectrum([4, 4, 4], 2)[0])
    yield Evidence("least eigenvalue, classes of n = 4: -n^(1/2)", least, -2, 1e-14)


def _at_the_origin(sizes: list[int], dim: int) -> tuple[Tensor, Tensor]:
    """Differentiate the sum of cross-entropies twice at W = H = 0."""
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))

    def loss(flat: Tensor) -> Tensor:
        W, H = flat.view(-1, dim).split([len(sizes), len(labels)])
        return cross_entropy(H @ W.T, labels, reduction="sum")

    origin = torch.zeros(dim * (len(sizes) + len(labels)), dtype=torch.float64)
    return torch.func.grad(loss)(origin), torch.func.hessian(loss)(origin)


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
