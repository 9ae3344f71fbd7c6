"""Theorem 3.2 and the rates of Figure 2: where the gradient flow goes, and how fast."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from neuralcollapse.studies.claims import Evidence, farthest, largest
from neuralcollapse.studies.ji2022.flows import (
    Problem,
    exponent,
    follow_classes,
    margins_of_pairs,
    separating_norm,
    summed_loss,
)
from neuralcollapse.studies.ji2022.study import study
from neuralcollapse.theory import (
    LayerPeeledModel,
    collapse_errors,
    flow_asymptotics,
    gradient_flow,
    kkt_residuals,
    separation_optimum,
    separation_value,
)
from neuralcollapse.theory.flow.solution import FlowSolution

SEEDS = (0, 1)
LATE = np.geomspace(1e4, 1e8, 9)
EXACT_EXPONENTS = {
    "equinorm_means": -1.0,
    "equinorm_head": -1.0,
    "equinorm_rows": -0.5,
    "within_class": -0.5,
    "cosines_means": -1.0,
    "cosines_head": -1.0,
    "cosines_rows": -0.5,
    "self_duality": -1.0,
}


@study.claim(
    "thm3.2",
    "The gradient flow converges in direction to a KKT point of minimum-norm separation; ours: to "
    "a global optimum, with a certificate.",
)
def _direction() -> Iterator[Evidence]:
    labels, note = Problem().labels, f"{len(SEEDS)} random starts, K = 4, n = 5, d = 6"
    yield from _clock()
    flows = [_late_flow(seed) for seed in SEEDS]
    gap = torch.stack([flow.gap for flow in flows]).amax(0).numpy()
    yield Evidence.at_most("relative duality gap at log t = 1e6", _at(1e6, gap), 1e-5, note=note)
    W, H = Problem().start("generic", SEEDS[0])
    small = gradient_flow(0.3 * W, 0.3 * H, labels, [1e6])
    words = "relative duality gap at log t = 1e6, from 0.3 times the start"
    note = "its constant grows with what the flow conserves, squares of the start"
    yield Evidence.at_most(words, float(small.gap[-1]), 1e-6, note=note)
    # Beyond 1e6 the dual bound begins to see the rounding of margins, which are as large as log t.
    by_hand = largest(*(_relative_gap(flow.W[0], flow.H[0], labels) for flow in flows))
    words = "relative duality gap at log t = 1e4 over the one recomputed sample by sample"
    yield Evidence(words, gap[0] / by_hand, 1, 1e-6)
    fitted = exponent(LATE, gap, 1e4, 1e6)
    yield Evidence("exponent of the gap in log t", fitted, -1, 0.02, note="log t 1e4 to 1e6")
    yield Evidence.at_most("relative duality gap at log t = 1e8", _at(1e8, gap), 1e-6)
    optimum = separation_value([5, 5, 5, 5])
    late = flows[0]
    separated = [
        separating_norm(late.W[i], late.H[i], labels) / optimum - 1 for i in range(len(LATE))
    ]
    words = "(||W||^2 + ||H||^2) / (2 q_min) over the least, less 1, at log t = 1e8"
    yield Evidence(words, separated[-1], 0, 1e-7, note="by brute force on the logits")
    residual, naive = (
        np.array(
            [
                largest(*(f(flow.W[i], flow.H[i], labels) for flow in flows))
                for i in range(len(LATE))
            ]
        )
        for f in (lambda W, H, y: kkt_residuals(W, H, y).largest, _stationarity)
    )
    yield Evidence.at_most("largest KKT residual at log t = 1e8", _at(1e8, residual), 1e-3)
    fitted = exponent(LATE, residual, 1e4, 1e8)
    words = "exponent of the KKT residual in log t"
    yield Evidence(words, fitted, -0.5, 0.02, note="the gap is of second order in it")
    words = "KKT residual at log t = 1e4 over the one recomputed with autograd"
    yield Evidence(words, residual[0] / naive[0], 1, 1e-6)
    yield from _known_residuals()
    imbalanced, _ = follow_classes([4, 2, 1], 3, 0, [1e6])
    words = "relative duality gap at log t = 1e6, classes of 4, 2 and 1"
    yield Evidence.at_most(words, float(imbalanced.gap[-1]), 1e-5)


def _clock() -> Iterator[Evidence]:
    """Compare the flow with the same flow in ordinary time, and its clock with the loss."""
    labels, (W, H) = Problem().labels, Problem().start("generic", 0)
    time = 100.0

    def velocity(_: float, flat: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(flat).requires_grad_()
        return -torch.autograd.grad(summed_loss(x, labels, W.shape[1]), x)[0].numpy()

    start = torch.cat([W.ravel(), H.ravel()]).numpy()
    end = solve_ivp(velocity, (0, time), start, "DOP853", rtol=1e-10, atol=1e-12).y[:, -1]
    flow = gradient_flow(W, H, labels, [math.log(time)])
    found = torch.cat([flow.W[0].ravel(), flow.H[0].ravel()]).numpy()
    words = "relative distance from the flow of the loss in ordinary time, at t = 100"
    error = float(np.linalg.norm(found - end) / np.linalg.norm(end))
    yield Evidence(words, error, 0, 1e-8, note="cross-entropy and gradient of torch, by DOP853")
    late = _late_flow(0)
    model = LayerPeeledModel(labels, W.shape[1])
    margin = float(model.margins(late.W[-1], late.H[-1]).min())
    slope = 2 * margin / separation_value([5, 5, 5, 5])  # |grad log L|^2
    clock = float(late.log_t[-1] + late.log_loss[-1]) + math.log(slope)
    words = "log t + log L + log |grad log L|^2 at log t = 1e8"
    yield Evidence(words, clock, 0, 1e-2, note="1 / t is its gradient's square: a second clock")


def _relative_gap(W: Tensor, H: Tensor, labels: Tensor) -> float:
    """Return upper over lower bound, less 1: the dual point is made of the weights e^-margin."""
    logits = H @ W.T
    dual = torch.zeros_like(logits)
    least = float(margins_of_pairs(logits, labels).min())
    for i, y in enumerate(labels):
        for j in range(len(W)):
            if j != y:
                dual[i, j] = -math.exp(least - float(logits[i, y] - logits[i, j]))
        dual[i, y] = -dual[i].sum()
    lower = float(dual[range(len(labels)), labels].sum() / torch.linalg.matrix_norm(dual, 2))
    return separating_norm(W, H, labels) / lower - 1


def _stationarity(W: Tensor, H: Tensor, labels: Tensor) -> float:
    """Return how far (W, H) is from the direction of -grad log L, relative to its norm."""
    point = torch.cat([W, H]).requires_grad_()
    margins = margins_of_pairs(point[len(W) :] @ point[: len(W)].T, labels)
    # log L = log sum_i e^{-margins}, to all digits at margins of thousands
    gradient = -torch.autograd.grad(torch.logsumexp(-margins, 0), point)[0]
    point = point.detach()
    fitted = (point * gradient).sum() / gradient.square().sum() * gradient
    return float((point - fitted).norm() / point.norm())


def _known_residuals() -> Iterator[Evidence]:
    """Push an optimum off each condition by a known amount."""
    best = separation_optimum([2, 2, 2], 2)
    W, H, labels, given = best.W, best.H, best.labels, best.multipliers
    stretched = kkt_residuals(1.2 * W, H / 1.2, labels, given).stationarity
    # W = A^T H and H = A W at the optimum, ||W|| = ||H||
    by_hand = math.hypot(1.2 - 1 / 1.2, 1 / 1.2 - 1.2) / math.hypot(1.2, 1 / 1.2)
    words = "stationarity residual, head stretched by 1.2 and features shrunk"
    yield Evidence(words, stretched, by_hand, 1e-12)
    flipped = given.clone()
    flipped[0, 1] = -0.5 * float(given.max())
    words = "dual residual with one multiplier at minus half the largest"
    yield Evidence(words, kkt_residuals(W, H, labels, flipped).dual, 0.5, 1e-12)
    moved = H.clone()
    moved[0] *= 1.25
    slack = kkt_residuals(W, moved, labels, given).complementarity
    words = "complementarity residual, one sample of six at margin 1.25"
    yield Evidence(words, slack, 0.25 / 6, 1e-12)


@study.claim(
    "fig2",
    "Along the flow the errors of self-duality, and of equal norms and angles of the class means "
    "and of the centred head, fall like 1 / log t; the within-class variation, and equal norms and "
    "angles of the classifier's own rows, like (log t)^(-1/2).",
    correction="the paper gives 1 / log t for all four panels. Its panels (a) and (c) show the "
    "classifier's own rows, whose mean row never changes: they fall like (log t)^(-1/2), and only "
    "rows less their mean like 1 / log t. For the within-class variation 1 / log t is the rate of "
    "squared distances",
)
def _rates() -> Iterator[Evidence]:
    flows = [_late_flow(seed) for seed in SEEDS]
    for name, exact in EXACT_EXPONENTS.items():
        fits = [exponent(LATE, getattr(flow.errors, name), 1e4, 1e8) for flow in flows]
        words = f"exponent of {name.replace('_', ' ')} in log t"
        yield Evidence(
            words, farthest(fits, exact), exact, 2e-3, note="the farther of two starts, 1e4 to 1e8"
        )
    yield from _errors_by_loops()


def _errors_by_loops() -> Iterator[Evidence]:
    """Measure the errors of a random state row by row and pair by pair."""
    rng = np.random.default_rng(0)
    W, H, labels = rng.normal(size=(3, 4)), rng.normal(size=(6, 4)), [0, 0, 0, 1, 1, 2]
    own = np.array([H[:3].mean(0), H[3:5].mean(0), H[5]])
    means, head = own - own.mean(0), W - W.mean(0)
    apart = [math.dist(h, own[y]) for h, y in zip(H, labels, strict=True)]
    by_hand: dict[str, float] = {
        "within_class": float(np.mean(apart) / np.mean([math.hypot(*row) for row in means])),
        "self_duality": math.dist(
            (head / math.hypot(*head.ravel())).ravel(), (means / math.hypot(*means.ravel())).ravel()
        ),
    }
    for name, rows in (("means", means), ("head", head), ("rows", W)):
        norms = [math.hypot(*row) for row in rows]
        by_hand[f"equinorm_{name}"] = float(np.std(norms) / np.mean(norms))
        cosines = [rows[i] @ rows[j] / norms[i] / norms[j] for i in range(3) for j in range(i)]
        by_hand[f"cosines_{name}"] = sum(abs(cosine + 1 / 2) for cosine in cosines) / 3
    errors = collapse_errors(W, H, labels)
    ratios = [float(getattr(errors, name)) / by_hand[name] for name in EXACT_EXPONENTS]
    note = "each of the eight, the farthest; a random state of three classes"
    yield Evidence("an error over that by loops", farthest(ratios), 1, 1e-12, note=note)


@study.claim(
    "fig2-constants",
    "Ours: the constants before those powers have a closed form in what the flow conserves.",
)
def _constants() -> Iterator[Evidence]:
    flow = _late_flow(0)
    predicted = flow_asymptotics(flow.W[0], flow.H[0], Problem().labels).errors(1e8)
    for name in EXACT_EXPONENTS:
        ratio = float(getattr(flow.errors, name)[-1] / getattr(predicted, name))
        words = f"{name.replace('_', ' ')} at log t = 1e8 over its prediction from 1e4"
        yield Evidence(words, ratio, 1, 1e-3)


@study.claim(
    "fig2-balanced",
    "Ours: from a balanced start, where all that the flow conserves is zero, the errors fall as a "
    "power of the loss, hence of t: the within-class variation like L^(1/(2K)) (log 1/L)^(-1/2).",
)
def _balanced() -> Iterator[Evidence]:
    for K in (3, 4):
        log_times = np.linspace(25 * K, 40 * K, 16)
        slopes = []
        for seed in SEEDS:
            flow = Problem(K, 5, K + 2).follow("balanced", seed, log_times)
            power = flow.errors.within_class.log() + (-flow.log_loss).log() / 2
            slopes.append(float(np.polyfit(flow.log_loss, power, 1)[0]))
        worst = farthest(slopes, 1 / (2 * K))
        note = f"the farther of two starts, log t from {25 * K} to {40 * K}"
        yield Evidence(f"exponent of L, K = {K}", worst, 1 / (2 * K), 1e-3, note=note)


def _late_flow(seed: int) -> FlowSolution:
    """Follow a generic start once for all the claims about it."""
    return _followed(seed, gradient_flow)


@lru_cache(maxsize=len(SEEDS))
def _followed(seed: int, follow: Callable[..., FlowSolution]) -> FlowSolution:
    problem = Problem()
    return follow(*problem.start("generic", seed), problem.labels, LATE)


def _at(log_t: float, values: np.ndarray) -> float:
    return float(values[np.argmin(np.abs(LATE - log_t))])
