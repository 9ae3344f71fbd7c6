"""Ours: where the gradient flow goes with unequal classes, and with fewer dimensions than K - 1."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from torch import Tensor

from neuralcollapse.geometry import simplex_encoded_labels
from neuralcollapse.studies.claims import Evidence, largest, smallest
from neuralcollapse.studies.ji2022.flows import (
    exponent,
    follow_classes,
    margins_of_pairs,
    separating_norm,
)
from neuralcollapse.studies.ji2022.study import study
from neuralcollapse.theory import polygon_kkt_point, separation_value

SIZES = (5, 3, 2, 1)
TIMES = (1e4, 1e5, 1e6, 1e7, 1e8)
SEEDS = (0, 1, 2)
# (||W||^2 + ||H||^2) / 2 at margin 1, the best of 12 starts of a descent of its own.
BEST_FOUND = 4.89453  # K = 5 in three dimensions, n = 1


@study.claim(
    "thm3.2-unequal",
    "Ours: with classes of any sizes the flow converges in direction to the simplex-encoded labels "
    "of Thrampoulidis et al. 2022, as slowly as 1 / log t, and its gap closes.",
)
def _unequal() -> Iterator[Evidence]:
    flow, labels = follow_classes(SIZES, len(SIZES), 0, TIMES)
    note = f"classes of {', '.join(map(str, SIZES))}, d = {len(SIZES)}"
    yield Evidence.at_most(
        "relative duality gap at log t = 1e8", float(flow.gap[-1]), 1e-7, note=note
    )
    W, H = flow.W[-1], flow.H[-1]
    margin = float(margins_of_pairs(H @ W.T, labels).min())
    yield Evidence("minimum margin over log t, at log t = 1e8", margin / 1e8, 1, 1e-5)
    optimum = separation_value(SIZES)
    value = separating_norm(W, H, labels)
    words = "(||W||^2 + ||H||^2) / (2 q_min) over the least, less 1, by brute force"
    yield Evidence(words, value / optimum - 1, 0, 1e-7)
    target = simplex_encoded_labels(labels)
    states = zip(flow.W, flow.H, strict=True)
    far = np.array([_distance(H @ (W - W.mean(0)).T, target) for W, H in states])
    yield Evidence("distance from the simplex-encoded labels, log t = 1e8", far[-1], 0, 1e-6)
    fitted = exponent(TIMES, far, 1e4, 1e8)
    yield Evidence("exponent of that distance in log t", fitted, -1, 0.01)
    lengths = (W - W.mean(0)).norm(dim=1)
    words = "length of the longest row of the head over that of the shortest: no simplex ETF"
    yield Evidence.at_least(words, float(lengths.max() / lengths.min()), 1.1)


@study.claim(
    "thm3.2-few-dimensions",
    "Ours: with d < K - 1 the flow has other limits: in the plane the regular polygon, in three "
    "dimensions the best code known for weight decay, from some starts. No gap closes there.",
)
def _few_dimensions() -> Iterator[Evidence]:
    polygon = polygon_kkt_point(5).value
    for seed in SEEDS[:2]:
        words = f"norm at margin 1 over that of the pentagon, start {seed}"
        yield Evidence(words, _limit_norm(2, seed) / polygon, 1, 1e-6, note="K = 5, d = 2")
    words = "gap there against the convex bound, which no plane figure attains"
    gap = 1 / (2 * math.sin(math.pi / 5) ** 2) * 5 / 4 - 1
    yield Evidence(words, polygon / separation_value([1] * 5) - 1, gap, 1e-12)
    ends = [_limit_norm(3, seed) for seed in SEEDS]
    note = f"the best of {len(SEEDS)} starts; the worst is {largest(*ends):.4f}"
    words = "norm at margin 1 in three dimensions over the best found by descent"
    yield Evidence(words, smallest(*ends) / BEST_FOUND, 1, 1e-4, note=note)


def _limit_norm(dim: int, seed: int) -> float:
    """Return half the squared norm at margin 1 that five classes come to by log t = 1e6."""
    flow, labels = follow_classes([1] * 5, dim, seed, [1e6])
    return separating_norm(flow.W[0], flow.H[0], labels)


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a / a.norm() - b / b.norm()).norm())
