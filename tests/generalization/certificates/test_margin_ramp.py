import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import binom

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.generalization import (
    cantelli_plug_in,
    clopper_pearson_upper,
    margin_ramp_upper,
)

MARGINS = st.lists(st.floats(-5, 5), min_size=1, max_size=40)
GRID = st.lists(st.floats(0.01, 10), min_size=1, max_size=5)


def naive(margins, thresholds, confidence):
    """Return the bound by loops and a root finder."""
    n, bounds = len(margins), []
    for t in thresholds:
        mean = 0.0
        for m in margins:
            mean += (1.0 if m <= 0 else 0.0 if m >= t else (1 - m / t) ** 2) / n
        level = math.log(len(thresholds) / (1 - confidence)) / n

        def excess(p, mean=mean, level=level):
            first = mean * math.log(mean / p) if mean > 0 else 0.0
            second = (1 - mean) * math.log((1 - mean) / (1 - p)) if mean < 1 else 0.0
            return first + second - level

        top = 1 - 1e-16
        if mean >= top or excess(top) < 0:
            bounds.append(1.0)
        else:
            bounds.append(brentq(excess, max(mean, 1e-300), top, xtol=1e-15))
    return min(bounds)


@given(margins=MARGINS, thresholds=GRID, confidence=st.floats(0.5, 0.999))
def test_it_is_the_definition(margins, thresholds, confidence):
    found = margin_ramp_upper(margins, thresholds, confidence)
    assert found == pytest.approx(naive(margins, thresholds, confidence), rel=1e-8)


@given(margins=MARGINS, thresholds=GRID, confidence=st.floats(0.5, 0.999))
def test_it_cannot_beat_the_count(margins, thresholds, confidence):
    errors = sum(m <= 0 for m in margins)
    exact = clopper_pearson_upper(errors, len(margins), confidence)
    assert margin_ramp_upper(margins, thresholds, confidence) >= exact * (1 - 1e-12)


@given(margins=MARGINS, thresholds=GRID, power=st.integers(-8, 8))
def test_the_units_of_a_logit_do_not_matter(margins, thresholds, power):
    scaled = margin_ramp_upper(np.array(margins) * 2.0**power, np.array(thresholds) * 2.0**power)
    assert scaled == margin_ramp_upper(margins, thresholds)


def test_its_coverage_is_at_least_nominal_for_every_bernoulli_margin():
    # Margins of 0 (an error) or t: the ramp is the count, the coverage a sum of binomials.
    for n in (5, 60):
        errors = np.arange(n + 1)
        margins = np.where(np.arange(n) < errors[:, None], 0.0, 1.0)
        uppers = margin_ramp_upper(margins, [1.0], 0.9)
        assert uppers.shape == (n + 1,)
        for error in np.linspace(0.01, 1, 40):
            assert binom.pmf(np.flatnonzero(uppers >= error), n, error).sum() >= 0.9 - 1e-12


def test_the_least_unclipped_square_is_cantellis():
    sample = np.random.default_rng(0).normal(2, 1, 50)
    best = minimize_scalar(
        lambda log_t: np.square(1 - sample / np.exp(log_t)).mean(), bounds=(-2, 4)
    )
    assert best.fun == pytest.approx(cantelli_plug_in(sample), rel=1e-8)


def test_leading_axes_are_samples_of_their_own():
    sample = np.random.default_rng(0).normal(1, 1, (2, 3, 20))
    together = margin_ramp_upper(sample, [1.0, 0.5])
    assert together.shape == (2, 3)
    assert together[1, 2] == margin_ramp_upper(sample[1, 2], [1.0, 0.5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], []), "thresholds: expected one or more finite numbers above 0, got \\[\\]"),
        (([1.0], [1.0, 0.0]), "above 0, got .*; choose them from the training margins"),
        (([1.0], [-1.0]), "thresholds: expected one or more finite numbers above 0"),
        (
            ([1.0], [float("nan")]),
            "thresholds: expected finite numbers, got 1 NaN or infinite of 1",
        ),
        (
            ([1.0], [float("inf")]),
            "thresholds: expected finite numbers, got 1 NaN or infinite of 1",
        ),
        (([], [1.0]), "margins: expected at least one sample, got none; hold out some"),
        ((1.0, [1.0]), r"margins: expected at least one axis, got shape \(\); pass one margin per"),
        (([1.0], [1.0], 0.0), r"confidence: expected a number in \(0, 1\), got 0.0"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(NeuralCollapseError, match=message):
        margin_ramp_upper(*arguments)


def test_nan_is_refused():
    with pytest.raises(NonFiniteError, match="margins: expected finite numbers, got 1 NaN or inf"):
        margin_ramp_upper([1.0, float("nan")], [1.0])
