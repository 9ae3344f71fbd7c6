"""Theorem 2.1 and Corollary 2.2: the minimisers of the regularised MSE model are collapsed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuralcollapse.studies.claims import Evidence, farthest, largest, smallest
from neuralcollapse.studies.descent import minimize_flat
from neuralcollapse.studies.tirer2023.features import loss_by_hand
from neuralcollapse.studies.tirer2023.study import study
from neuralcollapse.theory import (
    near_features_minimizer,
    regularized_mse_loss,
    regularized_mse_minimizer,
    regularized_mse_optimality,
)
from neuralcollapse.theory.regularized import Optimality

Problem = tuple[int, int, int, float, float]  # K, n, d, lambda_w, lambda_h
Found = tuple[float, Tensor, Tensor]  # the least value, the point, the labels
# The last two have lambda_w lambda_h >= 1.
PROBLEMS: list[Problem] = [
    (3, 2, 3, 0.5, 0.02),
    (4, 10, 10, 0.5, 0.1),
    (10, 5, 16, 0.005, 0.01),
    (3, 2, 5, 2.0, 0.6),
    (3, 2, 5, 1.0, 4.0),
]
SMALL: list[Problem] = [(2, 3, 4, 0.5, 0.1), (3, 4, 5, 0.05, 0.2), (3, 2, 4, 2.0, 0.6)]
STARTS = 3


@study.claim(
    "thm2.1",
    "With c = sqrt(lambda_H lambda_W) < 1 the regularised MSE loss is least exactly at collapse: "
    "features equal their class means, which are orthogonal of squared norm "
    "sqrt(lambda_W / lambda_H) - lambda_W, and W = sqrt(lambda_H / lambda_W) times them. Ours: the "
    "least value, c - c^2 / 2 for d >= K.",
)
def _minimizers() -> Iterator[Evidence]:
    gradient = gap = 0.0
    for K, n, d, lambda_w, lambda_h in PROBLEMS:
        best = regularized_mse_minimizer(K, n, d, lambda_w, lambda_h, _generator(K))
        check = regularized_mse_optimality(best.W, best.H, best.labels, lambda_w, lambda_h)
        c = min(1.0, np.sqrt(lambda_w * lambda_h))
        gap = largest(gap, abs(best.value - (c - c * c / 2)), abs(check.gap))
        gradient = largest(gradient, check.gradient_norm)
    note = f"{len(PROBLEMS)} settings, K to 10, c >= 1 among them"
    yield Evidence("largest gradient norm at the closed form", gradient, 0, 1e-14, note=note)
    yield Evidence("largest |its loss - (c - c^2 / 2)|", gap, 0, 1e-14)
    found = [
        _descend(problem, seed)
        for problem in SMALL
        if problem[3] * problem[4] < 1
        for seed in range(STARTS)
    ]
    note = f"L-BFGS over W and H, {len(found)} random starts"
    for name, tolerance in (("gap", 1e-12), ("within", 1e-6), ("frame", 1e-5), ("duality", 1e-5)):
        worst = largest(*(getattr(check, name) for check in found))
        yield Evidence(f"largest error of descent: {name}", worst, 0, tolerance, note=note)
        note = ""
    least = []
    for p in (1, 2, 3):
        weak = (3, 2, 5, 0.5, 10.0**-p)
        least.append(smallest(*(_minimize(weak, seed)[0] for seed in range(STARTS))))
        words = f"least value found by descent over the closed form, lambda_H = 1e-{p}"
        yield Evidence(words, least[-1] / regularized_mse_minimizer(*weak).value, 1, 1e-8)
    words = "least value at lambda_H = 1e-3 over that at 1e-1"
    note = "falls like sqrt(lambda_H): 0 is approached without being attained"
    yield Evidence(words, least[2] / least[0], 0.1, 0.02, note=note)
    pair: Any = ([[1.0, 0.0], [0.0, 2.0]], [[1.0, 1.0], [0.0, 1.0]], [0, 1], 0.5, 2.0)
    # residuals (0, 2) and (0, 1); ||W||^2 = 5, ||H||^2 = 3
    by_hand = (4 + 1 + 0.5 * 5 + 2 * 3) / 4
    yield Evidence("the loss of a pair, by hand", regularized_mse_loss(*pair), by_hand, 1e-14)
    # c = 1: the least loss is 1/2, at 0; gradients ((1/4, 0), (1, 2)) and ((1, 3), (0, 2)).
    known = {"gap": by_hand - 0.5, "gradient_norm": 19.0625**0.5, "frame": 7**0.5}
    known["duality"] = 5**0.5
    check = regularized_mse_optimality(*pair)
    ratios = [getattr(check, name) / value for name, value in known.items()]
    words = "its distances from the least over those by hand"
    yield Evidence(words, farthest(ratios), 1, 1e-14)


@study.claim(
    "cor2.2",
    "A collapsed H0 that minimises the free model is kept by the near-features model, at any beta, "
    "and is then its only minimiser.",
)
def _kept() -> Iterator[Evidence]:
    moved, settings = 0.0, 0
    for K, n, d, lambda_w, lambda_h in PROBLEMS[:3]:
        best = regularized_mse_minimizer(K, n, d, lambda_w, lambda_h, _generator(K))
        for beta in (0.1, 1.0, 10.0, 1000.0):
            found = near_features_minimizer(best.H, best.labels, lambda_w, lambda_h, beta)
            assert found.H is not None  # it is None for moments only
            shift = (found.H - best.H).norm() / best.H.norm()
            moved, settings = largest(moved, float(shift)), settings + 1
    note = f"{settings} settings, beta 0.1 to 1000"
    yield Evidence("largest ||H - H0|| / ||H0||", moved, 0, 1e-11, note=note)
    problem, beta = SMALL[0], 1.0
    K, n, d, lambda_w, lambda_h = problem
    best = regularized_mse_minimizer(K, n, d, lambda_w, lambda_h, _generator(K))
    away = largest(
        *(
            float((_minimize(problem, seed, best.H, beta)[1][K * d :] - best.H.ravel()).norm())
            for seed in range(STARTS)
        )
    )
    words = "largest distance from H0 of what descent finds from random starts"
    yield Evidence(words, away / float(best.H.norm()), 0, 1e-5, note="L-BFGS, beta = 1")
    near = best.H + 0.1 * torch.randn(best.H.shape, generator=_generator(1)).double()
    step = near_features_minimizer(near, best.labels, lambda_w, lambda_h, beta)
    descended = _minimize(problem, 0, near, beta)[0]
    words = "least value from an H0 off collapse, over that found by descent"
    yield Evidence(words, step.value / descended, 1, 1e-9, note="the minimiser is no copy of H0")


def _descend(problem: Problem, seed: int) -> Optimality:
    """Minimise over W and H at once from a random start, and judge the point found."""
    K, n, d, lambda_w, lambda_h = problem
    _, found, labels = _minimize(problem, seed)
    W, H = found.view(-1, d).split([K, K * n])
    return regularized_mse_optimality(W, H, labels, lambda_w, lambda_h)


def _minimize(problem: Problem, seed: int, H0: Tensor | None = None, beta: float = 0.0) -> Found:
    """Minimise over W and H by descent from a random start."""
    K, n, d, lambda_w, lambda_h = problem
    labels = torch.arange(K).repeat_interleave(n)

    def loss(flat: Tensor) -> Tensor:
        W, H = flat.view(-1, d).split([K, K * n])
        return loss_by_hand(W, H, labels, (lambda_w, lambda_h, beta), H if H0 is None else H0)

    start = np.random.default_rng(seed).normal(size=(K + K * n) * d)
    return *minimize_flat(loss, start, ftol=0, gtol=1e-13, maxcor=30), labels


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
