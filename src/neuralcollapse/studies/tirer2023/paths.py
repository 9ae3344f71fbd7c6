"""Theorem 3.1 and Corollary 3.2: along the central path, and in one layer, features collapse."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from neuralcollapse.studies.claims import Evidence, largest
from neuralcollapse.studies.tirer2023.features import loss_by_hand, next_features, random_features
from neuralcollapse.studies.tirer2023.study import study
from neuralcollapse.theory import (
    central_path,
    central_path_velocity,
    collapsed_path_time,
    commuting_path,
    minimizing_head,
    near_features_minimizer,
    sufficient_statistics,
    trace_ratio_falls_from,
)
from neuralcollapse.theory.central_path import CentralPath

SIZES = [(2, 3, 2), (3, 5, 6), (4, 10, 10), (5, 2, 3), (10, 4, 16)]  # K, n, d: d < K among them
STRENGTHS = [(0.5, 0.1), (0.05, 0.0), (2.0, 1.0), (0.005, 0.01)]  # lambda_w, lambda_h
TIMES = np.concatenate([[0.0], np.geomspace(1e-3, 30.0, 16)])
DRAWS = 40


@study.claim(
    "thm3.1",
    "Along the central path tr Σ_W / tr Σ_B strictly falls, e^(2 lambda_H t) tr Σ_W never rises "
    "and e^(2 lambda_H t) tr Σ_B strictly rises.",
    correction="H0 needs class means that differ, else they stay equal and the ratio is undefined; "
    "tr Σ_W is positive at every finite time, and for lambda_H = 0 need not tend to 0; the second "
    "statement is not strict: deviations orthogonal to the class means stay as they are",
)
def _path() -> Iterator[Evidence]:
    ratio = within = between = -np.inf
    for seed, (sizes, (lambda_w, lambda_h)) in enumerate(
        (sizes, strengths) for sizes in SIZES for strengths in STRENGTHS
    ):
        path = central_path(*random_features(*sizes, seed), lambda_w, lambda_h, TIMES)
        by_within = path.trace_within_rate / path.trace_within
        by_between = path.trace_between_rate / path.trace_between
        ratio = largest(ratio, float((by_within - by_between).max()))
        within = largest(within, float((by_within + 2 * lambda_h).max()))
        between = largest(between, float(-(by_between + 2 * lambda_h).min()))
    note = f"{len(SIZES) * len(STRENGTHS)} paths, K to 10, 17 times from 0 to 30"
    words = "largest rate of change of log"
    yield Evidence.at_most(f"{words} tr Σ_W / tr Σ_B", ratio, 0, note=note)
    yield Evidence.at_most(f"{words} e^(2 lambda_H t) tr Σ_W", within, 0, 1e-14)
    yield Evidence.at_most("and, negative, of e^(2 lambda_H t) tr Σ_B", between, -1e-4)
    yield from _rates_of_the_path()
    path = _orthogonal_deviations()
    words = "tr Σ_W at t = 1e4 over that at t = 100, lambda_H = 0, noise orthogonal to the means"
    note = "does not fall at all, and the ratio falls only because tr Σ_B grows"
    yield Evidence(words, float(path.trace_within[-1] / path.trace_within[1]), 1, 1e-12, note=note)
    growth = float(path.trace_between[-1] / path.trace_between[1])
    yield Evidence("tr Σ_B at the same times: growth, at t^(1/2)", growth, 10, 1)


def _rates_of_the_path() -> Iterator[Evidence]:
    """Compare the rates with differences of the path, and their strict sign with its values."""
    H0, labels = random_features(4, 10, 10, 0)
    step, middle = 1e-4, 0.5
    path = central_path(H0, labels, 0.5, 0.1, [middle - step, middle, middle + step])
    for name, trace, rate in (
        ("tr Σ_W", path.trace_within, path.trace_within_rate),
        ("tr Σ_B", path.trace_between, path.trace_between_rate),
    ):
        slope = float(trace[2] - trace[0]) / (2 * step)
        words = f"rate of change of {name} over the difference quotient of the path"
        yield Evidence(words, float(rate[1]) / slope, 1, 1e-6, note="t = 0.5, step 1e-4")
    features = path.features(1)
    spread = sum(float(features[labels == k].var(0, correction=0).sum()) for k in range(4)) / 4
    share = float(path.trace_within[1]) / spread
    yield Evidence("tr Σ_W over that of the features", share, 1, 1e-12)
    grown = central_path(H0, labels, 0.5, 0.1, [0.0, 1.0])
    growth = math.exp(0.2) * float(grown.trace_between[1] / grown.trace_between[0])
    yield Evidence.at_least("e^(2 lambda_H t) tr Σ_B from t = 0 to 1: growth", growth, 1.05)


def _orthogonal_deviations() -> CentralPath:
    """Follow the path from deviations that no class mean meets."""
    labels = torch.arange(3).repeat_interleave(5)
    generator = torch.Generator().manual_seed(0)
    H0 = torch.zeros(15, 6, dtype=torch.float64)
    H0[:, :3] = torch.randn(3, 3, generator=generator, dtype=torch.float64)[labels]
    noise = torch.randn(15, 3, generator=generator, dtype=torch.float64).reshape(3, 5, 3)
    H0[:, 3:] = (noise - noise.mean(1, keepdim=True)).reshape(15, 3)
    return central_path(H0, labels, 0.4, 0.0, [0.0, 1e2, 1e4])


@study.claim(
    "thm3.1-reduction",
    "Ours: class means and within-class scatter follow a flow of their own, whatever n is, from "
    "which all features can be rebuilt.",
)
def _reduction() -> Iterator[Evidence]:
    error = scatter = 0.0
    settings = [((3, 5, 6), 0.5, 0.1), ((3, 4, 5), 0.4, 0.0), ((4, 3, 3), 2.0, 1.0)]
    for seed, (sizes, lambda_w, lambda_h) in enumerate(settings):
        H0, labels = random_features(*sizes, seed)
        path = central_path(H0, labels, lambda_w, lambda_h, [5.0])
        full = _full_flow(H0, labels, lambda_w, lambda_h, 5.0)
        error = largest(error, float((path.features(0) - full).abs().max()))
        apart = torch.cat([full[labels == k] - full[labels == k].mean(0) for k in labels.unique()])
        scatter = largest(
            scatter, float((path.within[0] - apart.T @ apart / len(full)).abs().max())
        )
    note = "flow of all N d features by DOP853, to t = 5"
    yield Evidence("largest error of a feature", error, 0, 1e-10, note=note)
    yield Evidence("largest error of the scatter, against that flow's", scatter, 0, 1e-10)
    H0, labels = random_features(4, 5, 6, 7)
    W = minimizing_head(H0, labels, 0.5)
    slopes = [_loss_gradient(head, H0, labels, 0.5) for head in (W, torch.zeros_like(W))]
    share = float(slopes[0].norm() / slopes[1].norm())
    words = "gradient of Equation 1 at the minimising head, over that at W = 0"
    yield Evidence(words, share, 0, 1e-14, note="autograd")
    step = 1e-4
    path = central_path(H0, labels, 0.5, 0.1, [1 - step, 1, 1 + step])
    slope = (path.features(2) - path.features(0)) / (2 * step)
    velocity = central_path_velocity(path.features(1), labels, 0.5, 0.1)
    error = float((slope - velocity).norm() / slope.norm())
    words = "relative error of the velocity, Equation 4, against the path's differences"
    yield Evidence(words, error, 0, 1e-6, note=f"t = 1, step {step:g}")


def _loss_gradient(W: Tensor, H: Tensor, labels: Tensor, lambda_w: float) -> Tensor:
    """Return the gradient of the regularised squared loss by W."""
    head = W.clone().requires_grad_()
    loss = loss_by_hand(head, H, labels, (lambda_w, 0.0, 0.0), H)
    return torch.autograd.grad(loss, head)[0]


def _full_flow(H0: Tensor, labels: Tensor, lambda_w: float, lambda_h: float, time: float) -> Tensor:
    """Follow Equation 4 on all features, in the paper's layout: samples are columns."""
    Y = np.eye(int(labels.max()) + 1)[:, labels.numpy()]
    num_classes, num_samples = Y.shape
    decay = num_samples / num_classes * lambda_w * np.eye(H0.shape[1])

    def velocity(_: float, flat: np.ndarray) -> np.ndarray:
        H = flat.reshape(-1, num_samples)
        W = Y @ H.T @ np.linalg.inv(H @ H.T + decay)
        return (-W.T @ (W @ H - Y) - lambda_h * H).ravel()

    start = H0.T.numpy().ravel()
    end = solve_ivp(velocity, (0, time), start, method="DOP853", rtol=1e-12, atol=1e-14).y[:, -1]
    return torch.from_numpy(end.reshape(-1, num_samples).T.copy())


@study.claim(
    "thm3.1-commuting",
    "Ours: where class means and scatter share their directions, the central path keeps them, and "
    "each is a flow of two numbers; without decay of the features it keeps h^2 + K s + lambda_W "
    "log s, and without scatter its time is in closed form.",
)
def _commuting() -> Iterator[Evidence]:
    K, d, times = 3, 5, [0.5, 4.0]
    radii, variances = np.array([0.4, 1.0, 2.5]), np.array([0.3, 0.02, 0.8])
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.normal(size=(size, size)))[0] for size in (K, d))
    spectrum = np.concatenate([variances, [0.1, 0.6]])  # and directions without a mean
    start = SimpleNamespace(means=U * radii @ V[:, :K].T, within=V * spectrum @ V.T, counts=[7] * K)
    apart = 0.0
    for strengths in STRENGTHS:
        whole = central_path(start, None, *strengths, times)
        ours = commuting_path(radii, variances, K, *strengths, times)
        for i in range(len(times)):
            means = U * ours.radii[i].numpy() @ V[:, :K].T
            found = V[:, :K].T @ whole.within[i].numpy() @ V[:, :K]
            apart = largest(
                apart,
                float(np.abs(whole.means[i].numpy() - means).max()),
                float(np.abs(found - np.diag(ours.variances[i])).max()),
            )
    note = f"K = {K}, d = {d}, {len(STRENGTHS)} pairs of strengths, to t = {times[-1]:g}"
    yield Evidence("largest difference from the whole flow", apart, 0, 1e-10, note=note)
    path = commuting_path(radii, variances, K, 0.4, 0.0, [0.0, *times])
    kept = path.radii**2 + K * path.variances + 0.4 * path.variances.log()
    drift = float((kept / kept[0] - 1).abs().max())
    yield Evidence("largest relative drift of what is kept", drift, 0, 1e-10)
    ends = commuting_path(radii, 0 * variances, K, 0.5, 0.1, [3.0]).radii[0].tolist()
    errors = [
        abs(collapsed_path_time(before, after, 0.5, 0.1) - 3)
        for before, after in zip(radii.tolist(), ends, strict=True)
    ]
    yield Evidence("largest error of the time, of 3, without scatter", largest(*errors), 0, 1e-8)


@study.claim(
    "cor3.2",
    "For beta large enough the near-features minimiser has a smaller tr Σ_W / tr Σ_B than H0; "
    "ours: beta + lambda_H >= 1 / (2 lambda_W) is enough, for every H0 and at every stationary "
    "point, and no smaller constant is.",
    correction="class means and samples of H0 must differ, else the ratio is undefined or 0 = 0; "
    '"large enough" is made explicit and does not depend on H0',
)
def _one_layer() -> Iterator[Evidence]:
    generator = np.random.default_rng(0)
    ratios, threshold = [], []
    for draw in range(DRAWS):
        K, n, d = SIZES[draw % len(SIZES)]
        H0, labels = random_features(K, n, d, draw, noise=10 ** generator.uniform(-2, 1))
        lambda_w, lambda_h = 10 ** generator.uniform(-2, 0.5, 2)
        least = trace_ratio_falls_from(lambda_w, lambda_h)
        threshold.append(_ratio_of_ratios(H0, labels, lambda_w, lambda_h, max(least, 1e-2)))
        beta = max(least, 1e-2) * 10 ** generator.uniform(0, 3)
        ratios.append(_ratio_of_ratios(H0, labels, lambda_w, lambda_h, beta))
    words = "largest ratio tr Σ_W / tr Σ_B of the minimiser over that of H0"
    note = f"{DRAWS} random H0, strengths 0.01 to 3, noise 0.01 to 10"
    yield Evidence.at_most(f"{words}, beta at the constant", largest(*threshold), 1, note=note)
    yield Evidence.at_most("the same, beta up to 1000 times that", largest(*ratios), 1)
    yield from _worst_point()
    H0, labels = random_features(4, 10, 10, 0)
    errors = []
    for beta in (100.0, 1000.0):
        path = central_path(H0, labels, 0.5, 0.1, [1 / beta])
        step = next_features(H0, labels, 0.5, 0.1, beta)
        errors.append(beta**2 * float((step - path.features(0)).norm()))
    words = "beta^2 || H - H(t = 1 / beta) ||, beta = 1000 over 100"
    note = "the minimiser is a step of the central path to second order"
    yield Evidence(words, errors[1] / errors[0], 1, 0.02, note=note)


def _worst_point() -> Iterator[Evidence]:
    """Attain the constant at a stationary point: small means turned round, noise orthogonal."""
    K, d, lambda_w, lambda_h, size = 3, 5, 0.5, 0.1, 1e-3
    labels = torch.arange(K).repeat_interleave(2)
    beta = max(trace_ratio_falls_from(lambda_w, lambda_h), 1e-3)
    mu = beta + lambda_h
    # The stationary points of features h R, h -> 0, come from H0 = (mu - 1 / lambda_w) h R / beta.
    means = size * torch.eye(K, d, dtype=torch.float64)
    noise = torch.zeros(K * 2, d, dtype=torch.float64)
    noise[:, -1] = size * torch.tensor([1.0, -1.0]).double().repeat(K)
    H = means[labels] + noise
    W = means / (lambda_w + size**2)
    pull = mu * means - lambda_w * means / (lambda_w + size**2) ** 2
    H0 = (pull[labels] + mu * noise) / beta
    point = [part.clone().requires_grad_() for part in (W, H)]
    loss = loss_by_hand(point[0], point[1], labels, (lambda_w, lambda_h, beta), H0)
    gradient = torch.autograd.grad(loss, point)
    slope = largest(*(float(part.abs().max()) for part in gradient))
    note = "loss and gradient of torch"
    yield Evidence("gradient at the worst stationary point", slope, 0, 1e-12, note=note)
    before, after = (sufficient_statistics(part, labels) for part in (H0, H))
    ratio = _trace_ratio(after.means, after.within) / _trace_ratio(before.means, before.within)
    words = "its ratio tr Σ_W / tr Σ_B over that of H0, beta at the constant"
    yield Evidence(words, ratio, 1, 1e-3, note="with half the constant it would be 9")


def _ratio_of_ratios(
    H0: Tensor, labels: Tensor, lambda_w: float, lambda_h: float, beta: float
) -> float:
    found = near_features_minimizer(H0, labels, lambda_w, lambda_h, beta)
    before = sufficient_statistics(H0, labels)
    return _trace_ratio(found.means, found.within) / _trace_ratio(before.means, before.within)


def _trace_ratio(means: Tensor, within: Tensor) -> float:
    return float(within.trace() / (means - means.mean(0)).square().sum(1).mean())
