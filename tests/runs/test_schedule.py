import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.runs.schedule import SCHEDULES, Schedule, schedule


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


def test_presets_and_numbers():
    assert [name for name in SCHEDULES if SCHEDULES[name].details] == ["full"]
    assert schedule(3) == Schedule(every=3)
    assert schedule(Schedule(2, True)) == Schedule(2, True)
    for wrong in ("often", 0):
        with pytest.raises(NeuralCollapseError, match="one of economy, business, full, or a numb"):
            schedule(wrong)
