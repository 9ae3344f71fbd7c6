"""Theorem 4.4 and Corollary 4.5: the margin bound, its constants, and what collapse makes of it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from neuralcollapse.generalization import (
    collapsed_margin_bound,
    informative_sample_size,
    margin_bound,
    pair_margin_bound,
    uniform_margin_bound,
)
from neuralcollapse.geometry import simplex_etf
from neuralcollapse.studies.claims import Evidence
from neuralcollapse.studies.gao2023.digits import HALF, NOTE, trained_digits
from neuralcollapse.studies.gao2023.study import study

CONFIDENCE = 0.8  # for coverage: few misses are expected at 95 %
RIDGE = 10.0


@study.claim(
    "thm4.4",
    "With probability 1 - delta the error is at most the share of margins below g, plus a "
    "complexity that falls with g and with the samples, plus a deviation; pair by pair of classes, "
    "or for all classes at once.",
    correction="the sample must be independent of the features: on the training set of the "
    "network it is no bound; ours: explicit constants, all heads and all margins at once, and a "
    "form for all classes at once that is much better",
)
def _margin_bounds() -> Iterator[Evidence]:
    yield Evidence(
        "mean supremum over its bound sqrt(K-1) ||Z||_F",
        _supremum(),
        1,
        1e-3,
        "<=",
        note="Monte Carlo over 4000 sign tables; K = 4, n = 20: the complexity term is tight",
    )
    runs = 200
    covered, tightest = _coverage(runs)
    note = f"{runs} heads fitted on 400 Gaussian samples, 80 % confidence"
    yield Evidence("share of bounds above the error", covered / runs, CONFIDENCE, 0, ">=", note)
    yield Evidence("least of these bounds: not vacuous", tightest, 1, relation="<=")
    trained = trained_digits(HALF)
    mean, scale = _centre(trained.features(trained.inputs))
    fresh, test = (trained.features(x) - mean for x in (trained.fresh_inputs, trained.test_inputs))
    for name, K in (("odd or even", 2), ("ten digits", 10)):
        labels, truth = trained.fresh_labels % K, trained.test_labels % K
        head = _ridge(fresh, labels, K)
        error = float(((test @ head.T).argmax(1) != truth).double().mean())
        whole = uniform_margin_bound(fresh, labels, head, fitted="head", feature_scale=scale)
        pairs = pair_margin_bound(fresh, labels, head, fitted="head", feature_scale=scale)
        note = f"features from {10 * HALF} digits, head on {len(labels)} others, K = {K}"
        yield Evidence(f"{name}: bound on the error", whole.bound, error, 0, ">=", note)
        yield Evidence(f"{name}: bound pair by pair", pairs.bound, whole.bound, 0, ">=")
        if K == 2:
            yield Evidence(f"{name}: it says something", whole.bound, 1, relation="<=")
        else:
            yield Evidence(f"{name}: it says nothing", whole.bound, 1, relation=">=")
    vertices, labels = simplex_etf(10, 10, "axis"), torch.arange(10).repeat(5000)
    own = torch.full((10, 10), math.sqrt(10 / 18) - 1e-9)
    pairs = pair_margin_bound(vertices[labels], labels, vertices, fitted="head", distances=own)
    note = "collapse, K = 10, n = 50000: vacuous pair by pair, 0.171 for all at once"
    yield Evidence("pair by pair at collapse", pairs.bound, 1, 0, ">=", note)


def _supremum() -> float:
    """Return E sup over heads of norm 1 of sum_ik s_ik <w_k, z_i>, over its bound."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(20, 5, generator=generator, dtype=torch.float64)
    signs = torch.randint(0, 2, (4000, 4, 20), generator=generator).double() * 2 - 1
    sums = signs @ features
    norms = (sums - sums.mean(1, keepdim=True)).flatten(1).norm(dim=1)
    return float(norms.mean() / (math.sqrt(3) * features.norm()))


def _coverage(runs: int) -> tuple[int, float]:
    """Count bounds above the error of heads fitted on the sample, and return the least bound."""
    rng = np.random.default_rng(0)
    centers = np.eye(5)[:2]

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(2, size=n)
        return centers[labels] + 0.3 * rng.normal(size=(n, 5)), labels

    new, truth = draw(20_000)
    covered, least = 0, math.inf
    for _ in range(runs):
        features, labels = draw(400)
        head = np.linalg.lstsq(features, np.eye(2)[labels], rcond=None)[0].T
        found = uniform_margin_bound(features, labels, head, fitted="head", confidence=CONFIDENCE)
        covered += bool(found.bound >= np.mean((new @ head.T).argmax(1) != truth))
        least = min(least, found.bound)
    return covered, least


def _centre(features: Tensor) -> tuple[Tensor, float]:
    """Return the mean of features, and the root mean square of what is left without it."""
    mean = features.mean(0)
    return mean, float((features - mean).square().sum(1).mean().sqrt())


def _ridge(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Fit a linear head by strongly regularised least squares, which keeps its norm small."""
    targets = torch.eye(num_classes, dtype=torch.float64)[labels] - 1 / num_classes
    gram = features.T @ features
    strength = RIDGE * gram.trace() / len(gram)
    return torch.linalg.solve(gram + strength * torch.eye(len(gram)), features.T @ targets).T


@study.claim(
    "cor4.5",
    "After all training samples are right the margins still grow, and with them the margin bound "
    "falls: room for test accuracy to rise.",
    correction="the bound depends on the margin free of scale alone, so it falls only until that "
    "saturates: at collapse it is 4 (K-1)^(3/2) / sqrt(K n) whatever the norms, which says "
    "something only for n > 16 K^2, about; and on the training set it is a measure, no bound",
)
def _why_accuracy_rises() -> Iterator[Evidence]:
    history = [s for s in trained_digits().history if s.accuracy == 1 and s.margin > 0]
    terms = [4 * 3 * s.feature_norm * s.head_norm / (s.margin * len(s.losses)) for s in history]
    by_ratio = [4 * math.sqrt(90 / len(s.losses)) * s.scale / s.margin for s in history]
    yield Evidence(
        "complexity at g = p_min over 4 sqrt(K (K-1) / n) / q, less 1: largest",
        max(abs(a / b - 1) for a, b in zip(terms, by_ratio, strict=True)),
        0,
        1e-9,
        note=NOTE + ": of the margins, only the normalised one enters",
    )
    fall = terms[-1] / terms[0]
    yield Evidence("complexity, last over first epoch with all right", fall, 1, relation="<=")
    floor = collapsed_margin_bound(10, len(history[-1].losses)).complexity
    note = "the expected one is that of collapse: vacuous with these few samples, as is any"
    yield Evidence("complexity at the end", terms[-1], floor, 0, ">=", note)
    vertices, labels = simplex_etf(10, 10, "axis"), torch.arange(10).repeat(600)
    own = math.sqrt(10) / 9  # p_min over the norm of the head
    small, large = (
        margin_bound(
            size * vertices[labels], labels, vertices, relative_margin=size * own, fitted="head"
        ).complexity
        for size in (1.0, 1000.0)
    )
    yield Evidence(
        "complexity at collapse, K = 10, n = 6000", small, 4 * 27 / math.sqrt(60000), 1e-9
    )
    yield Evidence("the same with margins 1000 times as large", large, small, 1e-9)
    wording = "bound at collapse, K = {}, n = {}"
    few, many, imagenet = (10, 50_000), (100, 50_000), (1000, 1_281_167)
    value = collapsed_margin_bound(*few).bound
    yield Evidence(wording.format(*few), value, 1, relation="<=")
    for sizes in (many, imagenet):
        value = collapsed_margin_bound(*sizes).bound
        yield Evidence(wording.format(*sizes), value, 1, relation=">=")
    for K in (10, 100, 1000):
        size = informative_sample_size(K)
        yield Evidence(f"least n / 16 K^2, K = {K}", size / (16 * K * K), 1, 1 / K)
