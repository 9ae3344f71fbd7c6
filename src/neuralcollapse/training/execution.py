"""How a run is carried out on this machine: precision, layout of images and threads, by a trial."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from neuralcollapse.training.batches import loss_labels
from neuralcollapse.training.config import TrainConfig

TRIAL_STEPS = 3
GAIN = 0.95  # share of the plain way's seconds below which another is worth its rounding


@dataclass(frozen=True)
class Execution:
    """How the steps of a run are computed; it changes the rounding, not what is computed.

    Attributes
    ----------
    precision
        ``"32"`` or ``"bf16"``.
    channels_last
        Whether images lie with their channels together.
    threads
        Of the processor.
    """

    precision: str = "32"
    channels_last: bool = False
    threads: int = 1

    def lay_out(self, model: nn.Module) -> nn.Module:
        """Lay a network's weights out as its images are to lie, in place; return it."""
        if self.channels_last:
            # A form of Module.to that torch documents, and leaves out of its overloads.
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model

    def forward(self, model: nn.Module, inputs: Any) -> Tensor:
        """Return the logits of a training step, in the precision of the weights."""
        if self.channels_last and inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        if self.precision == "32":
            return model(inputs)
        with torch.autocast(inputs.device.type, torch.bfloat16):
            return model(inputs).float()


def execution_by_trial(model: nn.Module, inputs: Tensor, labels: Tensor) -> Execution:
    """Return the quickest way to train on a batch, the plain one unless another gains 5 %.

    Each way takes a few steps with a copy of the network, which itself stays as it is. Bfloat16
    is tried only where the device computes in it: elsewhere it is slower, by emulation.

    Parameters
    ----------
    model
        Where it is trained.
    inputs, labels
        A batch of the size of the run's.
    """
    here = inputs.device
    threads = torch.get_num_threads()
    counts = {1, threads} if here.type == "cpu" else {threads}
    precisions = ("32", "bf16") if has_bfloat16(here) else ("32",)
    layouts = (False, True) if inputs.ndim == 4 else (False,)
    plain = Execution("32", False, threads)
    ways = [
        Execution(precision, layout, count)
        for precision in precisions
        for layout in layouts
        for count in sorted(counts)
    ]
    with torch.random.fork_rng(devices=[here] if here.type == "cuda" else []):
        try:
            return quickest(plain, ways, partial(_seconds, model, inputs, labels))
        finally:
            torch.set_num_threads(threads)


def execution_of(
    config: TrainConfig, model: nn.Module, data: Dataset, channels_last: bool = False
) -> Execution:
    """Return how a run is to be carried out: as configured, or by a trial on its first batch.

    Parameters
    ----------
    config
        Its `precision` and `batch_size` are read.
    model
        Where it is trained.
    data
        Inputs and labels.
    channels_last
        Whether images are laid out with their channels last, if there is no trial.
    """
    if config.precision != "auto":
        return Execution(config.precision, channels_last, torch.get_num_threads())
    # A generator of its own: the loader would otherwise draw from the global one.
    loader = DataLoader(data, config.batch_size, generator=torch.Generator())
    inputs, labels = next(iter(loader))
    device = next(model.parameters()).device
    return execution_by_trial(model, inputs.to(device), loss_labels(labels).to(device))


def quickest(
    plain: Execution, ways: Iterable[Execution], seconds: Callable[[Execution], float]
) -> Execution:
    """Return the way that takes least, but the plain one unless that is a gain of 5 %.

    Parameters
    ----------
    plain
        One of the ways.
    ways
        All candidates.
    seconds
        How long one takes.

    Examples
    --------
    >>> plain, other = Execution(), Execution(channels_last=True)
    >>> quickest(plain, [plain, other], {plain: 1.0, other: 0.97}.get) == plain
    True
    >>> quickest(plain, [plain, other], {plain: 1.0, other: 0.9}.get) == other
    True
    """
    taken = {way: seconds(way) for way in ways}
    best = min(taken, key=lambda way: taken[way])
    return best if taken[best] < GAIN * taken[plain] else plain


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device has units for bfloat16.

    Parameters
    ----------
    device
        The device.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _seconds(model: nn.Module, inputs: Tensor, labels: Tensor, way: Execution) -> float:
    """Return the least time of a few steps, once a first has allocated."""
    torch.set_num_threads(way.threads)
    network = way.lay_out(copy.deepcopy(model).train())
    least = math.inf
    for step in range(TRIAL_STEPS + 1):
        start = time.perf_counter()
        cross_entropy(way.forward(network, inputs), labels).backward()
        if inputs.device.type == "cuda":
            torch.cuda.synchronize(inputs.device)
        if step:
            least = min(least, time.perf_counter() - start)
        network.zero_grad()
    return least
