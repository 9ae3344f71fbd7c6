import math

import numpy as np
import pytest
from scipy.integrate import quad

from neuralcollapse.theory.flow.clock import ClockReading, advance_clock


@pytest.mark.parametrize("width", [1e-9, 1e-3, 0.9, 1.1, 30.0])
def test_the_integral_is_exact_for_a_cubic_pace(width):
    cubic = np.polynomial.Polynomial([3.0, 0.4, -0.02, 0.001])
    slope = cubic.deriv()
    readings = [ClockReading(x, cubic(x), slope(x)) for x in (0.0, width)]
    expected, _ = quad(lambda u: math.exp(u) * cubic(u), 0, width, epsabs=0, epsrel=1e-13)
    assert advance_clock(-np.inf, *readings) == pytest.approx(math.log(expected), abs=1e-12)


def test_the_clock_runs_on_where_t_overflows():
    # w = 1: t grows by e^x, from e^1000 to e^2000.
    readings = ClockReading(1000.0, 1.0, 0.0), ClockReading(2000.0, 1.0, 0.0)
    assert advance_clock(1000.0, *readings) == pytest.approx(2000.0, abs=1e-12)


def test_two_steps_are_one():
    ends = [ClockReading(x, 2.0 + x, 1.0) for x in (0.0, 0.5, 3.0)]
    once = advance_clock(0.3, ends[0], ends[2])
    twice = advance_clock(advance_clock(0.3, ends[0], ends[1]), ends[1], ends[2])
    assert once == pytest.approx(twice, abs=1e-13)


@pytest.mark.parametrize(
    "end", [ClockReading(-0.1, 1.0, 0.0), ClockReading(0.0, 1.0, 0.0), ClockReading(8.0, 1.0, 40.0)]
)
def test_a_step_that_raised_the_loss_or_was_too_long_has_no_time(end):
    start = ClockReading(0.0, 1.0, -40.0)
    assert math.isnan(advance_clock(0.0, start, end))
