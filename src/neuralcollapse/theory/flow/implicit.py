"""Implicit: LSODA in log time with the dense Jacobian, for small problems to the end.

The steps grow in proportion to log t, so that the cost grows like log log t; each costs the
factorisation of a dense matrix of size d(K + N).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.integrate import LSODA
from threadpoolctl import ThreadpoolController

from neuralcollapse.theory.flow.field import FlowField
from neuralcollapse.theory.flow.step import Step


def implicit_steps(
    field: FlowField, start: Step, log_times: Sequence[float], rtol: float
) -> Iterator[Step]:
    """Integrate in log t from `start`, landing on each of the increasing log times.

    Ends early where the step size underflows or the state is no longer finite.
    """
    solver = LSODA(
        field.log_time_velocity,
        start.log_t,
        start.state,
        log_times[-1],
        first_step=min(0.1, log_times[-1] - start.log_t),  # its own guess overflows e^{log t}
        rtol=rtol,
        atol=rtol * float(np.sqrt(np.mean(start.state**2))),
        jac=field.log_time_jacobian,
    )
    # Threads that factorise a matrix this small wait for each other: on two cores with other work
    # beside, two took seven times the CPU time of one.
    threads = ThreadpoolController()
    pending = list(log_times)
    while pending:
        before = solver.t
        with threads.limit(limits=1, user_api="blas"):
            solver.step()
        if solver.t == before or not np.isfinite(solver.y).all():
            return
        # A multistep method passes the log times asked for and reads them off its polynomial.
        while pending and pending[0] < solver.t:
            log_time = pending.pop(0)
            yield Step(log_time, solver.dense_output()(log_time), True)
        landed = bool(pending and pending[0] == solver.t)
        yield Step(float(solver.t), solver.y, landed)
        if landed:
            pending.pop(0)
