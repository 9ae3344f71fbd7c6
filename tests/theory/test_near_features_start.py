import numpy as np
import pytest

from neuralcollapse.theory import near_features_minimizer, sufficient_statistics
from neuralcollapse.theory.near_features_objective import NearFeaturesObjective
from neuralcollapse.theory.near_features_start import closed_form_starts


def starts_and_least(H0, labels, lambda_w, lambda_h, beta):
    objective = NearFeaturesObjective(sufficient_statistics(H0, labels), lambda_w, lambda_h, beta)
    least = near_features_minimizer(H0, labels, lambda_w, lambda_h, beta).value * len(
        objective.means
    )
    values = [objective.expand(W).value for W in closed_form_starts(objective)]
    assert values == sorted(values)
    return values, least


@pytest.mark.parametrize("beta", [1e-3, 0.3, 10.0])
@pytest.mark.parametrize("shape", [(4, 6), (4, 4), (5, 2)])
def test_exact_without_deviations(shape, beta):
    H0 = np.random.default_rng(0).normal(size=shape)
    values, least = starts_and_least(H0, np.arange(shape[0]), 0.5, 0.1, beta)
    assert len(values) == 2
    assert values[0] == pytest.approx(least, rel=1e-13)


@pytest.mark.parametrize("sizes", [[3, 3, 3], [1, 4, 2]])
def test_the_error_vanishes_with_the_pull(sizes):
    rng = np.random.default_rng(1)
    H0 = rng.normal(size=(sum(sizes), 5))
    labels = np.repeat(np.arange(3), sizes)
    gaps = []
    for beta in (1e-2, 1e-3):
        values, least = starts_and_least(H0, labels, 0.5, 0.1, beta)
        gaps.append(values[0] / least - 1)
    assert 0 <= gaps[1] < gaps[0] / 50  # of second order: the start is a minimum at beta = 0
