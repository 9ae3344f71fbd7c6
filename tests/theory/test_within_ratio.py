import math

import numpy as np
import pytest
import torch

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.theory import (
    PerturbationOperator,
    near_features_minimizer,
    predicted_within_ratio,
    regularized_mse_minimizer,
    sufficient_statistics,
)

CHANGES = [(1, 1), (1, 2), (1, 0.5), (2, 1), (0.5, 1)]  # factors on lambda_w = 0.5, lambda_h = 0.1


def features(epsilon, seed, lambda_w, lambda_h, centred=False):
    """The collapsed optimum, and it with noise in every entry."""
    generator = torch.Generator().manual_seed(seed)
    best = regularized_mse_minimizer(4, 10, 10, lambda_w, lambda_h, generator)
    noise = torch.randn(best.H.shape, generator=generator, dtype=torch.float64)
    if centred:
        noise = noise - sufficient_statistics(noise, best.labels).means[best.labels]
    return best, best.H + epsilon * noise


def actual_ratio(H0, labels, *strengths):
    before = sufficient_statistics(H0, labels).within.trace()
    return float(near_features_minimizer(H0, labels, *strengths).within.trace() / before)


def errors(epsilon, seed, factors, beta, fixed=False, centred=False):
    """Relative errors: about collapsed means, then about the means of H0 at orders 0 and 1."""
    strengths = (0.5 * factors[0], 0.1 * factors[1])
    best, H0 = features(epsilon, seed, *((0.5, 0.1) if fixed else strengths), centred)
    actual = actual_ratio(H0, best.labels, *strengths, beta)
    within = sufficient_statistics(H0, best.labels).within
    predictions = [
        PerturbationOperator(best.means, best.labels, *strengths, beta).within_ratio(within),
        predicted_within_ratio(H0, best.labels, *strengths, beta, order=0),
        predicted_within_ratio(H0, best.labels, *strengths, beta, order=1),
    ]
    return np.abs(np.array(predictions) / actual - 1)


@pytest.mark.parametrize("factors", CHANGES)
@pytest.mark.parametrize("fixed", [False, True])
def test_order_1_is_precise_where_first_order_about_collapse_is_not(factors, fixed):
    for beta, goal in ((1.0, 1e-3), (100.0, 2e-5)):
        for seed in range(3):
            error = errors(0.03, seed, factors, beta, fixed)[2]
            assert error < goal / 100


def observed_orders(factors, centred, sizes, which=slice(None)):
    """Slopes of log errors against log noise, the errors being averaged over draws."""
    coarse, fine = (
        np.mean([errors(e, seed, factors, 1.0, centred=centred)[which] for seed in range(4)], 0)
        for e in sizes
    )
    return np.log(coarse / fine) / math.log(sizes[0] / sizes[1])


@pytest.mark.parametrize("factors", [(1, 1), (0.5, 1)])
def test_errors_fall_at_the_order_that_each_expansion_leaves_out(factors):
    # Centred noise leaves the class means collapsed: then both expansions agree.
    centred = observed_orders(factors, True, (0.01, 0.003))
    np.testing.assert_allclose(centred, [2, 2, 4], atol=0.05)
    # Noise that moves the means is an error of first order about collapse, of none about them.
    moving = observed_orders(factors, False, (0.01, 0.003))
    np.testing.assert_allclose(moving[1:], [2, 4], atol=0.05)
    tiny = observed_orders(factors, False, (1e-4, 1e-5), slice(2))
    np.testing.assert_allclose(tiny, [1, 2], atol=0.05)


@pytest.mark.parametrize("sizes", [[4, 4, 4], [2, 7, 4]])
def test_any_features_with_small_deviations(sizes):
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(3), sizes))
    means = rng.normal(size=(3, 5))
    noise = torch.from_numpy(rng.normal(size=(len(labels), 5)))
    noise = noise - sufficient_statistics(noise, labels).means[labels]
    strengths = (0.5, 0.1, 4.0)
    gaps = []
    for epsilon in (0.012, 0.004):
        H0 = means[labels] + epsilon * noise.numpy()
        predicted = predicted_within_ratio(H0, labels, *strengths)
        assert predicted_within_ratio(sufficient_statistics(H0, labels), None, *strengths) == (
            pytest.approx(predicted, rel=1e-12)
        )
        gaps.append(abs(predicted / actual_ratio(H0, labels, *strengths) - 1))
    assert math.log(gaps[0] / gaps[1], 3) == pytest.approx(4, abs=0.1)


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"order": 2}, "order: expected one of 0, 1, got 2"),
        ({"H0": np.eye(2), "labels": [0, 1]}, "H0: expected features that deviate from their"),
        ({"beta": 0.0}, "beta: expected a finite number above 0"),
    ],
)
def test_bad_input_is_refused(changes, message):
    H0 = [[2.0, 0.1], [2.0, -0.1], [0.1, 1.0], [-0.1, 1.0]]
    arguments = {"H0": H0, "labels": [0, 0, 1, 1], "lambda_w": 0.5, "lambda_h": 0.1, "beta": 1.0}
    with pytest.raises(NeuralCollapseError, match=message):
        predicted_within_ratio(**(arguments | changes))
