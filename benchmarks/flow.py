"""Follow the gradient flow to log t = 1e8 in 0.6 s (K = 4) and 1.9 s (K = 10).

Measured on one core of a shared two-core x86-64 virtual machine, one run, processor time. From
log t = 1e4 to 1e8, the cost less than doubles (0.34 to 0.60 s) for K = 4, n = 5, d = 6, and grows
2.4 times (0.80 to 1.88 s) for K = 10, n = 10, d = 16: it goes with log log t. Plain RK45 is cheaper
up to log t = 1e3, at the looser tolerance it runs with here (1e-6, ours 1e-12 up to log t = 100);
in s it costs 2 to 3 times as much at 1e4 and did not reach 1e6 in 8 s; in ordinary time it ends at
log t = 690, where t overflows. Gradient descent ends near log t = 10.

The table gives `gradient_flow`'s seconds and the naive ways' ratios to them, in one process:
gradient descent with the step 1 / the largest curvature at the start, RK45 in t, and RK45 in the
rescaled time s (ds = L dt). "- (>x)": not reached in the seconds allowed (`--limit`). Timed: from
t = 0 to that log t, for `gradient_flow` with the certificate of the result. Not timed: imports and
drawing the start.

    python benchmarks/flow.py [--smoke] [--limit SECONDS]
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator

import numpy as np
from scipy.integrate import RK45

from neuralcollapse.theory import gradient_flow
from neuralcollapse.theory.flow.field import FlowField

PROBLEMS = [(4, 5, 6), (10, 10, 16)]
# With no room beyond the means' span, or hardly any, and with unequal classes, margins meet late.
LATE_PROBLEMS = [([10] * 10, 10), ([10] * 10, 9), ([20, 20, 10, 10, 5, 5, 5, 2, 2, 1], 10)]
LOG_TIMES = [5.0, 10.0, 20.0, 1e2, 1e3, 1e4, 1e6, 1e8]


def draw(sizes: list[int], dim: int) -> tuple[FlowField, np.ndarray]:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    field = FlowField(labels, len(sizes), dim)
    return field, np.random.default_rng(0).normal(size=field.size)


def descent(field: FlowField, state: np.ndarray) -> Iterator[float]:
    """Gradient descent; the step is 1 / the largest curvature met at the start."""
    here = field.evaluate(state)
    curvature = np.linalg.eigvalsh(field.log_time_jacobian(0.0, state)).min()
    step, steps = -1 / curvature, 0
    while True:
        here = field.evaluate(state)
        state = state - step * math.exp(here.log_loss) * here.gradient
        steps += 1
        yield math.log(step * steps)


def runge_kutta_in_t(field: FlowField, state: np.ndarray) -> Iterator[float]:
    def velocity(_: float, y: np.ndarray) -> np.ndarray:
        here = field.evaluate(y)
        return -math.exp(here.log_loss) * here.gradient

    solver = RK45(velocity, 0.0, state, np.inf, rtol=1e-6, atol=1e-9)
    while solver.t < 1e300:  # where t overflows, so does this way
        solver.step()
        yield math.log(solver.t)


def runge_kutta_in_s(field: FlowField, state: np.ndarray) -> Iterator[float]:
    """Carry the clock along as v = L t, v' = 1 - |grad log L|^2 v."""

    def velocity(_: float, y: np.ndarray) -> np.ndarray:
        gradient = field.evaluate(y[:-1]).gradient
        return np.append(-gradient, 1 - (gradient @ gradient) * y[-1])

    solver = RK45(velocity, 0.0, np.append(state, 0.0), np.inf, rtol=1e-6, atol=1e-9)
    while True:
        solver.step()
        yield math.log(solver.y[-1]) - field.evaluate(solver.y[:-1]).log_loss


def seconds_to(
    log_times: list[float], trajectory: Iterator[float], limit: float
) -> dict[float, float]:
    """Return the processor seconds to each log time reached, infinite where it cannot be.

    Log times that the limit leaves out are absent.
    """
    reached: dict[float, float] = {}
    start = time.process_time()
    for log_t in trajectory:
        elapsed = time.process_time() - start
        reached |= {wanted: elapsed for wanted in log_times if wanted <= log_t} | reached
        if len(reached) == len(log_times) or elapsed > limit:
            return reached
    return dict.fromkeys(log_times, math.inf) | reached


def ours(field: FlowField, state: np.ndarray, log_t: float) -> float:
    start = time.process_time()
    flow = gradient_flow(*field.split(state), field.labels, [log_t])
    assert flow.status == "ok"
    return time.process_time() - start


NAIVE: dict[str, Callable[[FlowField, np.ndarray], Iterator[float]]] = {
    "descent": descent,
    "RK45 in t": runge_kutta_in_t,
    "RK45 in s": runge_kutta_in_s,
}


def table(size: tuple[int, int, int], log_times: list[float], limit: float) -> list[str]:
    """Return the lines of the table of one problem."""
    num_classes, per_class, dim = size
    field, state = draw([per_class] * num_classes, dim)
    naive = {
        name: seconds_to(log_times, trajectory(field, state), limit)
        for name, trajectory in NAIVE.items()
    }
    lines = ["K={} n={} d={}".format(*size)]
    lines.append(f"{'log t':>8} {'gradient_flow':>15} " + " ".join(f"{n:>12}" for n in NAIVE))
    for log_t in log_times:
        floor = ours(field, state, log_t)
        cells = [_cell(naive[name].get(log_t), floor, limit) for name in NAIVE]
        lines.append(f"{log_t:8.0e} {floor:13.2f} s " + " ".join(cells))
    return lines


def _cell(seconds: float | None, floor: float, limit: float) -> str:
    if seconds is None:
        return f"{f'- (>{limit / floor:.0f}x)':>12}"
    return f"{'t overflows':>12}" if math.isinf(seconds) else f"{seconds / floor:11.2f}x"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="one small problem, seconds")
    parser.add_argument("--limit", type=float, default=20.0, help="seconds allowed to a naive way")
    arguments = parser.parse_args()
    problems = [(2, 2, 2)] if arguments.smoke else PROBLEMS
    log_times = [5.0, 1e4] if arguments.smoke else LOG_TIMES
    limit = 0.3 if arguments.smoke else arguments.limit
    for size in problems:
        print("\n".join(table(size, log_times, limit)))
    late = [([2] * 3, 3)] if arguments.smoke else LATE_PROBLEMS
    for sizes, dim in late:
        seconds = ours(*draw(sizes, dim), log_times[-1])
        print(f"class sizes {sizes}, d={dim}: log t = {log_times[-1]:.0e} in {seconds:.1f} s")


if __name__ == "__main__":
    main()
