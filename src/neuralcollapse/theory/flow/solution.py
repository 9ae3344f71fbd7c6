"""What the gradient flow returns: states at the log times asked for, and how far to trust them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.theory.flow.collapse_errors import CollapseErrors, collapse_errors
from neuralcollapse.theory.flow.field import FlowField
from neuralcollapse.theory.flow.projection import Conserved, conserved
from neuralcollapse.theory.layer_peeled import margins
from neuralcollapse.theory.separation_certificate import separation_certificate
from neuralcollapse.validation import Array

Status = Literal[
    "ok", "left the slow manifold", "stopped at double precision", "step size underflow"
]


@dataclass(frozen=True)
class FlowSolution:
    """States of the gradient flow at T log times, with their health.

    Attributes
    ----------
    log_t
        (T,) the log times reached.
    W, H
        (T, K, d) and (T, N, d) states.
    log_loss
        (T,) log of the summed cross-entropy.
    gap
        (T,) relative duality gap of minimum-norm separation; NaN while a margin is not positive.
        With d < K - 1 it tends to what few dimensions cost over the convex bound, and not to 0.
    invariant_drift
        (T,) ||Q - Q_0|| / ||Q_0|| of the conserved Q = W^T W - H^T H; where Q_0 is zero (a
        balanced start), relative to ||W_0||^2 + ||H_0||^2.
    mean_row_drift
        (T,) change of the conserved mean row of W, relative to the norm of W_0.
    errors
        The errors of neural collapse, (T,) each.
    status
        ``"ok"``: every log time reached. ``"left the slow manifold"``: from one log time to a
        later one, both at least 10, the gap has tripled, to more than 0.01. ``"stopped at double
        precision"``: log times beyond 1e8 were left out. ``"step size underflow"``: the last
        integrator gave up before.
    unreached
        The log times asked for that have no state.
    method
        The integrators used, in order.
    steps
        Accepted steps of each integrator used.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.theory import gradient_flow
    >>> generator = torch.Generator().manual_seed(0)
    >>> W0, H0 = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (2, 4))
    >>> flow = gradient_flow(W0, H0, [0, 0, 1, 1], log_times=[2.0, 100.0])
    >>> flow.status, bool(flow.gap[-1] < 0.1), bool(flow.invariant_drift[-1] < 1e-5)
    ('ok', True, True)
    """

    log_t: Float[Tensor, " T"]
    W: Float[Tensor, "T K d"]
    H: Float[Tensor, "T N d"]
    log_loss: Float[Tensor, " T"]
    gap: Float[Tensor, " T"]
    invariant_drift: Float[Tensor, " T"]
    mean_row_drift: Float[Tensor, " T"]
    errors: CollapseErrors
    status: Status
    unreached: Float[Tensor, " U"]
    method: str
    steps: dict[str, int]


def assemble(
    field: FlowField,
    start: Array,
    log_times: Array,
    last_log_time: float,
    states: list[Array],
    steps: dict[str, int],
) -> FlowSolution:
    """Measure the states reached and judge them."""
    reached = log_times[: len(states)]
    unreached = log_times[len(states) :]
    pairs = [field.split(state) for state in states]
    K, N, d = field.num_classes, len(field.labels), field.dim
    W = torch.from_numpy(np.array([w for w, _ in pairs]).reshape(-1, K, d))
    H = torch.from_numpy(np.array([h for _, h in pairs]).reshape(-1, N, d))
    gap = np.array([_relative_gap(field, *pair) for pair in pairs])
    drifts = np.array([_drift(field.split(start), pair) for pair in pairs]).reshape(-1, 2)
    status: Status = "ok"
    if unreached.size:
        beyond = unreached[0] > last_log_time
        status = "stopped at double precision" if beyond else "step size underflow"
    if _gap_grew(reached, gap):
        status = "left the slow manifold"
        warnings.warn(
            "gradient_flow: the duality gap grew, so the integration has left the slow manifold "
            "of the flow; lower rtol or choose another method",
            RuntimeWarning,
            stacklevel=3,
        )
    return FlowSolution(
        log_t=torch.from_numpy(reached.copy()),
        W=W,
        H=H,
        log_loss=torch.tensor([field.evaluate(y).log_loss for y in states], dtype=torch.float64),
        gap=torch.from_numpy(gap),
        invariant_drift=torch.from_numpy(drifts[:, 0].copy()),
        mean_row_drift=torch.from_numpy(drifts[:, 1].copy()),
        errors=collapse_errors(W, H, torch.from_numpy(field.labels)),
        status=status,
        unreached=torch.from_numpy(unreached.copy()),
        method=" + ".join(steps),
        steps=steps,
    )


def _relative_gap(field: FlowField, W: Array, H: Array) -> float:
    if margins(H @ W.T, field.labels).min() <= 0:
        return np.nan
    return separation_certificate(W, H, field.labels).relative_gap


def _gap_grew(log_times: Array, gap: Array) -> bool:
    """Whether the gap, which falls like 1 / log t, has tripled to something that matters."""
    late = gap[(log_times >= 10) & np.isfinite(gap)]
    return bool((late > np.maximum(3 * np.minimum.accumulate(late), 1e-2)).any())


def _drift(start: tuple[Array, Array], end: tuple[Array, Array]) -> tuple[float, float]:
    before, after = conserved(*start), conserved(*end)
    return _balance_drift(start, before, after), float(
        np.linalg.norm(after.mean_row - before.mean_row) / (np.linalg.norm(start[0]) or 1.0)
    )


def _balance_drift(start: tuple[Array, Array], before: Conserved, after: Conserved) -> float:
    scale = float(np.linalg.norm(before.balance))
    power = sum(float(np.vdot(x, x)) for x in start)
    if scale <= 1e-12 * power:
        scale = power
    return float(np.linalg.norm(after.balance - before.balance)) / scale
