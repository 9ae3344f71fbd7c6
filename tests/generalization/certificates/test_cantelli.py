import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.generalization import (
    cantelli_plug_in,
    cantelli_upper,
    clopper_pearson_upper,
)

MARGINS = st.lists(st.floats(-5, 5), min_size=2, max_size=60)


@given(margins=MARGINS, ceiling=st.floats(0.01, 10), confidence=st.floats(0.5, 0.999))
def test_it_is_the_definition(margins, ceiling, confidence):
    clipped = [min(max(m, 0.0), ceiling) for m in margins]
    n, level = len(margins), math.log(2 / (1 - confidence))
    sigma = statistics.stdev(clipped) + ceiling * math.sqrt(2 * level / (n - 1))
    mu = statistics.fmean(clipped) - sigma * math.sqrt(2 * level / n) - ceiling * level / (3 * n)
    expected = 1.0 if mu <= 0 else 1 / (1 + (mu / sigma) ** 2)
    assert cantelli_upper(margins, ceiling, confidence) == pytest.approx(expected, rel=1e-9)


@given(margins=MARGINS, ceiling=st.floats(0.01, 10), power=st.integers(-8, 8))
def test_neither_units_nor_outliers_matter(margins, ceiling, power):
    here = cantelli_upper(margins, ceiling)
    far = [m * 1e6 if m < 0 or m > ceiling else m for m in margins]
    assert cantelli_upper(np.array(far), ceiling) == here
    assert cantelli_upper(np.array(margins) * 2.0**power, ceiling * 2.0**power) == here


@pytest.mark.parametrize("n", [20, 200])
def test_its_coverage_is_at_least_nominal_for_every_bernoulli_margin(n):
    margins = np.where(np.arange(n) < np.arange(n + 1)[:, None], -3.0, 1.0)
    for ceiling in (1.0, 2.0):
        uppers = cantelli_upper(margins, ceiling, 0.8)
        assert (np.diff(uppers) >= 0).all()
        for error in np.linspace(0.005, 0.995, 60):
            assert binom.pmf(np.flatnonzero(uppers >= error), n, error).sum() >= 0.8


def test_it_tends_to_the_population_value_as_the_sample_grows():
    # Margins 0 or 1 with probability 1/10 and 9/10: Cantelli is attained, the limit is 1/10.
    gaps = []
    for n in (10**3, 10**4, 10**5, 10**6):
        sample = np.ones(n)
        sample[: n // 10] = 0
        gaps.append(cantelli_upper(sample, 1.0) - 0.1)
    orders = -np.diff(np.log10(gaps))
    assert (np.array(gaps) > 0).all()
    assert orders[-1] == pytest.approx(0.5, abs=0.05)


@given(margins=st.lists(st.floats(-5, 5), min_size=1, max_size=60))
def test_the_plug_in_bounds_the_errors_of_its_own_sample(margins):
    share = sum(m <= 0 for m in margins) / len(margins)
    assert cantelli_plug_in(margins) >= share - 1e-9


def test_the_plug_in_by_hand_and_where_it_has_nothing_to_say():
    assert cantelli_plug_in([1.0, 3.0, 2.0, 2.0]) == pytest.approx(0.5 / 4.5)
    assert cantelli_plug_in([-1.0, 1.0]) == 1.0
    assert cantelli_plug_in([2.0, 2.0]) == 0.0
    np.testing.assert_allclose(cantelli_plug_in([[1.0, 3.0], [-1.0, -3.0]]), [0.2, 1.0])


def test_the_plug_in_promises_less_than_any_count_where_collapse_is_deep():
    sample = np.random.default_rng(0).normal(1, 1e-3, 100)
    assert cantelli_plug_in(sample) < 1e-5 < clopper_pearson_upper(0, 100)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], 0.0), "ceiling: expected a finite number above 0, got 0.0"),
        (([1.0, 2.0], -1.0), "ceiling: expected a finite number above 0, got -1.0"),
        (([1.0, 2.0], float("nan")), "ceiling: expected a finite number above 0, got nan"),
        (([1.0], 1.0), "margins: expected at least 2 samples for a variance, got 1; hold out"),
        (([1.0, 2.0], 1.0, 1.0), r"confidence: expected a number in \(0, 1\), got 1.0"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(NeuralCollapseError, match=message):
        cantelli_upper(*arguments)


@pytest.mark.parametrize("call", [lambda m: cantelli_upper(m, 1.0), cantelli_plug_in])
def test_nan_is_refused(call):
    with pytest.raises(NonFiniteError, match="got 2 NaN or infinite of 3; find which samples"):
        call([1.0, float("nan"), float("inf")])
