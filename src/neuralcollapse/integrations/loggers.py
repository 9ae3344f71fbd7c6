"""Where logged values go: any logger, recognised by its method, with no library imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from neuralcollapse.errors import NeuralCollapseError

Sink = Callable[[Mapping[str, float], int], None]


def sink(target: Any) -> Sink:
    """Return a function of values and step that logs them.

    Parameters
    ----------
    target
        Anything with ``log_metrics(values, step)``: the loggers of Lightning and Fabric (CSV,
        TensorBoard, Weights & Biases, MLflow); with ``add_scalar(name, value, step)``: a
        TensorBoard ``SummaryWriter``; with ``log(values, step=)``: a run of Weights & Biases; a
        function of values and step; or None.

    Raises
    ------
    NeuralCollapseError
        If it is something else.

    Examples
    --------
    >>> from neuralcollapse.integrations import sink
    >>> sink(lambda values, step: print(step, values))({"nc1_pinv": 0.5}, 3)
    3 {'nc1_pinv': 0.5}
    """
    if target is None:
        return lambda values, step: None
    if hasattr(target, "log_metrics"):
        return lambda values, step: target.log_metrics(dict(values), step=step)
    if hasattr(target, "add_scalar"):

        def add_scalars(values: Mapping[str, float], step: int) -> None:
            for name, value in values.items():
                target.add_scalar(name, value, step)

        return add_scalars
    if hasattr(target, "log"):
        return lambda values, step: target.log(dict(values), step=step)
    if callable(target):
        return lambda values, step: target(values, step)
    expected = "a logger with log_metrics, add_scalar or log, or a function of values and step"
    raise NeuralCollapseError("log", expected, type(target).__name__, "wrap it in a function")
