"""Stochastic gradient descent, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric, is_wrapped
from lightning_fabric.strategies.single_device import SingleDeviceStrategy
from torch import Tensor, nn
from torch.utils.data import Dataset

from neuralcollapse.errors import NonFiniteError
from neuralcollapse.training.batches import Batches
from neuralcollapse.training.config import TrainConfig
from neuralcollapse.training.execution import Execution, execution_of
from neuralcollapse.training.losses import loss_at_head
from neuralcollapse.training.optimizer import build_optimizer
from neuralcollapse.training.randomness import seeded
from neuralcollapse.training.schedules import learning_rate

CHECK_STEPS = 1000  # from one look at the losses to the next: each makes the device wait


@dataclass(frozen=True)
class Epoch:
    """What is known when an epoch of training ends.

    Attributes
    ----------
    number
        From 1.
    step
        Updates so far.
    lr
        Learning rate of the last update.
    loss
        Mean loss of the epoch's samples, each at the weights it was trained on.

    Examples
    --------
    >>> import torch
    >>> from torch.utils.data import TensorDataset
    >>> from neuralcollapse.training import TrainConfig, sgd_epochs
    >>> data = TensorDataset(torch.randn(30, 5), torch.arange(30) % 3)
    >>> config = TrainConfig(epochs=2, batch_size=10)
    >>> [(epoch.number, epoch.step) for epoch in sgd_epochs(torch.nn.Linear(5, 3), data, config)]
    [(1, 3), (2, 6)]
    """

    number: int
    step: int
    lr: float
    loss: float


def sgd_epochs(
    model: nn.Module, data: Dataset, config: TrainConfig, *, fabric: Fabric | None = None
) -> Iterator[Epoch]:
    """Train by stochastic gradient descent with momentum, and yield after every epoch.

    Parameters
    ----------
    model
        Trained in place, in training mode; between epochs the caller may do with it as they like.
        Its last layer is called ``head`` if that is to have a weight decay of its own.
    data
        Inputs and labels.
    config
        Everything but the data and the network is read from here, except for a fixed head: put it
        into the network beforehand, with `fix_head`.
    fabric
        Where and on how many processes to train, already launched; one process, on the device of
        the model, if omitted.

    Yields
    ------
    Epoch
        The state after each of ``config.epochs`` epochs.

    Raises
    ------
    NeuralCollapseError
        If the head is to have a weight decay of its own, and the model has none; or the loss is
        dot-regression, and it has no `FixedHead`; or a batch has one sample, and the model would
        normalise by it.
    NonFiniteError
        If the loss is NaN or infinite; the message names the first such step.

    Examples
    --------
    >>> from neuralcollapse.training import TrainConfig, build_network, load_dataset, sgd_epochs
    >>> data = load_dataset("digits", per_class=10)
    >>> model = build_network("mlp", data.input_shape, data.num_classes)
    >>> config = TrainConfig(data="digits", net="mlp", epochs=3, batch_size=20)
    >>> losses = [epoch.loss for epoch in sgd_epochs(model, data.train, config)]
    >>> losses[-1] < losses[0]
    True
    """
    fabric = fabric or _one_process(model)
    execution = execution_of(config, model, data)
    forward, optimizer = prepared(model, build_optimizer(model, config), fabric)
    batches = Batches(data, config.batch_size, config.seed, fabric)
    batches.require_normalizable(model)
    for number in range(1, config.epochs + 1):
        yield train_epoch(number, forward, optimizer, batches, config, fabric, execution)


def prepared(
    model: nn.Module, optimizer: torch.optim.Optimizer, fabric: Fabric
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return network and optimiser as `train_epoch` takes them.

    On one device they are what they were, since Fabric's wrappers cost a small network some per
    cent of each step; else they are wrapped.

    Parameters
    ----------
    model, optimizer
        The network, moved to the device in place, and what trains it.
    fabric
        Already launched.
    """
    if isinstance(fabric.strategy, SingleDeviceStrategy):
        return fabric.to_device(model), optimizer
    return fabric.setup(model, optimizer)


def train_epoch(
    number: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    config: TrainConfig,
    fabric: Fabric,
    execution: Execution,
) -> Epoch:
    """Train for one epoch.

    Parameters
    ----------
    number
        Of the epoch, from 1; with the seed it determines everything random.
    model, optimizer
        From `prepared`.
    batches
        Of the training data.
    config
        Loss and learning rate.
    fabric
        Moves gradients between processes.
    execution
        Precision, and layout of images, as the network's weights then must lie.

    Raises
    ------
    NonFiniteError
        If the loss is NaN or infinite; the message names the first such step.
    """
    before = (number - 1) * len(batches)
    # Losses stay on the device: to read one at every step would make the device wait.
    losses = torch.zeros(len(batches), device=fabric.device)
    alone = not is_wrapped(model)
    model.train()
    with seeded(config.seed, number, fabric.global_rank), loss_at_head(model, config) as loss_of:
        for index, (inputs, labels, weight) in enumerate(batches.epoch(number)):
            lr = learning_rate(config, before + index, len(batches))
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.zero_grad()
            loss = loss_of(execution.forward(model, inputs), labels)
            if alone:
                loss.backward()
            else:
                loss = loss * weight  # uneven shares of a batch, and the mean of processes
                fabric.backward(loss)
            optimizer.step()
            losses[index] = loss.detach()
            if (index + 1) % CHECK_STEPS == 0:
                _require_finite(losses, before, number, config, fabric)
    seen = _require_finite(losses, before, number, config, fabric)
    mean = float((seen * batches.sizes).sum() / batches.num_samples)
    return Epoch(number, before + len(batches), lr, mean)


def _one_process(model: nn.Module) -> Fabric:
    device = next(model.parameters()).device
    devices: Any = 1 if device.index is None else [device.index]
    return Fabric(accelerator=device.type, devices=devices)


def _require_finite(
    losses: Tensor, before: int, number: int, config: TrainConfig, fabric: Fabric
) -> Tensor:
    """Return the losses of all processes together, float64 on the CPU, if all are finite."""
    seen: Any = fabric.all_reduce(losses.clone(), reduce_op="mean")
    seen = seen.double().cpu()
    bad = (~seen.isfinite()).nonzero().flatten().tolist()
    if bad:
        step = before + bad[0] + 1
        got = f"{float(seen[bad[0]])} at step {step} (epoch {number})"
        remedy = f"lower the learning rate, now {learning_rate(config, step - 1, len(losses)):g}"
        raise NonFiniteError("train_loss", "a finite loss", got, remedy)
    return seen
