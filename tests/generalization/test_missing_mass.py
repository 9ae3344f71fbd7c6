import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization import expected_missing_mass_bound, missing_mass_bound


@given(
    weights=st.lists(st.floats(1e-3, 1.0), min_size=1, max_size=30),
    n=st.integers(1, 500),
)
def test_no_distribution_misses_more_in_expectation(weights, n):
    q = np.array(weights) / sum(weights)
    expected = float((q * (1 - q) ** n).sum())
    assert expected <= expected_missing_mass_bound(len(q), n) * (1 + 1e-12)


def test_the_expectation_is_attained_and_off_by_at_most_two_over_e_later():
    assert expected_missing_mass_bound(2, 1) == 2 * 0.5 * 0.5
    for n in (10, 1000):
        worst = (n + 1) * (1 / (n + 1)) * (1 - 1 / (n + 1)) ** n  # n + 1 cells of 1 / (n + 1)
        ratio = worst / expected_missing_mass_bound(n + 1, n)
        assert 2 / math.e < ratio < 1


@pytest.mark.parametrize("kind", ["equal", "geometric", "one heavy cell"])
def test_it_holds_in_simulation(kind):
    rng = np.random.default_rng(0)
    n, cells, runs = 60, 40, 4000
    q = {
        "equal": np.full(cells, 1.0),
        "geometric": 0.8 ** np.arange(cells),
        "one heavy cell": np.r_[1.0, np.full(cells - 1, 0.25 / (cells - 1))],
    }[kind]
    q = q / q.sum()
    unseen = rng.multinomial(n, q, size=runs) == 0
    mass = unseen @ q
    error = 5 * mass.std() / math.sqrt(runs)
    assert mass.mean() == pytest.approx((q * (1 - q) ** n).sum(), abs=error)
    assert mass.mean() <= expected_missing_mass_bound(cells, n)
    for t in (0.02, 0.05, 0.1):  # the concentration, about the exact mean
        share = np.mean(mass > (q * (1 - q) ** n).sum() + t)
        bound = math.exp(-n * t * t)
        assert share <= bound + 5 * math.sqrt(bound / runs)
    assert np.mean(mass <= missing_mass_bound(cells, n, 0.9)) >= 0.9


def test_more_samples_help_and_more_cells_and_confidence_cost():
    assert missing_mass_bound(10, 100) > missing_mass_bound(10, 200)
    assert missing_mass_bound(10, 100) < missing_mass_bound(11, 100)
    assert missing_mass_bound(10, 100, 0.9) < missing_mass_bound(10, 100, 0.99)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: expected_missing_mass_bound(0, 5), "num_cells: expected at least 1, got 0"),
        (lambda: missing_mass_bound(5, 0), "num_samples: expected at least 1, got 0"),
        (lambda: missing_mass_bound(5, 5, 0.0), r"confidence: expected a number in \(0, 1\)"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()
