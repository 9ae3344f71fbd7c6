"""Theorem 3.2 and the rates of Figure 2: where the gradient flow goes, and how fast."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import torch

from neuralcollapse.studies.claims import Evidence
from neuralcollapse.studies.ji2022.flows import Problem, exponent
from neuralcollapse.studies.ji2022.study import study
from neuralcollapse.theory import FlowSolution, flow_asymptotics, gradient_flow, kkt_residuals

SEEDS = (0, 1)
LATE = np.geomspace(1e4, 1e8, 9)
EXACT_EXPONENTS = {
    "equinorm_means": -1.0,
    "equinorm_head": -1.0,
    "within_class": -0.5,
    "cosines_means": -1.0,
    "cosines_head": -1.0,
    "self_duality": -1.0,
}


@study.claim(
    "thm3.2",
    "The gradient flow converges in direction to a KKT point of minimum-norm separation; ours: to "
    "a global optimum, with a certificate.",
)
def _direction() -> Iterator[Evidence]:
    note = f"{len(SEEDS)} random starts, K = 4, n = 5, d = 6"
    flows = [_late_flow(seed) for seed in SEEDS]
    gap = torch.stack([flow.gap for flow in flows]).amax(0).numpy()
    yield Evidence("relative duality gap at log t = 1e6", _at(1e6, gap), 1e-5, 0, "<=", note)
    W, H = Problem().start("generic", SEEDS[0])
    small = gradient_flow(0.3 * W, 0.3 * H, Problem().labels, [1e6])
    words = "relative duality gap at log t = 1e6, from 0.3 times the start"
    note = "its constant grows with what the flow conserves, squares of the start"
    yield Evidence(words, float(small.gap[-1]), 1e-6, 0, "<=", note)
    yield Evidence("relative duality gap at log t = 1e8", _at(1e8, gap), 1e-6, 0, "<=")
    fitted = exponent(LATE, gap, 1e4, 1e8)
    yield Evidence("exponent of the gap in log t", fitted, -1, 0.02, note="log t 1e4 to 1e8")
    labels = Problem().labels
    residual = np.array(
        [
            max(kkt_residuals(flow.W[i], flow.H[i], labels).largest for flow in flows)
            for i in range(len(LATE))
        ]
    )
    yield Evidence("largest KKT residual at log t = 1e8", _at(1e8, residual), 1e-3, 0, "<=")
    fitted = exponent(LATE, residual, 1e4, 1e8)
    words = "exponent of the KKT residual in log t"
    yield Evidence(words, fitted, -0.5, 0.02, note="the gap is of second order in it")
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat_interleave(torch.tensor([4, 2, 1]))
    W, H = (torch.randn(rows, 3, generator=generator, dtype=torch.float64) for rows in (3, 7))
    imbalanced = gradient_flow(W, H, labels, [1e6])
    yield Evidence(
        "relative duality gap at log t = 1e6, classes of 4, 2 and 1",
        float(imbalanced.gap[-1]),
        1e-5,
        relation="<=",
    )


@study.claim(
    "fig2",
    "Along the flow the errors of equal norms, equal angles and self-duality fall like 1 / log t, "
    "and the within-class variation like the square root of that.",
    correction="the paper gives 1 / log t for all four panels; for the within-class variation that "
    "is the rate of squared distances, distances fall like (log t)^(-1/2)",
)
def _rates() -> Iterator[Evidence]:
    flows = [_late_flow(seed) for seed in SEEDS]
    for name, exact in EXACT_EXPONENTS.items():
        fits = [exponent(LATE, getattr(flow.errors, name), 1e4, 1e8) for flow in flows]
        worst = max(fits, key=lambda fit: abs(fit - exact))
        words = f"exponent of {name.replace('_', ' ')} in log t"
        yield Evidence(words, worst, exact, 2e-3, note="the farther of two starts, 1e4 to 1e8")


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
        worst = max(slopes, key=lambda slope: abs(slope - 1 / (2 * K)))
        note = f"the farther of two starts, log t from {25 * K} to {40 * K}"
        yield Evidence(f"exponent of L, K = {K}", worst, 1 / (2 * K), 1e-3, note=note)


@cache
def _late_flow(seed: int) -> FlowSolution:
    """Follow a generic start once for all the claims about it."""
    return Problem().follow("generic", seed, LATE)


def _at(log_t: float, values: np.ndarray) -> float:
    return float(values[np.argmin(np.abs(LATE - log_t))])
