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
from neuralcollapse.metrics import margin_collapse_ratio, margin_min, sample_margins
from neuralcollapse.studies.claims import Evidence, largest, smallest
from neuralcollapse.studies.gao2023.digits import HALF, NOTE, trained_digits
from neuralcollapse.studies.gao2023.study import study

CONFIDENCE = 0.8  # for coverage: few misses are expected at 95 %
RIDGE = 10.0
GRID = 3  # the margins 2^k looked at, of |k| <= 30


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
    share = _supremum()
    note = "Monte Carlo over 4000 sign tables; K = 4, n = 20; the rest is contraction, a factor 4"
    words = "mean supremum over what the complexity term allows for it"
    yield Evidence.at_most(words, share, 1, 1e-3, note=note)
    yield Evidence.at_least("the same: the term is tight", share, 0.97)
    yield from _shares()
    runs = 200
    covered, tightest = _coverage(runs)
    note = f"{runs} heads fitted on 400 Gaussian samples, 80 % confidence"
    yield Evidence.at_least(
        "share of bounds above the error", covered / runs, CONFIDENCE, note=note
    )
    yield Evidence.at_most("least of these bounds: not vacuous", tightest, 1)
    trained = trained_digits(HALF)
    mean, scale = _centre(trained.features(trained.inputs))
    fresh, test = (trained.features(x) - mean for x in (trained.fresh_inputs, trained.test_inputs))
    for name, K in (("odd or even", 2), ("ten digits", 10)):
        labels, truth = trained.fresh_labels % K, trained.test_labels % K
        head = _ridge(fresh, labels, K)
        error = float((sample_margins(test @ head.T, truth) <= 0).double().mean())
        whole = uniform_margin_bound(fresh, labels, head, fitted="head", feature_scale=scale)
        pairs = pair_margin_bound(fresh, labels, head, fitted="head", feature_scale=scale)
        note = f"features from {10 * HALF} digits, head on {len(labels)} others, K = {K}"
        yield Evidence.at_least(f"{name}: bound on the error", whole.bound, error, note=note)
        yield Evidence.at_least(f"{name}: bound pair by pair", pairs.bound, whole.bound)
        if K == 2:
            yield Evidence.at_most(f"{name}: it says something", whole.bound, 1)
        else:
            yield Evidence.at_least(f"{name}: it says nothing", whole.bound, 1)
    vertices, labels = simplex_etf(10, 10, "axis"), torch.arange(10).repeat(5000)
    own = torch.full((10, 10), math.sqrt(10 / 18) - 1e-9)
    pairs = pair_margin_bound(vertices[labels], labels, vertices, fitted="head", distances=own)
    note = "collapse, K = 10, n = 50000: vacuous pair by pair, 0.171 for all at once"
    yield Evidence.at_least("pair by pair at collapse", pairs.bound, 1, note=note)


def _supremum() -> float:
    """Return E sup over heads of norm 1 of sum_ik s_ik <w_k, z_i>, over its bound's share."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(20, 5, generator=generator, dtype=torch.float64)
    signs = torch.randint(0, 2, (4000, 4, 20), generator=generator).double() * 2 - 1
    sums = signs @ features
    norms = (sums - sums.mean(1, keepdim=True)).flatten(1).norm(dim=1)
    head, labels = torch.eye(4, 5).double(), torch.arange(20) % 4
    found = margin_bound(features, labels, head, relative_margin=1.0, fitted="head")
    return float(norms.mean()) / (found.complexity * 20 / 4)


def _shares() -> Iterator[Evidence]:
    """Recover from the deviations the probability that each margin of the grid is given."""
    n, vertices = 10**4, simplex_etf(2, 2, "axis")
    labels = torch.arange(n) % 2
    spent = []
    # One best margin; by its unit it is the grid's k-th, and pays for it by its deviation.
    for k in range(-GRID, GRID + 1):
        unit = math.sqrt(2) / 2.0**k
        found = uniform_margin_bound(
            vertices[labels], labels, vertices, fitted="head", feature_scale=unit
        )
        spent.append(2 * math.exp(-2 * n * (found.deviation / 3) ** 2))
    delta, rest = 1 - found.confidence, 2 * sum(1 / (1 + k) ** 2 for k in range(GRID + 1, 10**5))
    share = sum(spent) / delta
    note = f"by the deviation paid at the {len(spent)} margins 2^k, |k| <= {GRID}"
    words = "probability that all margins of the grid may fail with, over delta"
    yield Evidence.at_most(words, share, 1, note=note)
    whole = math.pi**2 / 3 - 1
    yield Evidence(
        "that of these margins by the law 1 / (1 + |k|)^2", share, 1 - rest / whole, 1e-3
    )
    few = labels[:800]
    pairs = pair_margin_bound(
        vertices[few], few, vertices, fitted="head", distances=torch.ones(2, 2)
    )
    deviation = pairs.deviation[~torch.eye(2, dtype=torch.bool)]
    shares = 2 * (-2 * 400 * (deviation / 3) ** 2).exp()
    yield Evidence("the same pair by pair, two pairs", float(shares.sum()) / delta, 1, 1e-9)


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
        covered += bool(
            found.bound
            >= float((sample_margins(torch.from_numpy(new @ head.T), truth) <= 0).double().mean())
        )
        least = smallest(least, found.bound)
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


def _term_error(term: float) -> float:
    """Compare a complexity made of recorded norms with the bound's, of features and head."""
    trained = trained_digits()
    head, features = trained.network.head, trained.features(trained.inputs)
    weight, bias = head.weight.detach().double(), head.bias.detach().double()
    rows = torch.cat([weight, bias[:, None]], 1)
    own = margin_min(features @ weight.T + bias, trained.labels)
    relative = own / float((rows - rows.mean(0)).norm())
    found = margin_bound(
        features, trained.labels, weight, bias, relative_margin=relative, fitted="network"
    )
    return term / found.complexity - 1


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
    error = _term_error(terms[-1])
    words = (
        "complexity at g = p_min, norms by hand, over that of `margin_bound`, last epoch, less 1"
    )
    yield Evidence(words, error, 0, 1e-5, note=NOTE)
    by_ratio = [
        collapsed_margin_bound(10, len(s.losses)).complexity
        / margin_collapse_ratio(s.margin, s.scale, 10)
        for s in history
    ]
    yield Evidence(
        "largest error of it as that at collapse over the share of the ceiling, relative",
        largest(*(abs(a / b - 1) for a, b in zip(terms, by_ratio, strict=True))),
        0,
        1e-9,
        note="of the margins, only the normalised one enters",
    )
    fall = terms[-1] / terms[0]
    yield Evidence.at_most("complexity, last over first epoch with all right", fall, 1)
    floor = collapsed_margin_bound(10, len(history[-1].losses)).complexity
    note = "the expected one is that of collapse: vacuous with these few samples, as is any"
    yield Evidence.at_least("complexity at the end", terms[-1], floor, note=note)
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
    yield Evidence.at_most(wording.format(*few), value, 1)
    for sizes in (many, imagenet):
        value = collapsed_margin_bound(*sizes).bound
        yield Evidence.at_least(wording.format(*sizes), value, 1)
    for K in (10, 100, 1000):
        size = informative_sample_size(K)
        yield Evidence(f"least n / 16 K^2, K = {K}", size / (16 * K * K), 1, 1 / K)
