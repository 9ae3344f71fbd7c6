import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization import etf_error


@pytest.mark.parametrize("noise", [10.0, 1.0, 0.3, 0.05, 0.03])
def test_two_classes_have_a_tail_of_the_normal_distribution(noise):
    assert etf_error(2, noise) == pytest.approx(norm.cdf(-1 / noise), rel=1e-10)


@pytest.mark.parametrize(("classes", "noise"), [(3, 0.5), (4, 0.8)])
def test_more_classes_have_an_orthant_probability(classes, noise):
    # Right where all K - 1 differences of scores are positive: jointly normal.
    gap = classes / (classes - 1)
    covariance = noise**2 * gap * (np.eye(classes - 1) + 1)
    right = multivariate_normal(np.zeros(classes - 1), covariance, seed=0).cdf(
        np.full(classes - 1, gap)
    )
    assert etf_error(classes, noise) == pytest.approx(1 - right, abs=1e-5)


@given(st.integers(2, 1000), st.floats(0.03, 50))
def test_more_noise_is_more_error_between_nothing_and_chance(classes, noise):
    error = etf_error(classes, noise)
    assert 0 < error < 1 - 1 / classes
    assert etf_error(classes, 1.1 * noise) > error


def test_the_learning_curve_falls_to_the_error_of_the_etf():
    curve = [etf_error(10, 0.4, n, 64) for n in (1, 2, 5, 20, 100, 10**9)]
    assert curve == sorted(curve, reverse=True)
    assert curve[-1] == pytest.approx(etf_error(10, 0.4), rel=1e-6)
    assert etf_error(10, 0.4, 5, 256) > etf_error(10, 0.4, 5, 64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 0.5), "num_classes: expected at least 2"),
        ((4, 0.0), "noise: expected a finite number above 0"),
        ((4, math.nan), "noise: expected a finite number above 0"),
        ((4, 0.5, 3), "dim: expected the number of features, at least 3, got None"),
        ((4, 0.5, 3, 2), "dim: expected the number of features, at least 3, got 2"),
        ((4, 0.5, 0, 8), "samples_per_class: expected at least 1"),
    ],
)
def test_refuses_what_makes_no_sense(arguments, message):
    with pytest.raises(NeuralCollapseError, match=message):
        etf_error(*arguments)
