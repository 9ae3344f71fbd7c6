from decimal import Decimal, localcontext
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization import clopper_pearson_upper, cross_fit_certificate
from neuralcollapse.generalization.certificates.clopper_pearson import count_upper
from neuralcollapse.generalization.certificates.held_out import failure_probability
from neuralcollapse.generalization.certificates.per_class import class_uppers


@given(n=st.integers(1, 300), share=st.floats(0, 1), confidence=st.floats(0.5, 0.999))
def test_it_is_scipys_exact_interval(n, share, confidence):
    k = round(share * n)
    interval = binomtest(k, n, alternative="less").proportion_ci(confidence, "exact")
    assert clopper_pearson_upper(k, n, confidence) == pytest.approx(interval.high, rel=1e-9)


@given(n=st.integers(1, 200), confidence=st.floats(0.5, 0.999))
def test_its_coverage_is_at_least_nominal_at_every_error(n, confidence):
    uppers = clopper_pearson_upper(np.arange(n + 1), n, confidence)
    assert (np.diff(uppers) > 0).all()
    for error in np.linspace(0.001, 1, 57):
        coverage = binom.pmf(np.flatnonzero(uppers >= error), n, error).sum()
        assert coverage >= confidence - 1e-12
    # and no bound could be lower: just above the bound for k errors it is attained.
    k = n // 3
    coverage = binom.sf(k, n, uppers[k])
    assert coverage == pytest.approx(confidence, rel=1e-9)


def test_without_an_error_it_is_a_root_and_with_all_wrong_it_is_one():
    assert clopper_pearson_upper(0, 50, 0.99) == pytest.approx(1 - 0.01 ** (1 / 50), rel=1e-12)
    assert clopper_pearson_upper(50, 50) == 1.0


@pytest.mark.parametrize("delta", [2.0**-53, 1e-14, 1e-6, 0.05, 0.3, 1 - 1e-12, 1e-40])
def test_it_is_never_below_the_exact_bound_and_hardly_above(delta):
    """The exact tail at the bound is at most delta; at one a trifle lower it is more."""
    for n in (1, 2, 3, 7, 20, 45):
        for k in sorted({0, 1, n // 2, n - 1} & set(range(n))):
            upper = count_upper(k, n, delta)
            assert tail(k, n, Fraction(upper)) <= Fraction(delta)
            below = Fraction(upper) * (1 - Fraction(1, 10**11))
            assert tail(k, n, below - Fraction(1, 2**52)) > Fraction(delta)


@pytest.mark.parametrize(
    ("k", "n"), [(1, 1_947_809_540), (2, 1_208_844_208), (1, 10**8), (0, 2**53)]
)
def test_of_billions_of_samples_it_is_not_below_either(k, n):
    upper, delta = clopper_pearson_upper(k, n, 0.7), 1 - 0.7
    below = upper * (1 - 1e-9)
    assert poisson_like(k, n, upper) <= delta < poisson_like(k, n, below)


@given(confidence=st.floats(1e-300, 1 - 1e-16))
def test_a_level_is_never_rounded_up(confidence):
    delta = failure_probability(confidence)
    assert Fraction(delta) <= 1 - Fraction(confidence)
    assert delta == pytest.approx(1 - confidence, rel=1e-15)


def test_shares_of_a_level_near_one_are_exact():
    """The level 1 - delta / 10,000 is no number of its own any more: its complement is."""
    labels, confidence = np.arange(10_000), 1 - 1e-13
    found = class_uppers(np.ones(10_000), labels, None, confidence)["upper"]
    assert found.to_numpy() == pytest.approx(1 - (1 - confidence) / 10_000, abs=2e-16)
    folds = [[1.0] * 40] * 1000
    upper = cross_fit_certificate(folds, confidence).upper
    assert upper == pytest.approx(1 - ((1 - confidence) / 1000) ** (1 / 40), rel=1e-9)


def tail(k, n, p):
    """Return P(Bin(n, p) <= k) as a fraction."""
    return sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))


def poisson_like(k, n, p):
    """Return P(Bin(n, p) <= k) for few errors, with 40 digits."""
    with localcontext(prec=40):
        p = Decimal(p)
        q = (1 - p).ln()
        return sum(comb(n, i) * p**i * (q * (n - i)).exp() for i in range(k + 1))


def test_counts_broadcast():
    both = clopper_pearson_upper(np.array([[0], [2]]), np.array([10, 20, 30]))
    assert both.shape == (2, 3)
    assert both[1, 2] == clopper_pearson_upper(2, 30)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 2), r"errors: expected whole numbers 0 <= errors <= num_samples <= 2\^53"),
        ((-1, 2), "got errors = -1, num_samples = 2; count the held-out samples"),
        ((0, 0), "num_samples >= 1, got errors = 0, num_samples = 0"),
        ((0.5, 2), "whole numbers 0 <= errors"),
        ((0, 2**53 + 1), r"num_samples <= 2\^53, num_samples >= 1, got errors = 0"),
        ((0, 2, 1.0), r"confidence: expected a number in \(0, 1\), got 1.0; use 0.95 for 95 %"),
        ((0, 2, 0.0), r"confidence: expected a number in \(0, 1\), got 0.0"),
        ((0, 2, float("nan")), r"confidence: expected a number in \(0, 1\), got nan"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(NeuralCollapseError, match=message):
        clopper_pearson_upper(*arguments)
