import math

import pytest
import torch

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization import (
    collapsed_margin_bound,
    informative_sample_size,
    margin_bound,
    uniform_margin_bound,
)
from neuralcollapse.geometry import simplex_etf


def collapsed(K, per_class, size=1.0, length=1.0):
    vertices = simplex_etf(K, K, "axis")
    labels = torch.arange(K).repeat(per_class)
    return size * vertices[labels], labels, length * vertices


# (K, n): complexity, and the whole bound at the margin of collapse, by hand from the formulas.
@pytest.mark.parametrize(
    ("K", "n", "complexity", "bound"),
    [(10, 1000, 1.08, 1.2088), (10, 6000, 0.4409, 0.4935), (10, 50_000, 0.1527, 0.1710)],
)
@pytest.mark.parametrize(("size", "length"), [(1.0, 1.0), (40.0, 0.01)])
def test_a_collapsed_configuration_has_this_bound_at_every_scale(
    K, n, complexity, bound, size, length
):
    features, labels, weight = collapsed(K, n // K, size, length)
    margin = size * length * K / (K - 1)
    norm = float(weight.norm())
    actual = margin_bound(features, labels, weight, relative_margin=margin / norm, fitted="head")
    assert actual.empirical == pytest.approx(0, abs=1e-12)
    assert actual.complexity == pytest.approx(complexity, abs=5e-5)
    assert actual.bound == pytest.approx(bound, abs=5e-5)
    formula = collapsed_margin_bound(K, n)
    assert formula.bound == pytest.approx(actual.bound, rel=1e-10)
    assert formula.complexity == pytest.approx(actual.complexity, rel=1e-10)


def test_the_best_of_the_grid_at_collapse():
    features, labels, weight = collapsed(10, 5000)
    grid = uniform_margin_bound(features, labels, weight, fitted="head")
    # k = -2: g = ||W|| / 4 = sqrt(10)/4 < 10/9, delta_k = delta / (9 C)
    share = 0.05 / 9 / (math.pi**2 / 3 - 1)
    expected = 4 * 3 * 4 / math.sqrt(50_000) + 3 * math.sqrt(math.log(2 / share) / 1e5)
    assert grid.bound == pytest.approx(expected)
    assert grid.bound == pytest.approx(0.239, abs=1e-3)


def test_hundred_classes_say_nothing_at_fifty_thousand_samples():
    bound = collapsed_margin_bound(100, 50_000)
    assert bound.complexity == pytest.approx(1.762, abs=1e-3)
    assert bound.vacuous


@pytest.mark.parametrize("K", [2, 3, 10, 100, 1000])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_the_informative_size_is_the_least(K, confidence):
    n = informative_sample_size(K, confidence)
    assert not collapsed_margin_bound(K, n, confidence).vacuous
    assert collapsed_margin_bound(K, n - 1, confidence).vacuous


def test_the_informative_size_tends_to_sixteen_squares():
    ratios = [informative_sample_size(K) / (16 * K * K) for K in (100, 1000, 10_000)]
    assert [abs(ratio - 1) for ratio in ratios] == pytest.approx([0.0095, 0.00096, 9.6e-5], rel=0.2)


def test_no_other_margin_of_a_collapsed_classifier_does_with_fewer_samples():
    features, labels, weight = collapsed(3, 36)
    own = 1.5 / math.sqrt(3)
    bounds = [
        margin_bound(features, labels, weight, relative_margin=own * s, fitted="head").bound
        for s in (0.25, 0.5, 0.99, 1.0, 1.01, 2.0, 4.0)
    ]
    assert len(labels) < informative_sample_size(3)
    assert min(bounds) >= 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: collapsed_margin_bound(1, 10), "num_classes: expected at least 2, got 1"),
        (lambda: collapsed_margin_bound(2, 0), "num_samples: expected at least 1, got 0"),
        (lambda: informative_sample_size(2**63), "num_classes: expected at most 16,777,216, got"),
        (lambda: informative_sample_size(1), "num_classes: expected at least 2, got 1"),
        (lambda: informative_sample_size(2, 1.0), r"confidence: expected a number in \(0, 1\)"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()
