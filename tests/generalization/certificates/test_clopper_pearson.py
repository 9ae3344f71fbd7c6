import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization import clopper_pearson_upper


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


def test_counts_broadcast():
    both = clopper_pearson_upper(np.array([[0], [2]]), np.array([10, 20, 30]))
    assert both.shape == (2, 3)
    assert both[1, 2] == clopper_pearson_upper(2, 30)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 2), "errors: expected whole numbers 0 <= errors <= num_samples, num_samples >= 1"),
        ((-1, 2), "got errors = -1, num_samples = 2; count the held-out samples"),
        ((0, 0), "num_samples >= 1, got errors = 0, num_samples = 0"),
        ((0.5, 2), "whole numbers 0 <= errors"),
        ((0, 2, 1.0), r"confidence: expected a number in \(0, 1\), got 1.0; use 0.95 for 95 %"),
        ((0, 2, 0.0), r"confidence: expected a number in \(0, 1\), got 0.0"),
        ((0, 2, float("nan")), r"confidence: expected a number in \(0, 1\), got nan"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(NeuralCollapseError, match=message):
        clopper_pearson_upper(*arguments)
