"""The implicit method steps on one thread of BLAS, and leaves those of others as they were."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from neuralcollapse.theory.flow.field import FlowField
from neuralcollapse.theory.flow.implicit import implicit_steps
from neuralcollapse.theory.flow.step import Step


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_steps_take_one_thread_and_the_caller_keeps_its_own(monkeypatch):
    field, inside = FlowField(np.array([0, 1]), 2, 1), set()
    velocity = field.log_time_velocity

    def watched(log_t, state):
        inside.update(blas_threads())
        return velocity(log_t, state)

    monkeypatch.setattr(field, "log_time_velocity", watched)
    start = Step(1.0, np.array([1.0, -1.0, 1.0, -1.0]), False)
    with threadpool_limits(2, "blas"):
        if blas_threads() != {2}:
            pytest.skip("BLAS has one thread here")
        between = [
            (step.landed, blas_threads()) for step in implicit_steps(field, start, [9], 1e-6)
        ]
    assert between[-1] == (True, {2})
    assert all(threads == {2} for _, threads in between)
    assert inside == {1}
