"""The gradient flow of the layer-peeled model, followed in log time far beyond ordinary time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from rich.progress import Progress

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.theory.flow.explicit import explicit_steps
from neuralcollapse.theory.flow.field import FlowField
from neuralcollapse.theory.flow.implicit import implicit_steps
from neuralcollapse.theory.flow.late import late_steps
from neuralcollapse.theory.flow.projection import conserved
from neuralcollapse.theory.flow.solution import FlowSolution, assemble
from neuralcollapse.theory.flow.step import Step
from neuralcollapse.theory.layer_peeled import margins
from neuralcollapse.validation import (
    Array,
    as_tensor,
    check_choice,
    finite_matrix,
    integer_labels,
    occupied_labels,
    real_number,
)

Method = Literal["auto", "explicit", "implicit", "matrix-free"]

DEFAULT_RTOL = {"explicit": 1e-12, "implicit": 1e-12, "matrix-free": 1e-5}
HANDOVER = 100.0  # log t to which the explicit method is cheap
DENSE_SIZE = 300  # unknowns d (K + N) for which a dense Jacobian is
LAST_LOG_TIME = 1e8  # margins beyond are so large that their differences are rounding


def gradient_flow(
    W0: Any,
    H0: Any,
    labels: Any,
    log_times: Any,
    method: Method = "auto",
    rtol: float | None = None,
    progress: bool = False,
) -> FlowSolution:
    r"""Follow the gradient flow of the layer-peeled model to the given log times.

    .. math:: \frac{d(W, H)}{dt} = -\nabla L(W, H), \qquad
        L = \sum_{i=1}^N -\log \frac{e^{w_{y_i} \cdot h_i}}{\sum_j e^{w_j \cdot h_i}}

    The direction of (W, H) tends to a critical point of minimum-norm separation, for generic
    starts to neural collapse, with errors that fall only like 1 / log t or its square root: t =
    e^{1e8} is where one sees them vanish. The time is never formed; what is integrated is d(W,
    H)/d log t, or d(W, H)/ds with ds = L dt and a clock.

    With d < K - 1 the flow has other limits, which depend on the start, and nothing certifies them:
    the gap is one to a convex bound that no such state attains. Follow several starts.

    Parameters
    ----------
    W0
        (K, d) head at t = 0.
    H0
        (N, d) features at t = 0.
    labels
        (N,) class indices 0..K-1 in any order, each class with a sample.
    log_times
        Increasing natural logarithms of the times wanted, of either sign, none or some beyond 1e8
        (these are reported as unreached: double precision ends there; see `flow_asymptotics`).
    method
        ``"explicit"``: Dormand-Prince of order 8, cost proportional to log t. ``"implicit"``:
        LSODA with a dense Jacobian, cost proportional to log log t, for d (K + N) up to some
        hundreds. ``"matrix-free"``: ROS2 with conjugate gradients, projected onto the conserved
        quantities, for any size. ``"auto"``: explicit to log t = 100, then implicit if d (K + N) <=
        300, then matrix-free, which also takes over where another gives up.
    rtol
        Relative tolerance of a step in (W, H), 1e-13 to 0.01; by default 1e-12, 1e-12 and 1e-5 for
        the three. Errors at a fixed time are about 0.1 rtol (explicit), rtol (implicit) and 10
        rtol (matrix-free, which corrects itself later, since it keeps what the flow conserves).
    progress
        Show a progress bar.

    Returns
    -------
    FlowSolution
        States, duality gap, drift of the conserved quantities, errors of collapse, and a status.
        If the gap grows from one log time to a later one, the status says that the integration
        has left the slow manifold, and a `RuntimeWarning` is issued.

    Raises
    ------
    NeuralCollapseError
        If shapes, labels, log times, method or rtol are not as described; if the
        flow rests at a stationary point that does not separate the classes.
    NonFiniteError
        If an entry of W0, H0 or log_times is NaN or infinite.

    References
    ----------
    Ji et al. 2022, Theorem 3.2. Hairer, Norsett & Wanner 1993 (Dormand-Prince),
    Hindmarsh 1983 (LSODA), Verwer et al. 1999 (ROS2). The log-time formulation is ours.

    Examples
    --------
    From W = H = (a, -a), W = H for ever, and a' = 2a / (1 + e^{2 a^2}): the margin is 2 a^2.

    >>> import torch
    >>> from neuralcollapse.theory import gradient_flow
    >>> flow = gradient_flow([[1.0], [-1.0]], [[1.0], [-1.0]], [0, 1], [0.0, 1e3, 1e6])
    >>> flow.status, torch.allclose(flow.W, flow.H)
    ('ok', True)
    >>> (2 * flow.W[:, 0, 0] ** 2 / flow.log_t).round(decimals=4)[1:]  # margin / log t
    tensor([1.0083, 1.0000], dtype=torch.float64)
    """
    field, start = _problem(W0, H0, labels)
    times = _log_times(log_times)
    _check_choices(method, rtol)
    slope = _initial_slope(field, start)
    reachable = times[times <= LAST_LOG_TIME]
    point = _first_step(field, start)
    early = reachable <= point.log_t
    states = [_taylor(field, start, log_t) for log_t in reachable[early]]
    steps: dict[str, int] = {}
    separated = False
    with Progress(disable=not progress, transient=True) as bar:
        task = bar.add_task("gradient flow", total=np.arcsinh(reachable[-1:].max(initial=0.0)))
        for name, end in _plan(field, method):
            targets = [log_t for log_t in reachable.tolist() if log_t > point.log_t]
            if targets and targets[-1] > end:
                targets = [*(log_t for log_t in targets if log_t < end), end]
            if not targets:
                break
            for step in _integrate(name, field, point, targets, rtol, start):
                point = step
                steps[name] = steps.get(name, 0) + 1
                if point.landed and point.log_t in reachable:
                    states.append(point.state)
                separated = separated or _separates(field, point.state)
                if not separated:
                    _refuse_rest(field, point, 1e-10 * slope)
                bar.update(
                    task,
                    completed=np.arcsinh(max(0.0, point.log_t)),
                    description=f"log t = {point.log_t:.3g} ({name})",
                )
        if not separated and len(states) < len(reachable):
            _refuse_rest(field, point, 1e-6 * slope)
    return assemble(field, start, times, LAST_LOG_TIME, states, steps)


def _plan(field: FlowField, method: Method) -> list[tuple[str, float]]:
    """Return the integrators in order, each with the log t where it hands over.

    The last of "auto" also takes over from one that gives up on the way.
    """
    if method != "auto":
        return [(method, np.inf)]
    dense = [("implicit", np.inf)] if field.size <= DENSE_SIZE else []
    return [("explicit", HANDOVER), *dense, ("matrix-free", np.inf)]


def _integrate(
    name: str, field: FlowField, point: Step, targets: list[float], rtol: float | None, start: Array
) -> Iterator[Step]:
    tolerance = DEFAULT_RTOL[name] if rtol is None else rtol
    if name == "explicit":
        return explicit_steps(field, point, targets, tolerance)
    if name == "implicit":
        return implicit_steps(field, point, targets, tolerance)
    return late_steps(field, point, targets, tolerance, conserved(*field.split(start)))


def _first_step(field: FlowField, start: Array) -> Step:
    """Leave t = 0, where log t is -inf, by a step so short that its first order is exact."""
    here = field.evaluate(start)
    bend = np.linalg.norm(field.log_hessian(start, here)(here.gradient))
    slope = np.linalg.norm(here.gradient)
    size = 1e-9 * min(np.linalg.norm(start) / slope, slope / (bend + slope**3))
    log_t = float(np.log(size) - here.log_loss)
    return Step(log_t, _taylor(field, start, log_t), landed=False)


def _taylor(field: FlowField, start: Array, log_t: float) -> Array:
    return start + field.log_time_velocity(log_t, start)


def _separates(field: FlowField, state: Array) -> bool:
    W, H = field.split(state)
    return bool(margins(H @ W.T, field.labels).min() > 0)


def _initial_slope(field: FlowField, start: Array) -> float:
    slope = float(np.linalg.norm(field.evaluate(start).gradient))
    if slope <= 1e-13 * float(np.linalg.norm(start)):
        expected = "a start from which the loss can fall"
        got = "a stationary point"
        raise NeuralCollapseError("W0, H0", expected, got, "start from random W0 and H0")
    return slope


def _refuse_rest(field: FlowField, point: Step, least_slope: float) -> None:
    if np.linalg.norm(field.evaluate(point.state).gradient) < least_slope:
        expected = "a start from which the flow separates the classes"
        got = f"a flow at rest, not separating, at log t = {point.log_t:.3g}"
        remedy = "perturb the start: it lies on the stable manifold of a saddle"
        raise NeuralCollapseError("W0, H0", expected, got, remedy)


def _problem(W0: Any, H0: Any, labels: Any) -> tuple[FlowField, Array]:
    W, H = (
        finite_matrix(name, value).detach().cpu().numpy()
        for name, value in (("W0", W0), ("H0", H0))
    )
    num_classes, dim = W.shape
    if H.shape[1] != dim:
        raise NeuralCollapseError(
            "H0", f"{dim} columns, as W0 has", str(H.shape[1]), "pass features as rows (N, d)"
        )
    labels = occupied_labels("labels", integer_labels("labels", labels, len(H)), num_classes)
    field = FlowField(labels.cpu().numpy(), num_classes, dim)
    return field, field.join(W, H)


def _log_times(log_times: Any) -> Array:
    times = np.atleast_1d(as_tensor("log_times", log_times).detach().double().cpu().numpy())
    if times.ndim != 1 or not times.size:
        raise NeuralCollapseError(
            "log_times", "a list of log times", f"shape {times.shape}", "pass at least one"
        )
    if not np.isfinite(times).all():
        raise NonFiniteError(
            "log_times", "finite numbers", str(times.tolist()), "t = 0 is the start itself"
        )
    if (np.diff(times) <= 0).any():
        raise NeuralCollapseError(
            "log_times", "increasing log times", str(times.tolist()), "sort them, each once"
        )
    return times


def _check_choices(method: str, rtol: float | None) -> None:
    check_choice("method", method, ("auto", *DEFAULT_RTOL))
    if rtol is not None and not 1e-13 <= real_number("rtol", rtol) <= 0.01:
        raise NeuralCollapseError(
            "rtol", "a tolerance from 1e-13 to 0.01", str(rtol), "omit it for the method's own"
        )
