"""Ours: with weight decay, what label smoothing and depth do to the simplex."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from neuralcollapse.figure_style import BLUE, GREEN, GREY, ORANGE, PURPLE, figure, label_ends, save
from neuralcollapse.metrics import etf_distance
from neuralcollapse.metrics.decisions import decide
from neuralcollapse.studies.claims import Evidence, largest
from neuralcollapse.studies.descent import minimize_flat, train_on_all
from neuralcollapse.studies.figure_job import ALL_SCALES, FigureJob
from neuralcollapse.studies.ji2022.flows import decayed_loss, margins_of_pairs
from neuralcollapse.studies.ji2022.study import study
from neuralcollapse.theory import deep_separation, weight_decay_optimum
from neuralcollapse.training import load_dataset

SMOOTHING = 0.1
SEEDS = (0, 1, 2)
DECAY = 1e-3
DESCENT: dict[str, Any] = {"maxfun": 10000, "ftol": 1e-15, "gtol": 1e-9}
DEEP = [(6, 3, 2, "pairs"), (6, 4, 1, "pairs"), (4, 2, 2, "simplex")]  # K, M, n, winner
DEPTHS = range(2, 11)
NAMES = {"simplex": BLUE, "pairs": ORANGE, "polygon": GREEN, "code in 3 dimensions": PURPLE}


@study.claim(
    "label-smoothing",
    "Ours: label smoothing s is weight decay. It adds s / (K n^(1/2)) to r = (lambda_W "
    "lambda_H)^(1/2); alone it holds every margin at log(1 + K (1 - s) / s).",
)
def _label_smoothing() -> Iterator[Evidence]:
    K, n, dim, decays = 4, 3, 5, (4e-3, 1e-3)
    best = weight_decay_optimum(K, n, dim, *decays, SMOOTHING)
    value, W, H = _descended(K, n, dim, decays)
    note = f"K = {K}, n = {n}, s = {SMOOTHING:g}; all of W and H by L-BFGS, the loss of torch"
    yield Evidence("least loss over the closed form", value / best.value, 1, 1e-9, note=note)
    own = float(decayed_loss(best.W, best.H, best.labels, decays, SMOOTHING)) / best.value
    yield Evidence("loss of its head and features over the closed form", own, 1, 1e-12)
    gaps = margins_of_pairs(H @ W.T, best.labels)
    words = "largest distance of a margin from the closed form"
    yield Evidence(words, float((gaps - best.margin).abs().max()), 0, 1e-4)
    strength = math.sqrt(decays[0] * decays[1]) + SMOOTHING / (K * math.sqrt(n))
    stronger = weight_decay_optimum(K, n, dim, strength, strength)
    words = "margin over that of decay alone, stronger by s / (K n^(1/2))"
    yield Evidence(words, best.margin / stronger.margin, 1, 1e-12)
    gaps, accuracy = _smoothed_network()
    limit = weight_decay_optimum(10, 20, 9, 1e-9, 1e-9, SMOOTHING).margin
    note = "perceptron on 200 digits, 600 steps of Adam on all of them, no decay"
    yield Evidence("its training accuracy", accuracy, 1, note=note)
    yield Evidence("its mean margin over the limit", float(gaps.mean()) / limit, 1, 0.01)
    yield Evidence.at_most("spread of its margins over their mean", float(gaps.std()) / limit, 0.1)


def _descended(
    num_classes: int, per_class: int, dim: int, decays: tuple[float, float]
) -> tuple[float, Tensor, Tensor]:
    """Minimise the smoothed loss over head and features from a random start."""
    labels = torch.arange(num_classes).repeat_interleave(per_class)
    rows = [num_classes, len(labels)]

    def loss(flat: Tensor) -> Tensor:
        W, H = flat.view(-1, dim).split(rows)
        return decayed_loss(W, H, labels, decays, SMOOTHING)

    value, flat = minimize_flat(loss, _start(sum(rows) * dim, 0), **DESCENT)
    W, H = flat.view(-1, dim).split(rows)
    return value, W, H


def _start(size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size) / 2


def _smoothed_network() -> tuple[Tensor, float]:
    inputs, labels = load_dataset("digits", per_class=20).standardized().train.tensors
    inputs = inputs.flatten(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            *(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
        )
    train_on_all(
        network.parameters(),
        lambda: cross_entropy(network(inputs), labels, label_smoothing=SMOOTHING),
        steps=600,
    )
    with torch.no_grad():
        logits = network(inputs)
    return margins_of_pairs(logits, labels), float((decide(logits, labels)[0] > 0).double().mean())


@study.claim(
    "depth",
    "Depth makes the simplex suboptimal (Sukenik et al. 2024). With M factors that decay the least "
    "norm is M sum s^(2/M): for six classes pairs of opposite rows win from M = 3, the hexagon "
    "from 6 (ours), and chains of free factors find the pairs. Samples of a class stay one point.",
)
def _depth() -> Iterator[Evidence]:
    yield from _costs()
    for K, M, n, winner in DEEP:
        best = deep_separation(K, M, n)
        trained = [_deep_factors(K, M, n, seed) for seed in SEEDS]
        value, logits = min(trained, key=lambda pair: pair[0])
        note = f"K = {K}, M = {M}, n = {n}, decay {DECAY:g}: the best of {len(SEEDS)} starts"
        words = f"least loss of trained factors over that of {winner}"
        yield Evidence(words, value / _least_loss(best.logits, M, n), 1, 1e-7, note=note)
        yield Evidence(f"{winner}: rank of the least cost", list(best.rivals).index(winner), 0)
        yield Evidence("its cost among the rivals", best.rivals[winner] / best.cost, 1, 1e-12)
        classes = logits.reshape(K, n, K)
        within = float((classes - classes.mean(1, keepdim=True)).norm() / classes.norm())
        yield Evidence("NC1: spread of logits within classes, of their norm", within, 0, 1e-4)
        far = etf_distance(classes.mean(1))
        words = "NC2: distance of the class means' logits from a simplex"
        if winner == "simplex":
            yield Evidence.at_most(words, far, 1e-4)
        else:
            yield Evidence.at_least(words, far, 0.1)


def _costs() -> Iterator[Evidence]:
    """Compare costs with chains of factors, margins with brute force; find where winners change."""
    worst = excess = 0.0
    for K, M in ((4, 5), (6, 3), (6, 6), (7, 3)):
        best = deep_separation(K, M)
        left, singular, right = torch.linalg.svd(best.logits)
        # A sixth root makes 2e-3 of the 1e-16 that rounding leaves of a zero.
        roots = singular.where(singular > 1e-12 * singular[0], 0) ** (1 / M)
        chain = [left * roots, *[torch.diag(roots)] * (M - 2), roots[:, None] * right]
        product = torch.linalg.multi_dot(chain)
        squares = sum(float(part.square().sum()) for part in chain)
        worst = largest(worst, abs(squares / best.cost - 1), float((product - best.logits).norm()))
        excess = largest(excess, 1 - float(margins_of_pairs(best.logits, torch.arange(K)).min()))
    yield Evidence("cost over that of a balanced chain of factors, less 1", worst, 0, 1e-7)
    yield Evidence.at_most("largest lack of a margin to 1", excess, 0, 1e-9, note="four K and M")
    for K, (before, after) in ((4, (3, 4)), (6, (2, 3))):
        crossing = 2 * math.log(2) / math.log(2 * (K - 1) / K)
        rivals = [deep_separation(K, M).rivals for M in (before, after)]
        ahead = [costs["pairs"] < costs["simplex"] for costs in rivals]
        words = f"first M at which pairs cost less than the simplex, K = {K}"
        first = before if ahead[0] else after if ahead[1] else math.nan
        yield Evidence(words, first, math.ceil(crossing), note=f"from M = {crossing:.2f} on")
    hexagon = 2 * math.log(3) / math.log(1.5)
    names = [deep_separation(6, M).name for M in (5, 6)]
    first = 5 + names.index("polygon") if "polygon" in names else math.nan
    yield Evidence("first M at which the hexagon costs least", first, math.ceil(hexagon))


def _deep_factors(
    num_classes: int, factors: int, per_class: int, seed: int
) -> tuple[float, Tensor]:
    """Train a chain of factors from a random start; return the loss and all logits."""
    labels = torch.arange(num_classes).repeat_interleave(per_class)
    shapes = [(len(labels), num_classes)] + [(num_classes, num_classes)] * (factors - 1)
    sizes = [rows * columns for rows, columns in shapes]

    def logits(flat: Tensor) -> Tensor:
        parts = [part.view(s) for part, s in zip(flat.split(sizes), shapes, strict=True)]
        return torch.linalg.multi_dot(parts)

    def loss(flat: Tensor) -> Tensor:
        return cross_entropy(logits(flat), labels) + DECAY / 2 * flat.square().sum()

    value, flat = minimize_flat(loss, _start(sum(sizes), seed), **DESCENT)
    return value, logits(flat)


def _least_loss(logits: Tensor, factors: int, per_class: int) -> float:
    """Return the least loss of a configuration over its scale, for balanced factors."""
    singular = torch.linalg.svdvals(logits) * math.sqrt(per_class)
    power = 2 / factors
    norm = factors * float((singular[singular > 1e-9] ** power).sum())
    labels = torch.arange(len(logits))

    def loss(scale: float) -> float:
        fit = float(cross_entropy(scale * logits, labels))
        return fit + DECAY / 2 * norm * scale**power

    options: Any = {"xatol": 1e-9}
    return float(minimize_scalar(loss, bounds=(1, 40), method="bounded", options=options).fun)


@study.figure(7, fixed=ALL_SCALES)
def draw_depth(job: FigureJob) -> list[Path]:
    """Draw the cost of each configuration over that of the simplex, by the number of factors."""
    with figure(1, 3, 13.5, 3.9) as (drawing, panels):
        for axes, K in zip(panels, (4, 6, 10), strict=True):
            found = {M: deep_separation(K, M).rivals for M in DEPTHS}
            for name in found[3]:
                if name not in NAMES or (K == 4 and name == "pairs"):  # which are the square
                    continue
                shares = [found[M].get(name, np.nan) / found[M]["simplex"] for M in DEPTHS]
                shown = name.replace("code in 3 dimensions", "code in 3-d")
                axes.plot(DEPTHS, shares, color=NAMES[name], label=shown)
            least = [min(costs.values()) / costs["simplex"] for costs in found.values()]
            axes.plot(DEPTHS, least, "o", color=GREY, ms=4, label="_least")
            axes.set_title(f"{K} classes")
            axes.set_xlabel("factors with weight decay, M")
            axes.set_xticks(list(DEPTHS))
            axes.set_ylim(0.3, 1.6)
            label_ends(axes)
        panels[0].set_ylabel("least norm over the simplex's")
    return [save(drawing, job.folder / "figure7.png")]
