"""Train a small network, and measure its collapse after every epoch."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot
from torch.utils.data import TensorDataset

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.files import atomic_path
from neuralcollapse.measurement import measure
from neuralcollapse.report.history import Record, append_record
from neuralcollapse.training.config import TrainConfig
from neuralcollapse.training.data import load_dataset
from neuralcollapse.training.networks import build_network

MEASURE_BATCH = 2048


def train(
    config: TrainConfig,
    out: str | Path,
    *,
    measure_every: int = 1,
    progress: bool = True,
    overwrite: bool = False,
) -> list[Record]:
    """Train a network on the CPU and measure its collapse on training and test images.

    The folder `out` gets ``config.json`` (configuration and versions) and ``history.jsonl``, to
    which every measurement is added as it is made. The same configuration gives the same
    history, `seconds` apart, on the same machine with the same number of threads.

    Parameters
    ----------
    config
        What to train, on what, and how.
    out
        Folder of the run; made if it is not there.
    measure_every
        Measure after every so many epochs, and after the last.
    progress
        Whether to show a progress bar.
    overwrite
        Whether a history that is there already may be replaced.

    Returns
    -------
    list of dict
        The records of ``history.jsonl``: ``epoch``, ``step`` (updates so far), ``seconds`` (since
        the start, measuring included), ``lr`` (of the last update), ``train_loss`` (mean over
        the epoch's samples as they were trained on), ``num_classes``, and what `measure` returns
        for training images and, with the prefix ``test_``, for test images.

    Raises
    ------
    NeuralCollapseError
        If the data is not there, or `out` has a history already.
    NonFiniteError
        If the loss is NaN or infinite; the message names the step.
    """
    if measure_every < 1:
        raise NeuralCollapseError(
            "measure_every", "at least 1 epoch", str(measure_every), "use 1 for every epoch"
        )
    history = Path(out, "history.jsonl")
    if history.exists() and not overwrite:
        raise NeuralCollapseError(
            "out", "a folder without a history", str(history), "choose another, or overwrite=True"
        )
    data = load_dataset(
        config.data,
        config.data_root,
        per_class=config.per_class,
        imbalance=config.imbalance,
        label_noise=config.label_noise,
        seed=config.seed,
    )
    model = build_network(
        config.net,
        data.input_shape,
        data.num_classes,
        width=config.width,
        head_bias=config.head_bias,
        seed=config.seed,
    )
    with atomic_path(Path(out, "config.json")) as path:
        path.write_text(json.dumps(_provenance(config), indent=2) + "\n")
    history.unlink(missing_ok=True)
    train_batches, test_batches = (_batches(split) for split in (data.train, data.test))
    records: list[Record] = []
    start = time.perf_counter()
    with _bar(progress) as bar:
        task = bar.add_task("", total=config.epochs)
        for epoch in sgd_epochs(model, data.train, config):
            if epoch.number % measure_every == 0 or epoch.number == config.epochs:
                report = measure(model, train_batches, test_loader=test_batches, progress=False)
                record = {
                    "epoch": epoch.number,
                    "step": epoch.step,
                    "seconds": time.perf_counter() - start,
                    "lr": epoch.lr,
                    "train_loss": epoch.loss,
                    "num_classes": data.num_classes,
                    **report.to_dict(),
                }
                append_record(history, record)
                records.append(record)
            bar.update(task, completed=epoch.number, description=_headline(records))
    return records


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
    """

    number: int
    step: int
    lr: float
    loss: float


def sgd_epochs(model: nn.Module, data: TensorDataset, config: TrainConfig) -> Iterator[Epoch]:
    """Train by stochastic gradient descent with momentum, and yield after every epoch.

    Parameters
    ----------
    model
        Trained in place, in training mode; between epochs the caller may do with it as they like.
        Its last layer is called ``head`` if that is to have a weight decay of its own.
    data
        Inputs and labels, held in memory.
    config
        Everything but the data and the network is read from here.

    Yields
    ------
    Epoch
        The state after each of ``config.epochs`` epochs.

    Raises
    ------
    NeuralCollapseError
        If the head is to have a weight decay of its own, and the model has none.
    NonFiniteError
        If the loss is NaN or infinite; the message names the step.
    """
    inputs, labels = data.tensors
    order = torch.Generator().manual_seed(config.seed)
    optimizer = torch.optim.SGD(_parameter_groups(model, config), config.lr, config.momentum)
    steps_per_epoch = math.ceil(len(labels) / config.batch_size)
    step = 0
    for number in range(1, config.epochs + 1):
        model.train()
        total = 0.0
        for rows in torch.randperm(len(labels), generator=order).split(config.batch_size):
            lr = config.lr_at(step / (config.epochs * steps_per_epoch))
            for group in optimizer.param_groups:
                group["lr"] = lr
            loss = batch_loss(model(inputs[rows]), labels[rows], config.loss)
            step += 1
            value = loss.item()
            if not math.isfinite(value):
                raise NonFiniteError(
                    "train_loss",
                    "a finite loss",
                    f"{value} at step {step} (epoch {number})",
                    f"lower the learning rate, now {lr:g}",
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += value * len(rows)
        yield Epoch(number, step, lr, total / len(labels))


def _parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, object]]:
    """Part the parameters by their weight decay."""
    if config.head_weight_decay is None:
        return [{"params": list(model.parameters()), "weight_decay": config.weight_decay}]
    head = [p for name, p in model.named_parameters() if name.startswith("head.")]
    others = [p for name, p in model.named_parameters() if not name.startswith("head.")]
    if not head:
        raise NeuralCollapseError(
            "model", "a layer called head", "none", "rename it, or leave out head_weight_decay"
        )
    return [
        {"params": others, "weight_decay": config.weight_decay},
        {"params": head, "weight_decay": config.head_weight_decay},
    ]


def batch_loss(logits: Tensor, labels: Tensor, loss: str) -> Tensor:
    """Return the mean loss of a batch.

    Parameters
    ----------
    logits
        (n, K).
    labels
        (n,) in 0..K-1.
    loss
        ``"ce"`` or ``"mse"``, see `TrainConfig`.

    Examples
    --------
    >>> batch_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([0]), "mse")  # (0^2 + 2^2) / 2
    tensor(2.)
    """
    if loss == "ce":
        return cross_entropy(logits, labels)
    targets = one_hot(labels, logits.shape[1])
    return (logits - targets).square().sum(1).mean() / 2


def _batches(data: TensorDataset) -> list[tuple[Tensor, Tensor]]:
    inputs, labels = data.tensors
    return list(zip(inputs.split(MEASURE_BATCH), labels.split(MEASURE_BATCH), strict=True))


def _provenance(config: TrainConfig) -> dict[str, object]:
    packages = ("neuralcollapse", "torch", "numpy", "scikit-learn")
    versions = {"python": platform.python_version()} | {name: version(name) for name in packages}
    return {"config": config.to_dict(), "versions": versions, "threads": torch.get_num_threads()}


def _bar(shown: bool) -> Progress:
    return Progress(
        TextColumn("epoch {task.completed:>3.0f}/{task.total:.0f}"),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        disable=not shown,
    )


def _headline(records: list[Record]) -> str:
    if not records:
        return ""
    last = records[-1]
    train, test, nc1 = last["accuracy"], last["test_accuracy"], last["nc1_pinv"]
    return f"train {train:.2%}  test {test:.2%}  NC1 {nc1:.1e}"
