import math

import numpy as np
import pytest
from scipy.stats import binom

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization import (
    cantelli_plug_in,
    clopper_pearson_upper,
    distribution_free_floor,
)


@pytest.mark.parametrize("n", [10, 100, 1000, 10**6])
def test_it_tends_to_a_log_over_n(n):
    floor = distribution_free_floor(n)
    limit = math.log(10) / n
    assert limit - limit**2 / 2 <= floor <= limit


def test_of_many_samples_no_digit_is_lost():
    assert distribution_free_floor(10**14) == pytest.approx(math.log(10) / 10**14, rel=1e-9, abs=0)


@pytest.mark.parametrize("n", [1, 5, 50, 500])
@pytest.mark.parametrize("confidence", [0.6, 0.95, 0.999])
@pytest.mark.parametrize("error", [0.0, 0.01, 0.3])
def test_the_median_of_an_exact_bound_keeps_above_it(n, confidence, error):
    uppers = clopper_pearson_upper(np.arange(n + 1), n, confidence)
    median = uppers[int(binom.median(n, error))]
    assert median >= distribution_free_floor(n, confidence)


def test_what_keeps_below_it_fails_in_the_adversarial_mixture():
    # A bound that says 90 % of the floor unless it sees an error: below the floor always, where
    # there is none. Mixed with errors of that probability and more, it fails too often.
    n, delta = 80, 0.05
    floor = distribution_free_floor(n, 1 - delta)
    said = 0.9 * floor
    share = (said + floor) / 2
    generator = np.random.default_rng(0)
    errors = generator.random((4000, n)) < share
    bounds = np.where(errors.any(1), 1.0, said)
    failures = (bounds < share).mean()
    assert failures > delta
    exact = (1 - share) ** n
    assert exact > 2 * delta
    deviation = math.sqrt(exact * (1 - exact) / 4000)
    assert failures == pytest.approx(exact, abs=4 * deviation)


def test_a_bound_from_collapse_goes_below_it_and_a_mixture_breaks_it():
    n = 200
    floor = distribution_free_floor(n)
    generator = np.random.default_rng(1)
    margins = generator.normal(1.0, 0.01, (1000, n))
    assert np.median(cantelli_plug_in(margins)) < floor
    mixed = np.where(generator.random((1000, n)) < floor, -1.0, margins)
    failures = (cantelli_plug_in(mixed) < floor).mean()
    assert failures > 0.05  # 2 delta by the proof


def test_at_even_odds_nothing_is_promised_about_it():
    assert distribution_free_floor(10, 0.5) == 0.0
    assert distribution_free_floor(10, 0.2) == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "num_samples: expected at least 1, got 0"),
        ((5, 1.5), r"confidence: expected a number in \(0, 1\), got 1.5"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(NeuralCollapseError, match=message):
        distribution_free_floor(*arguments)
