"""Very late in the flow: what is not yet collapsed is followed as an earlier, smaller state.

Near collapse every margin grows alike, and steps of the linearised flow may be as long as the state
itself. Where margins still differ, a step that changes them by a share x bends them by x^2 times
their size: a million of margin leaves steps of a thousandth, and an end point whose margins are off
by more than one has weights e^{-margin} that mean nothing. But the logits are bilinear, so that a
state divided by sqrt(tau) has margins divided by tau and goes the same way, with weights e^{-margin
/ tau}: that of margins 1e4 is followed, by steps that see them to 1e-4, and grown again at the end,
little by little, so that weights find their places each time. Events on the way, such as a sample
whose margin meets those of the others, are so placed to about 1e-4 of their log t.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from neuralcollapse.theory.flow.field import FlowField
from neuralcollapse.theory.flow.projection import Conserved
from neuralcollapse.theory.flow.rosenbrock import rosenbrock_steps
from neuralcollapse.theory.flow.step import Step
from neuralcollapse.theory.layer_peeled import advantages
from neuralcollapse.validation import Array

WORKING = 1e4  # log t to which a late state is reduced
SETTLED = 1.01  # largest over minimum margin at log t = 1e4 from which full size will do
ALIKE = 20.0  # spread of margins that growing back leaves as it is: weights within e^20
GROWTH = 1.25
SHORT = 0.97  # share of a log time that is left to full size
RELAXED = 50.0  # log t in which weights find their places after a change of scale


def late_steps(
    field: FlowField, start: Step, log_times: Sequence[float], rtol: float, target: Conserved
) -> Iterator[Step]:
    """Integrate from `start`, landing on each of the increasing log times.

    To log t = 1e4, and where all margins are alike, by `rosenbrock_steps` as it is. Ends early
    where that does.
    """
    point = start
    for log_time in log_times:
        stops = [log_time]
        if log_time > 2 * WORKING:
            early = rosenbrock_steps(field, point, _after(point, WORKING), rtol, target)
            for point in early:
                yield Step(point.log_t, point.state, False)
            if point.log_t < WORKING:
                return
            least, largest = _extremes(field, point.state)
            if largest > SETTLED * least and point.log_t < SHORT * log_time:
                reduced = _follow_reduced(field, point, SHORT * log_time, rtol, target)
                if reduced is not None:  # else go on at full size
                    point = reduced
                    yield point
            # The last weights find their places in a short step: a long one scatters them.
            stops = [*_after(point, log_time - RELAXED), log_time]
        rest = rosenbrock_steps(field, point, stops, rtol, target)
        for point in rest:
            yield Step(point.log_t, point.state, point.log_t == log_time)
        if point.log_t < log_time:
            return


def _after(point: Step, log_time: float) -> list[float]:
    return [log_time] if point.log_t < log_time else []


def _extremes(field: FlowField, state: Array) -> tuple[float, float]:
    """Return the least and the largest margin of a sample against another class."""
    W, H = field.split(state)
    behind = -advantages(H @ W.T, field.labels)
    return float(behind.min()), float(behind.max(where=np.isfinite(behind), initial=-np.inf))


def _follow_reduced(
    field: FlowField, point: Step, end: float, rtol: float, target: Conserved
) -> Step | None:
    """Follow the flow to about log t = `end` at a log t of 1e4 to 2e4, and grow back."""
    tau, state, log_t = 1.0, point.state, point.log_t
    while log_t < end:
        factor = log_t / tau / WORKING
        tau, state = tau * factor, state / math.sqrt(factor)
        goal = min(2 * WORKING, end / tau)
        advanced = _advance(field, state, max(goal, WORKING + RELAXED), rtol, target, tau)
        if advanced is None:
            return None
        state, log_t = advanced.state, tau * advanced.log_t
        least, largest = _extremes(field, state)
        if largest < least + ALIKE:
            break  # the rest of the way is smooth at full size
    while tau > 1:
        factor = min(GROWTH, tau)
        tau, state = tau / factor, state * math.sqrt(factor)
        advanced = _advance(field, state, None, rtol, target, tau)
        if advanced is None:
            return None
        state, log_t = advanced.state, advanced.log_t
    return Step(log_t, state, False)


def _advance(
    field: FlowField,
    state: Array,
    log_time: float | None,
    rtol: float,
    target: Conserved,
    tau: float,
) -> Step | None:
    """Follow a state of scale 1 / sqrt(tau) to a log time of its own, or until it has relaxed."""
    reduced = Conserved(target.balance / tau, target.mean_row / math.sqrt(tau))
    here = field.evaluate(state)
    # t forgets: late in the flow log t = -log L - log |grad log L|^2, up to 1 / log t.
    now = -here.log_loss - math.log(float(here.gradient @ here.gradient))
    end = now + RELAXED if log_time is None else max(log_time, now + RELAXED)
    for step in rosenbrock_steps(field, Step(now, state, False), [end], rtol, reduced):
        if step.landed:
            return step
    return None
