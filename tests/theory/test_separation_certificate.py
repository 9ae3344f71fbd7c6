import itertools
import math

import numpy as np
import pytest
import torch

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.theory import (
    kkt_residuals,
    least_margin_bound,
    separation_certificate,
    separation_optimum,
    separation_value,
)

PROBLEMS = [([1, 1], 1), ([5, 1], 2), ([2, 2, 2], 2), ([4, 2, 1], 3), ([3, 1, 1, 2], 5)]


def near_optima(count, seed=0):
    """Draw pairs around optima of random scale, rotated, from exact ones to merely separating."""
    rng = np.random.default_rng(seed)
    optima = [(separation_optimum(sizes, dim), dim) for sizes, dim in PROBLEMS]
    while count:
        optimum, dim = optima[rng.integers(len(optima))]
        scale, noise = np.exp(rng.uniform(-1, 3)), np.exp(rng.uniform(-14, 0))
        unbalance = np.exp(rng.normal())
        rotation = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
        W = scale * (optimum.W.numpy() + noise * rng.normal(size=optimum.W.shape)) @ rotation
        H = scale * (optimum.H.numpy() + noise * rng.normal(size=optimum.H.shape)) @ rotation
        logits, own = H @ W.T, optimum.labels.numpy()
        rivals = logits - logits[np.arange(len(own)), own][:, None]
        rivals[np.arange(len(own)), own] = -np.inf
        if rivals.max() < 0:
            count -= 1
            yield W * unbalance, H / unbalance, optimum


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_the_certificate_is_never_violated(count):
    rounding = 1 + 1e-12
    for W, H, optimum in near_optima(count, seed=count):
        bounds = separation_certificate(W, H, optimum.labels)
        assert bounds.lower <= optimum.value * rounding
        assert optimum.value <= bounds.nuclear * rounding
        assert bounds.nuclear <= bounds.upper * rounding


def test_the_margin_bound_is_never_violated():
    rng = np.random.default_rng(1)
    for W, H, optimum in near_optima(400, seed=1):
        for noise in (0.0, 3.0):  # separating or not
            V, G = W + noise * rng.normal(size=W.shape), H + noise * rng.normal(size=H.shape)
            bound = least_margin_bound(V, G, optimum.labels)
            chain = [bound.margin, bound.nuclear, bound.product, bound.mean_square]
            for smaller, larger in itertools.pairwise(chain):
                assert smaller <= larger + 1e-12 * abs(larger)
            assert bound.value == pytest.approx(optimum.value, rel=1e-15)


@pytest.mark.parametrize(("sizes", "dim"), PROBLEMS)
def test_both_are_tight_at_the_optimum(sizes, dim):
    optimum = separation_optimum(sizes, dim)
    bound = least_margin_bound(3 * optimum.W, 3 * optimum.H, optimum.labels)
    for term in (bound.margin, bound.nuclear, bound.product, bound.mean_square):
        assert term == pytest.approx(9.0, rel=1e-13)
    bounds = separation_certificate(3 * optimum.W, 3 * optimum.H, optimum.labels)
    assert bounds.nuclear == pytest.approx(optimum.value, rel=1e-13)
    assert bounds.upper == pytest.approx(optimum.value, rel=1e-13)
    if len(set(sizes)) == 1:  # then equal margins mean equal weights: tight below as well
        assert abs(bounds.relative_gap) < 1e-13


def test_unequal_norms_lose_the_mean_square_by_the_closed_form():
    optimum = separation_optimum([3, 3, 3], 4)
    bound = least_margin_bound(math.sqrt(2) * optimum.W, optimum.H / math.sqrt(2), optimum.labels)
    assert bound.margin / bound.product == pytest.approx(1.0, rel=1e-13)
    assert bound.margin / bound.mean_square == pytest.approx(0.8, rel=1e-13)  # 2c/(1+c^2), c = 2


def test_the_lower_bound_by_hand():
    # Two samples of weights p, q: |P - Y| has singular value sqrt(2 (p^2 + q^2)).
    p, q = 1 / (1 + math.exp(2)), 1 / (1 + math.exp(6))
    bounds = separation_certificate([[1.0], [-1.0]], [[1.0], [-3.0]], [0, 1])
    assert bounds.lower == pytest.approx((p + q) / math.sqrt(2 * (p * p + q * q)), rel=1e-14)
    assert bounds.upper == (2 + 10) / 4
    assert bounds.nuclear == pytest.approx(math.sqrt(20) / 2, rel=1e-14)
    assert separation_value([1, 1]) == 1.0


@pytest.mark.parametrize(("sizes", "dim"), PROBLEMS)
def test_the_optimum_satisfies_every_condition_and_a_shift_breaks_it(sizes, dim):
    best = separation_optimum(sizes, dim)
    found = kkt_residuals(5 * best.W, 5 * best.H, best.labels, best.multipliers)
    assert found.largest < 1e-13
    assert kkt_residuals(2 * best.W, best.H, best.labels, best.multipliers).stationarity > 0.1
    doubled = kkt_residuals(best.W, best.H, best.labels, 2 * best.multipliers)
    assert doubled.stationarity == pytest.approx(1.0, rel=1e-12)  # 2 A theta - theta = theta
    negated = kkt_residuals(best.W, best.H, best.labels, -best.multipliers)
    assert negated.dual == 1.0
    assert negated.stationarity == pytest.approx(2.0, rel=1e-12)


def test_slack_margins_are_counted_by_complementarity():
    best = separation_optimum([1, 1], 1)
    H = best.H * torch.tensor([[1.0], [3.0]])
    found = kkt_residuals(best.W, H, best.labels, best.multipliers)
    assert found.complementarity == pytest.approx(1.0)  # margins 1 and 3, of equal weight


def test_the_multipliers_of_the_loss_are_those_of_the_balanced_optimum():
    best = separation_optimum([2] * 4, 5)
    found = kkt_residuals(4 * best.W, 4 * best.H, best.labels)
    torch.testing.assert_close(found.multipliers, best.multipliers)
    assert found.largest < 1e-13


W, H = torch.eye(2), torch.eye(2)


@pytest.mark.parametrize("function", [separation_certificate, least_margin_bound, kkt_residuals])
@pytest.mark.parametrize(
    ("head", "features", "labels", "message"),
    [
        (torch.eye(3), H, [0, 1], r"labels: .*of 3 classes, got none of \[2\]"),
        (W, torch.ones(2, 3), [0, 1], r"H: expected shape \(2, 2\)"),
        (torch.ones(2), H, [0, 1], "W: expected a matrix"),
    ],
)
def test_bad_input_is_refused(function, head, features, labels, message):
    with pytest.raises(NeuralCollapseError, match=message):
        function(head, features, labels)


@pytest.mark.parametrize("function", [separation_certificate, kkt_residuals])
def test_a_misclassified_sample_is_refused(function):
    with pytest.raises(
        NeuralCollapseError, match=r"W, H: expected positive margins.*minimum margin of -1"
    ):
        function(W, H, [1, 0])


def test_nan_and_misshapen_multipliers_are_refused():
    with pytest.raises(NonFiniteError, match="H: expected finite"):
        least_margin_bound(W, H * math.nan, [0, 1])
    with pytest.raises(NeuralCollapseError, match=r"multipliers: expected shape \(2, 2\)"):
        kkt_residuals(W, H, [0, 1], torch.ones(2, 3))
    with pytest.raises(NeuralCollapseError, match="a positive multiplier, got only zeros"):
        kkt_residuals(W, H, [0, 1], torch.eye(2))


def test_the_nuclear_bound_does_not_see_a_common_row_of_the_head():
    optimum = separation_optimum([2, 2, 2], 4)
    common = torch.tensor([0.7, -0.3, 0.2, 1.0], dtype=torch.float64)
    plain, shifted = (
        separation_certificate(W, optimum.H, optimum.labels)
        for W in (optimum.W, optimum.W + common)
    )
    assert plain.nuclear == pytest.approx(optimum.value, rel=1e-12)
    assert shifted.nuclear == pytest.approx(optimum.value, rel=1e-12)
    assert shifted.upper > 1.1 * plain.upper
