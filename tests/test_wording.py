"""Rounding that never favours the claim, against decimals and against the exact bound."""

import re
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from neuralcollapse.generalization import ErrorCertificate, clopper_pearson_upper
from neuralcollapse.wording import accuracy, at_least, at_most, count, share

NONE = pd.DataFrame()
SHARES = st.floats(0, 1, exclude_min=True, exclude_max=True)


def _read(text: str) -> Decimal:
    return Decimal(text.removesuffix(" %").replace(",", "")) / 100


@given(SHARES)
def test_bounds_are_rounded_to_the_safe_side_within_a_hundredth(p):
    exact = Decimal(repr(p))
    room = Decimal("0.0101") * min(exact, 1 - exact)
    assert exact <= _read(at_most(p)) <= exact + room
    assert exact - room <= _read(at_least(p)) <= exact
    assert abs(_read(share(p)) - exact) <= room / 2


@given(SHARES)
def test_nothing_and_everything_are_said_of_nothing_else(p):
    for write in (share, at_most, at_least):
        assert 0 < _read(write(p)) < 1
    assert {write(0.0) for write in (share, at_most, at_least)} == {"0 %"}
    assert {write(1.0) for write in (share, at_most, at_least)} == {"100 %"}


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (at_most, 0.22015, "22.1 %"),
        (at_most, 3e-5, "0.003 %"),
        (at_least, 0.95, "95 %"),
        (at_least, 0.2, "20 %"),
        (at_most, 1.5, "150 %"),
        (share, 1e300, "1·10³⁰² %"),
        (at_most, float("inf"), "infinite %"),
        (share, 0.5, "50 %"),
        (share, None, "undefined"),
        (share, float("nan"), "undefined"),
        (count, 2107, "2,107"),
    ],
)
def test_as_a_reader_expects(write, value, text):
    assert write(value) == text


def test_a_thousand_sentences_are_never_on_the_unsafe_side():
    """What the sentence promises is at least the exact bound, at no more than the confidence."""
    random = np.random.default_rng(16)
    for _ in range(1000):
        n = int(np.exp(random.uniform(0, np.log(3000))))
        k = min(n, int(random.choice([0, 1, n, random.integers(0, n + 1)])))
        confidence = float(random.choice([0.95, 0.99, 1 - np.exp(random.uniform(-14, -0.1))]))
        upper = clopper_pearson_upper(k, n, confidence)
        sentence = ErrorCertificate(upper, confidence, k, n, 0.0, NONE, None, {}).sentence
        said, upper, errors, samples, rate = re.fullmatch(
            r"At (\S+ %) confidence the error on new data is at most (\S+ %): (\S+) of (\S+) "
            r"held-out samples (?:is|are) misclassified \((\S+ %)\)\.",
            sentence,
        ).groups()
        assert (errors, samples) == (f"{k:,}", f"{n:,}")
        assert (" is mis" in sentence) == (k == 1)
        assert float(_read(said)) <= confidence
        if k == n:
            assert upper == "100 %"
        else:  # an error of what is promised, or more, gives so few errors at most so often
            assert binom.cdf(k, n, float(_read(upper))) <= (1 - confidence) * (1 + 1e-9)
            assert 0 < _read(upper) < 1
        assert (rate == "0 %") == (k == 0)
        assert (rate == "100 %") == (k == n)


def test_zero_has_no_sign():
    assert accuracy(-0.0) == share(-0.0) == at_most(-0.0) == "0 %"
    assert accuracy(-1e-9) == share(-1e-9) == "-0.0000001 %"
