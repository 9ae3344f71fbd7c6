import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse.training import TrainConfig, learning_rate


def rates(steps_per_epoch=4, **values):
    config = TrainConfig(lr=0.8, **values)
    return [learning_rate(config, k, steps_per_epoch) for k in range(config.epochs * 4)]


def test_constant():
    assert rates(lr_schedule="constant", epochs=3) == [0.8] * 12


def test_cosine_is_half_a_period():
    values = rates(epochs=2)
    half = math.sqrt(0.5)
    assert values[::2] == pytest.approx([0.8, 0.4 * (1 + half), 0.4, 0.4 * (1 - half)])


@pytest.mark.parametrize("epochs", [3, 5, 120])
def test_a_tenth_at_each_third(epochs):
    # Papyan, Han & Donoho 2020; the first step that is not before a third of the run has ended.
    values = rates(lr_schedule="step", epochs=epochs)
    for step, value in enumerate(values):
        passed = (3 * step >= 4 * epochs) + (3 * step >= 8 * epochs)
        assert value == pytest.approx(0.8 * 0.1**passed, rel=1e-12)


def test_milestones_are_ends_of_epochs():
    values = rates(lr_schedule="step", epochs=5, milestones=(2, 3), lr_factor=0.5)
    assert values == pytest.approx([0.8] * 8 + [0.4] * 4 + [0.2] * 8)


def test_warm_up_rises_in_equal_steps_to_where_the_schedule_begins():
    values = rates(epochs=6, warmup_epochs=2)
    assert values[:8] == pytest.approx([0.1 * k for k in range(1, 9)])
    assert values[8:] == pytest.approx(rates(epochs=4))


@given(
    schedule=st.sampled_from(["cosine", "step", "constant"]),
    epochs=st.integers(2, 30),
    warmup=st.integers(0, 5),
)
def test_it_never_rises_after_the_warm_up(schedule, epochs, warmup):
    warmup = min(warmup, epochs - 1)
    values = rates(lr_schedule=schedule, epochs=epochs, warmup_epochs=warmup)
    assert all(0 < value <= 0.8 for value in values)
    after = values[4 * warmup :]
    assert after == sorted(after, reverse=True)
    assert after[0] == 0.8 or schedule == "step"
