import math

import numpy as np
import pytest

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization import center_deviation_probability, nearest_center_error_bound


@pytest.mark.parametrize("kind", ["two points", "sphere", "skewed"])
@pytest.mark.parametrize("dim", [1, 5])
def test_means_concentrate_as_stated_whatever_the_dimension(kind, dim):
    rng = np.random.default_rng(0)
    K, n, runs, rho = 2, 30, 1500, 1.0
    shape = (runs, K, n, dim)
    if kind == "two points":
        noise = np.zeros(shape)
        noise[..., 0] = rng.choice([-rho, rho], size=shape[:3])
    elif kind == "sphere":
        noise = rng.normal(size=shape)
        noise *= rho / np.linalg.norm(noise, axis=-1, keepdims=True)
    else:  # mean 0: 1 with probability 0.1, else -1/9
        noise = np.zeros(shape)
        noise[..., 0] = np.where(rng.random(shape[:3]) < 0.1, rho, -rho / 9)
    off = np.linalg.norm(noise.mean(2), axis=-1).max(1)
    informative = 0
    for t in (0.2, 0.35, 0.5, 0.65):
        bound = center_deviation_probability(K, n, t, rho)
        share = np.mean(off >= t)
        assert share <= bound + 5 * math.sqrt(bound / runs)
        informative += bound < 1
    assert informative >= 2


def test_the_nearest_mean_of_fresh_samples_errs_less_than_stated():
    rng = np.random.default_rng(1)
    K, n, distance, rho, runs = 2, 6, 3.0, 1.0, 2000
    centers = np.array([[0.0], [distance]])
    errors = []
    for _ in range(runs):
        fresh = centers[:, None] + rng.choice([-rho, rho], size=(K, n, 1))
        means = fresh.mean(1)
        new = (centers + rng.choice([-rho, rho], size=(200, K, 1))).reshape(-1, 1)
        nearest = np.abs(new - means.T).argmin(1)
        errors.append(np.mean(nearest != np.tile([0, 1], 200)))
    bound = nearest_center_error_bound(K, n, distance, rho)
    assert np.mean(errors) <= bound
    # Any mean nearer than (D - 2 rho) / 2 to its own makes no error at all.
    assert nearest_center_error_bound(K, 200, distance, rho) < 1e-9


def test_the_error_bound_is_the_deviation_at_half_the_gap():
    n, K, D, rho = 50, 7, 5.0, 1.5
    exponent = n * (D - 2 * rho) ** 2 / (8 * rho**2)
    assert nearest_center_error_bound(K, n, D, rho) == pytest.approx(14 * math.exp(-exponent))
    assert nearest_center_error_bound(K, n, 10 * D, 10 * rho) == pytest.approx(
        nearest_center_error_bound(K, n, D, rho)
    )
    assert nearest_center_error_bound(K, 1, D, rho) == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: center_deviation_probability(1, 5, 1.0, 1.0), "num_classes: expected at least 2"),
        (lambda: center_deviation_probability(2, 0, 1.0, 1.0), "num_samples: expected at least 1"),
        (lambda: center_deviation_probability(2, 5, 0.0, 1.0), "deviation: expected a finite num"),
        (lambda: center_deviation_probability(2, 5, 1.0, -1.0), "radius: expected a finite number"),
        (
            lambda: nearest_center_error_bound(2, 5, 2.0, 1.0),
            "distance: expected more than twice the radius, 2, got 2; classes that may meet",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()
