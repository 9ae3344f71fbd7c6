"""Explicit: Dormand and Prince's method of order 8 in log time, for short flows at any size.

log t is the independent variable, so that the steps land on the log times asked for. Stability
allows steps of a few units of log t, whatever the problem: the cost grows like log t itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.integrate import DOP853

from neuralcollapse.theory.flow.field import FlowField
from neuralcollapse.theory.flow.step import Step


def explicit_steps(
    field: FlowField, start: Step, log_times: Sequence[float], rtol: float
) -> Iterator[Step]:
    """Integrate in log t from `start`, landing on each of the increasing log times.

    Ends early where the step size underflows.
    """
    step, size = start, None
    for log_time in log_times:
        solver = DOP853(
            field.log_time_velocity,
            step.log_t,
            step.state,
            log_time,
            first_step=size and min(size, log_time - step.log_t),
            rtol=rtol,
            atol=rtol * float(np.sqrt(np.mean(step.state**2))),
        )
        while solver.t < log_time:
            solver.step()
            if solver.t == step.log_t:
                return
            step = Step(float(solver.t), solver.y, bool(solver.t == log_time))
            # The step that lands is cut short; its successor starts with its natural length.
            size = solver.h_abs
            yield step
