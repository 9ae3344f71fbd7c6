"""Theorem 4.1: a small cross-entropy forces a large margin, and where the margin ends."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from neuralcollapse.geometry import simplex_etf
from neuralcollapse.metrics import (
    cross_entropy_losses,
    margin_collapse_ratio,
    margin_lower_bound,
    margin_lower_bound_of_mean,
    margin_min,
    margin_scale,
    mean_loss_floor,
    normalized_margin_lower_bound,
)
from neuralcollapse.moments import ClassMoments
from neuralcollapse.studies.claims import Evidence
from neuralcollapse.studies.gao2023.digits import NOTE, trained_digits
from neuralcollapse.studies.gao2023.study import study
from neuralcollapse.theory import gradient_flow

TABLES, HEADS = 1000, 400
ROUND_OFF = 1e-12


@study.claim(
    "thm4.1",
    "Minimising the cross-entropy once all samples are right enlarges the least margin: "
    "p_min >= -log(e^L - 1), where L is the sum or the largest of the losses.",
    correction="false with the mean loss, as it is usually read; with the mean, L = N times it",
)
def _loss_bounds_margin() -> Iterator[Evidence]:
    scores = torch.tensor([[5.0, 0.0]] * 3 + [[0.2, 0.0]], dtype=torch.float64)
    losses = cross_entropy_losses(scores, [0] * 4)
    yield Evidence(
        "refuted with the mean: its bound, over the true least margin",
        margin_lower_bound_of_mean(float(losses.mean()), 1) / margin_min(scores, [0] * 4),
        8,
        relation=">=",
        note="scores (5, 0) three times and (0.2, 0); should be at most 1",
    )
    draws, by_mean, by_max, by_sum = _search()
    note = f"of {draws} random score tables, N to 8, K to 5"
    yield Evidence("violations with the mean loss, share", by_mean / draws, 0.3, 0, ">=", note)
    yield Evidence("violations with the largest loss", by_max, 0)
    yield Evidence("violations with the sum of losses", by_sum, 0)
    history = trained_digits().history
    right = [snapshot for snapshot in history if snapshot.accuracy == 1]
    slack = min(s.margin - margin_lower_bound(s.losses) for s in history)
    yield Evidence(
        "least of p_min less its bound over all epochs", slack, 0, ROUND_OFF, ">=", note=NOTE
    )
    yield Evidence(
        "sum of losses, last epoch over the first with all right",
        float(right[-1].losses.sum() / right[0].losses.sum()),
        1,
        relation="<=",
    )
    growth = right[-1].margin / right[0].margin
    yield Evidence("least margin, likewise", growth, 1, relation=">=")


def _search() -> tuple[int, int, int, int]:
    """Count score tables, and how many violate the bound by the mean, the largest and the sum."""
    rng = np.random.default_rng(0)
    by_mean = by_max = by_sum = 0
    for _ in range(TABLES):
        n, K = int(rng.integers(2, 9)), int(rng.integers(2, 6))
        scores = rng.normal(size=(n, K)) * 10 ** rng.uniform(-1, 1)
        labels = rng.integers(K, size=n)
        scores[np.arange(n), labels] += 10 ** rng.uniform(0, 1.5)
        least = margin_min(torch.from_numpy(scores), labels)
        losses = cross_entropy_losses(scores, labels)
        most = least + ROUND_OFF * max(1.0, abs(least))
        by_mean += margin_lower_bound_of_mean(float(losses.mean()), 1) > most
        by_max += margin_lower_bound(losses) > most
        by_sum += margin_lower_bound(losses, "sum") > most
    return TABLES, by_mean, by_max, by_sum


@study.claim(
    "thm4.1-ceiling",
    "Ours: the margin free of scale, q = p_min / tau, has the ceiling K/(K-1) for classes of equal "
    "size, attained exactly at collapse. It is tau that goes to infinity, and q approaches its "
    "ceiling like 1 / tau.",
)
def _ceiling() -> Iterator[Evidence]:
    generator = torch.Generator().manual_seed(0)
    largest = -float("inf")
    for draw in range(HEADS):
        K = 2 + draw % 4
        labels = torch.arange(3 * K) % K
        weight = torch.randn(K, 5, generator=generator, dtype=torch.float64)
        noise = torch.randn(3 * K, 5, generator=generator, dtype=torch.float64)
        largest = max(largest, _ratio(weight[labels] + noise / (1 + draw % 7), labels, weight))
    note = f"{HEADS} random heads and features, K = 2 to 5"
    yield Evidence("largest share of the ceiling", largest, 1, relation="<=", note=note)
    error = 0.0
    for K in (2, 3, 10, 50):
        vertices, labels = simplex_etf(K, K, "axis"), torch.arange(2 * K) % K
        for size in (1e-3, 1.0, 1e3):
            error = max(error, abs(_ratio(size * vertices[labels], labels, vertices) - 1))
    yield Evidence("largest |share - 1| at collapse", error, 0, 1e-12, note="K to 50, any scale")
    labels = torch.arange(4).repeat_interleave(3)
    W0, H0 = (0.3 * torch.randn(rows, 6, generator=generator).double() for rows in (4, 12))
    flow = gradient_flow(
        W0, H0, labels, [1e4, 1e5]
    )  # the limit: at log t = 100 it is off by some 1 %
    margins = [margin_min(H @ W.T, labels) for W, H in zip(flow.W, flow.H, strict=True)]
    gaps = [1 - _ratio(H, labels, W) for W, H in zip(flow.W, flow.H, strict=True)]
    yield Evidence(
        "p_min (1 - share) at log t = 1e5, over that at 1e4",
        margins[1] * gaps[1] / (margins[0] * gaps[0]),
        1,
        1e-3,
        note="gradient flow of free features, K = 4",
    )
    yield Evidence("p_min alone, likewise", margins[1] / margins[0], 5, 0, ">=")
    history = trained_digits().history
    gap = min(float(s.losses.mean()) - mean_loss_floor(s.scale, 10) for s in history)
    yield Evidence("least of mean loss less its floor at tau", gap, 0, ROUND_OFF, ">=", note=NOTE)
    slack = min(
        s.margin / s.scale
        - normalized_margin_lower_bound(float(s.losses.mean()), len(s.losses), s.scale)
        for s in history
    )
    yield Evidence("least of q less its bound by the mean loss", slack, 0, ROUND_OFF, ">=")
    last = history[-1]
    share = margin_collapse_ratio(last.margin, last.scale, 10)
    yield Evidence("share of the ceiling at the end", share, 1, relation="<=")


def _ratio(features: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor) -> float:
    moments = ClassMoments(len(weight), features.shape[1], False).update(features, labels)
    margin = margin_min(features @ weight.T, labels)
    return margin_collapse_ratio(margin, margin_scale(moments, weight), len(weight))
