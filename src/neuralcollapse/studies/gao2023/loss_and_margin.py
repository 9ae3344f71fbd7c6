"""Theorem 4.1: a small cross-entropy forces a large margin, and where the margin ends."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from scipy.stats import spearmanr

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
from neuralcollapse.studies.claims import Evidence, largest, smallest
from neuralcollapse.studies.gao2023.digits import NOTE, trained_digits
from neuralcollapse.studies.gao2023.study import study
from neuralcollapse.theory import gradient_flow
from neuralcollapse.training import load_dataset

TABLES, HEADS = 1000, 400
ROUND_OFF = 1e-12


@study.claim(
    "thm4.1",
    "Minimising the cross-entropy once all samples are right enlarges the minimum margin: "
    "p_min >= -log(e^L - 1), where L is the sum or the largest of the losses.",
    correction="with L the mean of the losses, which is what training reports, it is false: four "
    "samples refute it. Proved, for every table of scores, with L the sum or the largest; with the "
    "mean, L = N times it",
)
def _loss_bounds_margin() -> Iterator[Evidence]:
    scores = torch.tensor([[5.0, 0.0]] * 3 + [[0.2, 0.0]], dtype=torch.float64)
    losses = cross_entropy_losses(scores, [0] * 4)
    yield Evidence.at_least(
        "refuted with the mean: its bound, over the true minimum margin",
        margin_lower_bound_of_mean(float(losses.mean()), 1) / margin_min(scores, [0] * 4),
        8,
        note="scores (5, 0) three times and (0.2, 0); should be at most 1",
    )
    draws, by_mean, by_max, by_sum = _search()
    note = f"of {draws} random score tables, N to 8, K to 5"
    yield Evidence.at_least("violations with the mean loss, share", by_mean / draws, 0.3, note=note)
    yield Evidence("violations with the largest loss", by_max, 0)
    yield Evidence("violations with the sum of losses", by_sum, 0)
    worst = _tight()
    note = "one sample, two classes: N to 1, so that sum and largest are the same"
    yield Evidence("largest |p_min - its bound| of two classes", worst, 0, 1e-12, note=note)
    history = trained_digits().history
    right = [snapshot for snapshot in history if snapshot.accuracy == 1]
    slack = smallest(*(s.margin - margin_lower_bound(s.losses) for s in history))
    yield Evidence.at_least(
        "least of p_min less its bound over all epochs", slack, 0, ROUND_OFF, note=NOTE
    )
    words = "sum of losses, last epoch over the first with all right"
    yield Evidence.at_most(words, float(right[-1].losses.sum() / right[0].losses.sum()), 1)
    growth = right[-1].margin / right[0].margin
    yield Evidence.at_least("minimum margin, likewise", growth, 1)


def _tight() -> float:
    """Return how far the bound is from the margin where they must meet."""
    worst = 0.0
    for gap in (0.1, 1.0, 5.0, 40.0):
        scores = torch.tensor([[gap, 0.0]], dtype=torch.float64)
        losses = cross_entropy_losses(scores, [0])
        worst = largest(worst, abs(float(losses[0]) - math.log1p(math.exp(-gap))))
        for bound in (
            margin_lower_bound(losses),
            margin_lower_bound(losses, "sum"),
            margin_lower_bound_of_mean(float(losses.mean()), 1),
        ):
            worst = largest(worst, abs(bound - gap) / gap)
    return worst


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
    note = f"{HEADS} random heads and features, K = 2 to 5"
    yield Evidence.at_most("largest share of the ceiling", _largest_share(generator), 1, note=note)
    error = 0.0
    for K in (2, 3, 10, 50):
        vertices, labels = simplex_etf(K, K, "axis"), torch.arange(2 * K) % K
        for size in (1e-3, 1.0, 1e3):
            error = largest(error, abs(_ratio(size * vertices[labels], labels, vertices) - 1))
    yield Evidence("largest |share - 1| at collapse", error, 0, 1e-12, note="K to 50, any scale")
    off = _floor_error()
    yield Evidence("largest |mean loss / its floor - 1| at collapse", off, 0, 1e-9, note="K to 10")
    two = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    share = _ratio(3 * two, torch.tensor([0, 1]), two)
    losses = cross_entropy_losses(3 * two @ two.T, [0, 1])
    scale = margin_scale(ClassMoments(2, 1, False).update(3 * two, [0, 1]), two)
    bound = normalized_margin_lower_bound(float(losses.max()), 1, scale)
    yield Evidence("q over its bound by the loss, two classes", 2 * share / bound, 1, 1e-9)
    labels = torch.arange(4).repeat_interleave(3)
    W0, H0 = (0.3 * torch.randn(rows, 6, generator=generator).double() for rows in (4, 12))
    # The limit: at log t = 100 it is off by some 1 %.
    flow = gradient_flow(W0, H0, labels, [1e4, 1e5])
    margins = [margin_min(H @ W.T, labels) for W, H in zip(flow.W, flow.H, strict=True)]
    gaps = [1 - _ratio(H, labels, W) for W, H in zip(flow.W, flow.H, strict=True)]
    words = "p_min (1 - share) at log t = 1e5, over that at 1e4"
    note = "gradient flow of free features, K = 4"
    yield Evidence(words, margins[1] * gaps[1] / (margins[0] * gaps[0]), 1, 1e-3, note=note)
    yield Evidence.at_least("p_min alone, likewise", margins[1] / margins[0], 5)
    history = trained_digits().history
    gap = smallest(*(float(s.losses.mean()) - mean_loss_floor(s.scale, 10) for s in history))
    yield Evidence.at_least(
        "least of mean loss less its floor at tau", gap, 0, ROUND_OFF, note=NOTE
    )
    slacks = [
        s.margin / s.scale
        - normalized_margin_lower_bound(float(s.losses.mean()), len(s.losses), s.scale)
        for s in history
    ]
    words = "least of q less its bound by the mean loss"
    yield Evidence.at_least(words, smallest(*slacks), 0, ROUND_OFF)
    last = history[-1]
    share = margin_collapse_ratio(last.margin, last.scale, 10)
    yield Evidence.at_most("share of the ceiling at the end", share, 1)


def _largest_share(generator: torch.Generator) -> float:
    most = -math.inf
    for draw in range(HEADS):
        K = 2 + draw % 4
        labels = torch.arange(3 * K) % K
        weight = torch.randn(K, 5, generator=generator, dtype=torch.float64)
        noise = torch.randn(3 * K, 5, generator=generator, dtype=torch.float64)
        most = largest(most, _ratio(weight[labels] + noise / (1 + draw % 7), labels, weight))
    return most


@study.claim(
    "fig3",
    "The minimum margin, and its normalised form, go on rising once every training image is right; "
    "ours: on data that the classifier cannot fit it stays below 0.",
)
def _margin_over_epochs() -> Iterator[Evidence]:
    hard = _hard_margins()
    note = "linear classifier on digits, every fifth label random; 200 steps of Adam"
    words = "largest p_min on data that it cannot fit, after 50 to 200 steps"
    yield Evidence.at_most(words, largest(*hard[1:]), -1, note=note)
    history = trained_digits().history
    agreed = [(s.margin > 0) == (s.accuracy == 1) for s in history]
    words = "share of epochs in which p_min > 0 if and only if all images are right"
    yield Evidence(words, sum(agreed) / len(agreed), 1, note=NOTE)
    wrong = [epoch for epoch, s in enumerate(history) if s.accuracy < 1]
    right = history[wrong[-1] + 1 :]
    growth = right[-1].margin / right[0].margin
    yield Evidence.at_least("p_min at the end over that when all are right", growth, 2)
    share = (right[-1].margin / right[-1].scale) / (right[0].margin / right[0].scale)
    yield Evidence.at_least("the same of p_min / tau", share, 1.2)
    ranks = spearmanr(range(len(right)), [s.margin for s in right]).statistic
    yield Evidence.at_least("rank correlation of p_min and epoch since then", float(ranks), 0.8)


def _hard_margins() -> list[float]:
    """Return p_min every 50 steps of a classifier that cannot fit some random labels."""
    images, labels = load_dataset("digits", per_class=50).standardized().train.tensors
    images, labels = images.flatten(1).double(), labels.clone()
    generator = torch.Generator().manual_seed(0)
    labels[::5] = torch.randint(10, labels[::5].shape, generator=generator)
    weight = torch.zeros(10, images.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=1e-2)
    margins = []
    for step in range(201):
        if step % 50 == 0:
            margins.append(margin_min(images @ weight.detach().T, labels))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(images @ weight.T, labels).backward()
        optimizer.step()
    return margins


def _floor_error() -> float:
    """Compare the floor of the mean loss with the loss where it is attained."""
    worst = 0.0
    for K in (2, 3, 10):
        for size in (0.5, 1.0, 2.0):
            vertices, labels = size * simplex_etf(K, K, "axis"), torch.arange(K)
            scale = margin_scale(ClassMoments(K, K, False).update(vertices, labels), vertices)
            mean = float(torch.nn.functional.cross_entropy(vertices @ vertices.T, labels))
            worst = largest(worst, abs(mean / mean_loss_floor(scale, K) - 1))
    return worst


def _ratio(features: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor) -> float:
    moments = ClassMoments(len(weight), features.shape[1], False).update(features, labels)
    margin = margin_min(features @ weight.T, labels)
    return margin_collapse_ratio(margin, margin_scale(moments, weight), len(weight))
