import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.runs import Schedule
from neuralcollapse.runs.schedule import KEPT, SCHEDULES, schedule


@given(every=st.integers(1, 20), last=st.integers(1, 60))
def test_every_so_many_epochs_the_first_and_the_last(every, last):
    due = {epoch for epoch in range(1, last + 1) if Schedule(every).due(epoch, last)}
    assert due == {1, last, *range(every, last + 1, every)}


def test_economy_keeps_to_ten_in_each_decade():
    due = [epoch for epoch in range(1, 10_001) if SCHEDULES["economy"].due(epoch)]
    marks = {round(10 ** (mark / 10)) for mark in range(41)}
    assert due == sorted(marks)
    for decade in (1, 2, 3):
        assert len([epoch for epoch in due if 10**decade <= epoch < 10 ** (decade + 1)]) == 10


@given(st.integers(1, 3000), st.integers(1, 30), st.integers(1, 30))
def test_dense_first_then_even_in_the_logarithm(last, dense, per_decade):
    chosen = Schedule(None, dense=dense, per_decade=per_decade).epochs(last)
    assert chosen[: min(dense, last)] == list(range(1, min(dense, last) + 1))
    assert chosen == sorted(set(chosen))
    assert chosen[-1] == last
    ratio = 10 ** (1 / per_decade)
    for early, late in pairwise(epoch for epoch in chosen[:-1] if epoch >= dense):
        # Rounding moves each by at most a half; before a mark there is one at most so far away.
        assert (late - 0.5) / (early + 0.5) <= ratio * (1 + 1e-12)
    decades = max(0.0, math.log10(last / dense))
    assert len(chosen) <= min(dense, last) + decades * per_decade + 2


def test_these_epochs_alone_and_the_last():
    assert Schedule(at=(7, 2, 2, 30)).epochs(10) == [2, 7, 10]
    assert Schedule(at=()).epochs(10) == [10]


def test_geometry_is_kept_of_some_epochs():
    assert len(KEPT.epochs(400)) == 34
    assert KEPT.epochs(6) == [1, 2, 3, 4, 5, 6]


@given(st.integers(1, 9), st.integers(1, 200))
def test_whatever_is_measured_something_of_each_mark_is_kept(every, last):
    """Measured rarely, the first measurement at or after each mark stands for it."""
    measured, kept = Schedule(every).epochs(last), []
    for since, epoch in pairwise([0, *measured]):
        if KEPT.passed(since, epoch, last):
            kept.append(epoch)
    assert kept == sorted({min(e for e in measured if e >= mark) for mark in KEPT.epochs(last)})


def test_presets_and_numbers():
    assert [name for name in SCHEDULES if SCHEDULES[name].details] == ["full"]
    assert schedule(3) == Schedule(every=3)
    assert schedule(Schedule(2, True)) == Schedule(2, True)
    for wrong in ("often", 0):
        with pytest.raises(NeuralCollapseError, match="one of economy, business, full, or a numb"):
            schedule(wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every: expected at least 1, got 0; use 1 for every epoch"),
        ({"per_decade": 0}, "per_decade: expected at least 1, got 0"),
        ({"at": (3, 0)}, "at: expected epochs from 1 on, got 0; number the epochs from 1"),
    ],
)
def test_numbers_below_one_are_refused(options, message):
    with pytest.raises(NeuralCollapseError, match=message):
        Schedule(**options)
