"""Theorem 4.10: the exponential rate, of fresh samples and of classes that do not meet."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from scipy.special import ndtr
from torch import Tensor

from neuralcollapse.generalization import (
    center_deviation_probability,
    etf_error,
    nearest_center_error_bound,
)
from neuralcollapse.geometry import simplex_etf
from neuralcollapse.studies.claims import Evidence, largest
from neuralcollapse.studies.gao2023.digits import HALF, trained_digits
from neuralcollapse.studies.gao2023.study import study

RUNS = 2000
EXACT = "donot_use_mm_for_euclid_dist"  # the product form cancels for near points


@study.claim(
    "thm4.10",
    "If every feature is within rho of its class mean and the means are more than 2 rho apart, the "
    "nearest mean of n samples per class errs with a probability exponentially small in n.",
    correction="the samples must be fresh: features of the training set are not independent, and "
    "Hoeffding's inequality does not apply to them; with fresh ones it is "
    "2 K exp(-n (D - 2 rho)^2 / (8 rho^2)), free of the dimension, and exponential only because "
    "the supports are assumed apart",
)
def _centers() -> Iterator[Evidence]:
    rng = np.random.default_rng(0)
    K, n = 3, 30
    excess, informative = -1.0, 0
    for dim in (1, 10):
        noise = rng.normal(size=(RUNS, K, n, dim))
        noise /= np.linalg.norm(noise, axis=-1, keepdims=True)
        off = np.linalg.norm(noise.mean(2), axis=-1).max(1)
        for t in (0.3, 0.45, 0.6):
            bound = center_deviation_probability(K, n, t, 1.0)
            informative += bound < 1
            excess = largest(excess, np.mean(off >= t) - bound)
    note = (
        f"{RUNS} draws on spheres in 1 and 10 dimensions, K = 3, n = 30; {informative} of 6 below 1"
    )
    yield Evidence.at_most("largest excess of P(a mean is off by t)", excess, 0, note=note)
    # On a line a mean of n features at distance 1 is off by 1 if all lie on one side.
    classes, samples = 10, 8
    exact = 1 - (1 - 2 * 0.5**samples) ** classes
    bound = center_deviation_probability(classes, samples, 1.0, 1.0)
    note = f"K = {classes}, n = {samples}, on a line: exact"
    yield Evidence.at_most("P(a mean is off by 1) over its bound", exact / bound, 1, note=note)
    single = center_deviation_probability(2, samples, 1.0, 1.0) / 2
    note = "so K stands in it for a reason"
    yield Evidence.at_least("the same over the bound of one class", exact / single, 1, note=note)
    yield Evidence("bound for ten classes over that of one", bound / single, classes, 1e-9)
    single = center_deviation_probability(2, 40, 1.0, 1.0)
    rate = -math.log(center_deviation_probability(2, 80, 1.0, 1.0) / single) / 40
    yield Evidence("rate of the bound in n, at distance 1 of features within 1", rate, 0.5, 1e-9)
    apart = np.log([nearest_center_error_bound(2, n, 3.0, 1.0) for n in (24, 48)])
    yield Evidence("rate of the nearest mean's, D = 3", -np.diff(apart)[0] / 24, 1 / 8, 1e-9)
    samples = 12
    centers = np.array([0.0, 3.0])
    fresh = centers + rng.choice([-1.0, 1.0], size=(RUNS, samples, 2))
    means = fresh.mean(1)
    new = np.array([-1.0, 1.0, 2.0, 4.0])  # all that a class can be
    nearest = np.abs(new[None, :, None] - means[:, None]).argmin(2)
    error = np.mean(nearest != np.array([0, 0, 1, 1]))
    bound = nearest_center_error_bound(2, samples, 3.0, 1.0)
    note = f"two classes at 0 and 3, features at distance 1, n = {samples}; below 1 from n = 12 on"
    yield Evidence.at_most("mean error of the nearest fresh mean", error, bound, note=note)
    yield Evidence("that bound", bound, 4 * math.exp(-1.5), 1e-12, note="4 e^(-12/8)")
    yield from _digits()


def _digits() -> Iterator[Evidence]:
    """Show on a trained network why training features may not stand in for fresh ones."""
    trained = trained_digits(HALF)
    own = trained.features(trained.inputs)
    means = torch.stack([own[trained.labels == k].mean(0) for k in range(10)])
    radius = _radii(own, trained.labels, means)
    fresh = trained.features(trained.fresh_inputs)
    truth = torch.stack([fresh[trained.fresh_labels == k].mean(0) for k in range(10)])
    test = trained.features(trained.test_inputs)
    # Leave-one-out distances of training features are n / (n-1) times those from the mean of all.
    reach = radius[trained.test_labels] * HALF / (HALF - 1)
    beyond = (test - means[trained.test_labels]).norm(dim=1) > reach
    note = (
        f"rho: the largest distance of {HALF} training features from the mean of the others; were "
        "these drawn like new ones, the share would be 1 in 51"
    )
    share = float(beyond.double().mean())
    yield Evidence.at_least("share of test features beyond rho", share, 1 / (HALF + 1), note=note)
    # What the inequality would allow, were training features independent and rho theirs.
    allowed = radius * math.sqrt(2 * math.log(2 * 10 / 0.05) / HALF)
    ratio = float(((means - truth).norm(dim=1) / allowed).max())
    note = "true means from the other training images: what is unproved need not be wrong"
    yield Evidence.at_most(
        "training means off the true ones, over the 95 % limit", ratio, 1, note=note
    )
    distances = torch.cdist(truth, truth, compute_mode=EXACT).fill_diagonal_(math.inf)
    separation = float(distances.min() / (2 * _radii(fresh, trained.fresh_labels, truth).max()))
    note = "fresh features: the assumption D > 2 rho does not hold"
    yield Evidence.at_most("D / 2 rho", separation, 1, note=note)


def _radii(features: Tensor, labels: Tensor, means: Tensor) -> Tensor:
    distances = (features - means[labels]).norm(dim=1)
    return torch.stack([distances[labels == k].max() for k in range(len(means))])


@study.claim(
    "etf-error",
    "Ours: where features are normal about a simplex ETF, its head errs as an integral says, for "
    "any number of classes; a curve in n says what is left when the means are estimated.",
)
def _etf_error() -> Iterator[Evidence]:
    yield Evidence("K = 2, sigma = 1/2: over Phi(-2)", etf_error(2, 0.5) / ndtr(-2.0), 1, 1e-12)
    rare = etf_error(2, 0.05) / ndtr(-20.0)
    yield Evidence("K = 2, sigma = 1/20: over Phi(-20)", rare, 1, 1e-10)
    rng = np.random.default_rng(0)
    for K, noise in ((3, 0.6), (10, 0.5)):
        wrong = _nearest_errors(rng, K, noise, K, None, 1)
        exact = etf_error(K, noise)
        spread = math.sqrt(exact * (1 - exact) / len(wrong))
        note = f"{len(wrong)} simulated samples; 4 standard errors"
        words = f"K = {K}, sigma = {noise:g}: share wrong"
        yield Evidence(words, float(wrong.mean()), exact, 4 * spread, note=note)
    for n in (2, 10, 50):
        wrong = _nearest_errors(rng, 10, 0.5, 64, n, 100)
        predicted = etf_error(10, 0.5, samples_per_class=n, dim=64)
        words = f"share wrong by means of {n} samples per class over the learning curve"
        note = "K = 10, d = 64, 100 training sets"
        yield Evidence(words, float(wrong.mean()) / predicted, 1, 0.04, note=note)


def _nearest_errors(
    rng: np.random.Generator, K: int, noise: float, dim: int, n: int | None, sets: int
) -> np.ndarray:
    """Simulate which samples are nearer to another mean: exact means, or of n samples each."""
    vertices = simplex_etf(K, dim, "axis").numpy()
    labels = np.arange(K).repeat((40_000 if n is None else 20_000) // (K * sets))
    wrong = []
    for _ in range(sets):
        means = vertices
        if n is not None:
            means = vertices + noise * rng.normal(size=(n, K, dim)).mean(0)
        features = vertices[labels] + noise * rng.normal(size=(len(labels), dim))
        scores = features @ means.T - (means**2).sum(1) / 2
        wrong.append(scores.argmax(1) != labels)
    return np.concatenate(wrong)
