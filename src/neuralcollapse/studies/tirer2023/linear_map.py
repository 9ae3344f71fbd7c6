"""Theorems 4.1 and 4.2: the linear response of the minimiser to a change of collapsed H0."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from neuralcollapse.studies.claims import Evidence, largest
from neuralcollapse.studies.tirer2023.features import random_features
from neuralcollapse.studies.tirer2023.setting import LAMBDA_W, LinearMapSetting
from neuralcollapse.studies.tirer2023.study import study
from neuralcollapse.theory import GeneralPerturbationOperator, near_features_minimizer
from neuralcollapse.theory.feature_response import Variant

VARIANTS: tuple[Variant, ...] = ("exact", "first-order")
LAMBDA_H = (0.01, 0.1, 0.3, 0.6)


@study.claim(
    "thm4.1",
    "To first order a change of H0 reaches the minimising features through a linear map F, "
    "F = I - (1/beta) [lambda_H I + I x W^T W - Z] up to order 1 / beta^2, and the minimising head "
    "through another; here at collapsed H0, where (ours) F has five eigenspaces, known in closed "
    "form.",
    correction="the left-hand side is that of the perturbed minimiser less the unperturbed "
    "(printed with one symbol twice); the expansion in 1 / beta needs beta well above g = "
    "sqrt(lambda_H / lambda_W), not max(1, lambda_H); H0 = 0 has no such map, its minimiser is "
    "not unique",
)
def _map() -> Iterator[Evidence]:
    setting = LinearMapSetting()
    worst = 0.0
    generator = torch.Generator().manual_seed(1)
    for variant in VARIANTS:
        dense = setting.dense(variant)
        change = torch.randn(40, 10, generator=generator, dtype=torch.float64)
        naive = (dense @ change.numpy().ravel()).reshape(40, 10)
        worst = largest(
            worst, float(np.abs(setting.operator(variant).apply(change).numpy() - naive).max())
        )
    words = "largest error of the structured operator against the printed matrix"
    note = "400 x 400, both variants"
    yield Evidence(words, worst, 0, 1e-12, note=note)
    _, H, labels = setting.optimum()
    change = torch.randn(H.shape, generator=generator, dtype=torch.float64)
    errors = []
    for step in (1e-2, 1e-3):
        moved = setting.minimize(H + step * change, labels) - H
        errors.append(float((moved - step * setting.operator().apply(change)).norm()) / step**2)
    words = "||dH - F dH0|| / eps^2, eps = 1e-3 over 1e-2"
    note = "true minimisers: the error is of second order"
    yield Evidence(words, errors[1] / errors[0], 1, 0.02, note=note)
    answer = setting.operator().classifier_response(change)
    strengths = setting.lambda_w, setting.lambda_h, setting.beta
    error = _error(_slopes(H, labels, change, strengths)[0], answer)
    note = "central differences of the minimising heads, step 1e-4"
    yield Evidence("relative error of the head's linear response", error, 0, 1e-6, note=note)
    worst = 0.0
    for beta in (1.0, 10.0, 1000.0):
        near = LinearMapSetting(beta=beta)
        norm = float(np.linalg.norm(near.dense() - near.dense("first-order"), 2))
        x = near.g / beta
        worst = largest(worst, abs(norm / (x * x / (1 + x)) - 1))
    words = "||F - F_first|| over (g/beta)^2 / (1 + g/beta), - 1"
    note = "beta 1 to 1000: g is the scale beta must exceed"
    yield Evidence(words, worst, 0, 1e-6, note=note)


def _slopes(
    H0: Tensor, labels: Tensor, change: Tensor, strengths: tuple[float, float, float]
) -> tuple[Tensor, Tensor]:
    """Return the derivatives of the minimising head and features by central differences."""
    step = 1e-4
    ahead, behind = (
        near_features_minimizer(H0 + sign * step * change, labels, *strengths) for sign in (1, -1)
    )
    assert ahead.H is not None  # it is None for moments only
    assert behind.H is not None
    return (ahead.W - behind.W) / (2 * step), (ahead.H - behind.H) / (2 * step)


def _error(slope: Tensor, answer: Tensor) -> float:
    return float((slope - answer).norm() / slope.norm())


@study.claim(
    "thm4.1-any",
    "The linear maps of Theorem 4.1 at any H0, collapsed or not, features and head; ours: their "
    "cost, one K d x K d system.",
)
def _general_map() -> Iterator[Evidence]:
    H0, labels = random_features(3, 4, 5, 0)
    strengths = 0.5, 0.1, 1.0
    operator = GeneralPerturbationOperator(H0, labels, *strengths)
    change = torch.randn(H0.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    head, features = _slopes(H0, labels, change, strengths)
    error = _error(features, operator.apply(change))
    yield Evidence("relative error against central differences of true minimisers", error, 0, 1e-7)
    error = _error(head, operator.classifier_response(change))
    yield Evidence("the same of the head's response", error, 0, 1e-7)
    apart = []
    for beta in (100.0, 200.0):
        exact, first = (
            GeneralPerturbationOperator(H0, labels, 0.5, 0.1, beta, variant).apply(change)
            for variant in VARIANTS
        )
        apart.append(float((exact - first).norm()))
    words = "Equation 5: distance from the exact map at beta = 100 over that at 200"
    yield Evidence(words, apart[0] / apart[1], 4, 0.1, note="what it leaves out is of order 2")


@study.claim(
    "thm4.2",
    "At first order, for beta well above g: the intra-class block F_kk has largest singular value "
    "1 (d > K) and least 1 - g / beta; the block between classes has rank 1 and norm "
    "2 lambda_H (1 - c) / beta, far below that least value.",
    correction="the least value needs n >= 2 and beta >= g; the share of singular values 1 is "
    "(1 - K/d) / n, not (1 - K/d) / p; not all values fall with lambda_H: those of the K "
    "directions of the means rise beyond c = 2/3; ours: every singular value, exact too",
)
def _blocks() -> Iterator[Evidence]:
    error = extreme = between = 0.0
    for lambda_h in LAMBDA_H:
        for variant in VARIANTS:
            setting = LinearMapSetting(lambda_h)
            operator, dense = setting.operator(variant), setting.dense(variant)
            for k, j in ((0, 0), (2, 2), (0, 1), (3, 1)):
                block = dense[100 * k : 100 * k + 100, 100 * j : 100 * j + 100]
                measured = np.linalg.svd(block, compute_uv=False)
                predicted = np.concatenate(
                    [np.full(many, value) for value, many in operator.block_singular_values(k, j)]
                )
                error = largest(error, float(np.abs(measured - predicted).max()))
                if variant == "first-order" and k == j:
                    least = 1 - setting.g / setting.beta
                    extreme = largest(extreme, abs(measured[0] - 1), abs(measured[-1] - least))
                elif variant == "first-order":
                    norm = 2 * lambda_h * (1 - setting.c) / setting.beta
                    between = largest(between, abs(measured[0] - norm), measured[1])
    note = "SVD of 100 x 100 blocks at Figure 1's settings"
    yield Evidence("largest error of 1 and 1 - g / beta", extreme, 0, 1e-13, note=note)
    yield Evidence("largest error of the norm and the rank between classes", between, 0, 1e-13)
    yield Evidence("ours: largest error of any singular value, both variants", error, 0, 1e-13)
    values = np.linalg.svd(LinearMapSetting().dense("first-order")[:100, :100], compute_uv=False)
    ones = int((np.abs(values - 1) < 1e-12).sum())
    yield Evidence("singular values 1, of 100", ones, 6, note="(1 - K/d) / n of them: 6 in 100")
    told = LinearMapSetting().operator("first-order").block_singular_values(0, 0)[0].multiplicity
    yield Evidence("their number by the closed form", told, ones)
    single = np.linalg.svd(
        LinearMapSetting(per_class=1).dense("first-order")[:10, :10], compute_uv=False
    )
    c = np.sqrt(0.1 * LAMBDA_W)
    words = "least value at n = 1, over 1 - 4 lambda_H (1 - c) / beta"
    yield Evidence(words, float(single[-1]) / (1 - 4 * 0.1 * (1 - c) / 100), 1, 1e-12)
    least = np.linalg.svd(LinearMapSetting(0.5, 5.0, 3, 2, 4, 0.02).dense("first-order"))[1][-1]
    words = "least singular value at beta = g = 5, lambda_H = 0.5"
    note = "singular at first order although beta > max(1, lambda_H)"
    yield Evidence(words, least, 0, 1e-13, note=note)
    turn = 4 / (9 * LAMBDA_W)
    norms = [
        np.linalg.norm(LinearMapSetting(turn * s).dense("first-order")[:100, 100:200], 2)
        for s in (0.9, 1.0, 1.1)
    ]
    words = "norm between classes about c = 2/3: larger neighbour over the middle"
    yield Evidence.at_most(words, largest(float(norms[0]), float(norms[2])) / float(norms[1]), 1)
    for lambda_h in (1e-4, 1e-2, 0.3):
        dense = LinearMapSetting(lambda_h).dense("first-order")
        inside = np.linalg.svd(dense[:100, :100], compute_uv=False)[-1]
        yield Evidence.at_most(
            f"sigma_max(F_kl) over sigma_min(F_kk), lambda_H = {lambda_h:g}",
            float(np.linalg.norm(dense[:100, 100:200], 2) / inside),
            0.01,
            note="far below: the paper reads the map as one within classes",
        )
    near = LinearMapSetting(0.3, 1.0)
    dense = near.dense()
    yield Evidence.at_least(
        "the same of the exact map at beta = 1, lambda_H = 0.3",
        float(np.linalg.norm(dense[:100, 100:200], 2) / np.linalg.norm(dense[:100, :100], -2)),
        0.05,
        note="not far below where beta is no longer large",
    )
