"""Definition 2.1 and Theorem 3.1: the simplex ETF, and the largest margin at a given norm."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from neuralcollapse.geometry import simplex_etf
from neuralcollapse.studies.claims import Evidence, farthest, largest
from neuralcollapse.studies.ji2022.flows import margins_of_pairs
from neuralcollapse.studies.ji2022.study import study
from neuralcollapse.theory import least_margin_bound, separation_optimum

BALANCED = [(2, 1, 1), (3, 2, 2), (4, 5, 6), (4, 5, 3), (10, 10, 16)]  # K, n, d
IMBALANCED = [([5, 1], 2), ([4, 2, 1], 3), ([3, 1, 1, 2], 5), ([10, 10, 1, 1], 4)]  # sizes, d
NOISES = [10.0**power for power in range(-6, 2)]
DRAWS = 10  # of each noise, for each problem


@study.claim("def2.1", "A simplex ETF is K unit vectors with every cosine -1/(K-1).")
def _simplex() -> Iterator[Evidence]:
    worst = mean = 0.0
    for K, dim in [(2, 1), (3, 5), (4, 3), (10, 16), (100, 99)]:
        vertices = simplex_etf(K, dim, generator=torch.Generator().manual_seed(K))
        for k in range(K):
            cosines = vertices @ vertices[k]
            cosines[k] -= 1 + 1 / (K - 1)
            worst = largest(worst, float((cosines + 1 / (K - 1)).abs().max()))
        mean = largest(mean, float(vertices.sum(0).norm()))
    yield Evidence("largest error of a norm or cosine", worst, 0, 1e-13, note="K up to 100")
    yield Evidence("so the vectors sum to zero", mean, 0, 1e-12)


@study.claim(
    "thm3.1",
    "The minimum margin is at most (||W||^2 + ||H||^2) / (2 (K-1) sqrt(n)), with equality exactly "
    "at neural collapse with ||W|| = ||H||.",
)
def _margin() -> Iterator[Evidence]:
    ratios = np.array([r for K, n, d in BALANCED for r in _ratios([n] * K, d)])
    words = "largest margin / bound - 1 of random and nearly collapsed pairs"
    note = f"{len(ratios)} pairs, noise 1e-6 to 10, K to 10"
    yield Evidence.at_most(words, float(ratios.max()) - 1, 0, 1e-12, note=note)
    shortfall = largest(*(abs(_ratio([n] * K, d) - 1) for K, n, d in BALANCED))
    yield Evidence("largest |margin / bound - 1| at collapse", shortfall, 0, 1e-12)
    optimum = separation_optimum([5] * 4, 6)
    unequal = least_margin_bound(4 * optimum.W, optimum.H, optimum.labels)
    words = "margin / bound at collapse with ||W|| = 4 ||H||"
    note = "2c / (1 + c^2) at c = 4: equal norms are needed"
    yield Evidence(words, unequal.margin / unequal.mean_square, 8 / 17, 1e-12, note=note)
    words = "there margin / (||W|| ||H|| / D), the step before"
    note = "D = (K - 1) sqrt(n)"
    yield Evidence(words, unequal.margin / unequal.product, 1, 1e-12, note=note)
    stretch = torch.tensor([3.0, 1.0, 0.5, 2.0, 1.0, 1.0], dtype=torch.float64)
    sheared = least_margin_bound(optimum.W * stretch, optimum.H / stretch, optimum.labels)
    words = "margin / (||H W^T||_* / D) where head and features are stretched, logits kept"
    note = "the first step"
    yield Evidence(words, sheared.margin / sheared.nuclear, 1, 1e-12, note=note)
    words = "and margin / (||W|| ||H|| / D), which sees the stretch"
    yield Evidence.at_most(words, sheared.margin / sheared.product, 0.9)
    words = "minimum margin found by descent on (||W||^2 + ||H||^2) / 2, times D / norm"
    note = "smoothed margins, random starts, K = 3, n = 2, d = 3: nothing known of the answer"
    yield Evidence(words, _searched(), 1, 0.01, note=note)


@study.claim(
    "thm3.1-any-sizes",
    "Ours: for class sizes n_k the bound holds with (K-1) sqrt(n) replaced by the sum of the "
    "singular values of the centred label matrix.",
)
def _margin_of_any_sizes() -> Iterator[Evidence]:
    ratios = np.array([r for sizes, d in IMBALANCED for r in _ratios(sizes, d)])
    words = "largest margin / bound - 1 of random and nearly optimal pairs"
    note = f"{len(ratios)} pairs, sizes up to 10:10:1:1"
    yield Evidence.at_most(words, float(ratios.max()) - 1, 0, 1e-12, note=note)
    shortfall = largest(*(abs(_ratio(sizes, d) - 1) for sizes, d in IMBALANCED))
    yield Evidence("largest |margin / bound - 1| at the optimum", shortfall, 0, 1e-12)
    apart = []
    for sizes, dim in IMBALANCED:
        hot = np.repeat(np.eye(len(sizes)), sizes, axis=0)
        values = np.linalg.svd(hot - hot.mean(1, keepdims=True), compute_uv=False)
        apart.append(separation_optimum(sizes, dim).value / values.sum())
    words = "least norm over the sum of singular values, the farthest"
    yield Evidence(words, farthest(apart), 1, 1e-12)


def _searched() -> float:
    """Maximise the smoothed minimum margin at a given norm, with gradients by autograd."""
    labels = torch.arange(3).repeat_interleave(2)
    best = -np.inf
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        point = torch.randn(9, 3, generator=generator, dtype=torch.float64, requires_grad=True)
        descent = torch.optim.Adam([point], lr=0.02)
        for sharpness in (5.0, 50.0, 500.0):
            for _ in range(150):
                W, H = (point / point.norm()).split([3, 6])
                margins = margins_of_pairs(H @ W.T, labels)
                loss = torch.logsumexp(-sharpness * margins, 0) / sharpness
                descent.zero_grad()
                loss.backward()
                descent.step()
        W, H = (point / point.norm()).detach().split([3, 6])
        found = least_margin_bound(W, H, labels)
        best = largest(best, found.margin / found.mean_square)
    return best


def _ratios(sizes: list[int], dim: int) -> list[float]:
    """Return margin / bound of pairs ever farther from an optimum of random scale."""
    generator = torch.Generator().manual_seed(sum(sizes) + dim)
    return [_ratio(sizes, dim, noise, generator) for noise in NOISES for _ in range(DRAWS)]


def _ratio(
    sizes: list[int], dim: int, noise: float = 0.0, generator: torch.Generator | None = None
) -> float:
    optimum = separation_optimum(sizes, dim)
    W, H = _perturbed(optimum.W, noise, generator), _perturbed(optimum.H, noise, generator)
    bound = least_margin_bound(W, H, optimum.labels)
    return bound.margin / bound.mean_square


def _perturbed(points: Tensor, noise: float, generator: torch.Generator | None) -> Tensor:
    return points + noise * torch.randn(points.shape, generator=generator, dtype=torch.float64)
