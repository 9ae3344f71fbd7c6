"""Running a network without leaving a trace: modes, device and random states are as before."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def evaluating(model: nn.Module, device: torch.device | str | None) -> Iterator[torch.device]:
    """Evaluate without gradients; restore modes, device and random states at the end.

    Parameters
    ----------
    model
        The network.
    device
        Where to run; where the model is if omitted.

    Yields
    ------
    device
        Where the model is inside the block.
    """
    modes = {module: module.training for module in model.modules()}
    tensors = [*model.parameters(), *model.buffers()]
    home = tensors[0].device if tensors else torch.device("cpu")
    where = home if device is None else torch.device(device)
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    cuda = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices=cuda), torch.no_grad():
        try:
            if where != home:
                model.to(where)
            model.eval()
            yield where
        finally:
            for module, mode in modes.items():
                module.training = mode
            if where != home:
                model.to(home)
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)


def run(model: nn.Module, inputs: Any, device: torch.device) -> Any:
    """Return what the network makes of its inputs, which are moved to the device.

    Parameters
    ----------
    model
        The network.
    inputs
        A tensor or whatever it takes; the entries of a mapping are passed by name.
    device
        Where the network is.

    Examples
    --------
    >>> run(nn.ReLU(), {"input": torch.tensor([-1.0])}, torch.device("cpu"))
    tensor([0.])
    """
    inputs = _to(inputs, device)
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)


def _to(value: Any, device: torch.device) -> Any:
    """Move the tensors of an input, however nested, to a device."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {name: _to(item, device) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_to(item, device) for item in value)
    return value
