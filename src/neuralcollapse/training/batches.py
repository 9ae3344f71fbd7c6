"""The batches of an epoch: the same samples in each step, however many processes share them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, Dataset, TensorDataset

from neuralcollapse.errors import NeuralCollapseError, shortened
from neuralcollapse.training.randomness import epoch_seed

Batch = tuple[Any, Tensor, float]


class Batches:
    """Shuffled batches; their order depends on (seed, epoch) alone.

    Parameters
    ----------
    data
        Inputs and labels. A `TensorDataset` is put on the device whole if it fits, any other is
        read with a `DataLoader`.
    batch_size
        Samples in a step, over all processes together.
    seed
        Of the order.
    fabric
        Says what device this process has, and which share of each batch is its own.
    workers
        Processes that a `DataLoader` reads with; none if 0.
    """

    def __init__(
        self, data: Dataset, batch_size: int, seed: int, fabric: Fabric, workers: int = 0
    ) -> None:
        self._data = on_device(data, fabric.device)
        self._batch_size, self._seed, self._workers = batch_size, seed, workers
        self._fabric = fabric
        self.num_samples = len(data)  # type: ignore[arg-type]  # torch's Dataset names no length

    def __len__(self) -> int:
        return -(-self.num_samples // self._batch_size)

    @property
    def sizes(self) -> Tensor:
        """Samples of each step, over all processes together."""
        sizes = torch.full((len(self),), self._batch_size)
        sizes[-1] = self.num_samples - self._batch_size * (len(self) - 1)
        return sizes

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield (inputs, labels, weight) for every step of an epoch.

        The mean over processes of weight times the mean loss of the own samples is the mean loss
        of the batch. The weight is 1 if there is one process.

        Parameters
        ----------
        number
            Of the epoch; each has an order of its own.
        """
        generator = torch.Generator().manual_seed(epoch_seed(self._seed, number))
        order = torch.randperm(self.num_samples, generator=generator)
        steps = order.split(self._batch_size)
        rank, world = self._fabric.global_rank, self._fabric.world_size
        # A process without a sample takes one at weight 0, since all must take part in each step.
        own = [rows[rank::world] if len(rows) > rank else rows[:1] for rows in steps]
        weights = [len(rows[rank::world]) * world / len(rows) for rows in steps]
        for (inputs, labels), weight in zip(self._read(own, generator), weights, strict=True):
            yield inputs, loss_labels(labels), weight

    def require_normalizable(self, model: nn.Module) -> None:
        """Refuse a step in which a process would have one sample to batch-normalise by.

        Parameters
        ----------
        model
            On the device; its forward pass is looked at, in evaluation mode.

        Raises
        ------
        NeuralCollapseError
            If there is such a step, and a batch norm would get a single value per channel in it.
        """
        fewest = int(self.sizes.min())
        if fewest // self._fabric.world_size > 1:
            return
        first = DataLoader(self._data, batch_size=1, generator=torch.Generator())
        inputs, _ = next(iter(first))
        if _normalizes_single_values(model, self._fabric.to_device(inputs)):
            expected = "batches of which every process gets 2 samples or more, for batch norm"
            got = f"one of {fewest}, of {self.num_samples} samples in batches of {self._batch_size}"
            remedy = "choose another batch size, or a network without batch norm"
            raise NeuralCollapseError("batch_size", expected, got, remedy)

    def _read(self, steps: list[Tensor], generator: torch.Generator) -> Iterator[Any]:
        device = self._fabric.device
        if isinstance(self._data, TensorDataset):
            inputs, labels = self._data.tensors
            # Moved at once: a copy at every step would make a GPU wait.
            moved = torch.cat(steps).to(inputs.device)
            for rows in moved.split([len(rows) for rows in steps]):
                yield inputs[rows].to(device), labels[rows].to(device)
        else:
            loader = DataLoader(
                self._data,
                batch_sampler=[rows.tolist() for rows in steps],
                num_workers=self._workers,
                generator=generator,
                pin_memory=device.type == "cuda",
            )
            for batch in loader:
                yield self._fabric.to_device(batch)


def _normalizes_single_values(model: nn.Module, sample: Any) -> bool:
    """Whether a batch norm gets one value per channel from one sample."""
    model.train()
    # Those that synchronise count the samples of all processes.
    norms = [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm)
        and not isinstance(module, nn.SyncBatchNorm)
        and module.training
    ]
    single = []

    def look(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        entered = arguments[0]
        single.append(entered.numel() == entered.shape[1])

    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    try:
        if norms:
            with torch.no_grad():
                model.eval()(sample)
    finally:
        model.train()
        for hook in hooks:
            hook.remove()
    return any(single)


def loss_labels(labels: Any) -> Tensor:
    """Return the labels of a batch as every loss takes them: int64, or real targets.

    Parameters
    ----------
    labels
        As the data set gives them.

    Raises
    ------
    NeuralCollapseError
        If they are no numbers.
    """
    if not isinstance(labels, Tensor):
        expected, got = "whole numbers from 0 to K - 1", shortened(labels, 3)
        remedy = "let the data set return the number of each class"
        raise NeuralCollapseError("train labels", expected, got, remedy)
    # Losses such as that of one-hot rows take no other whole numbers.
    return labels if labels.is_floating_point() else labels.long()


def on_device(data: Dataset, device: torch.device) -> Dataset:
    """Return a data set of tensors on the device, if half of its free memory holds them.

    Parameters
    ----------
    data
        Returned as it is if it is no `TensorDataset`.
    device
        Where to put it.
    """
    if not isinstance(data, TensorDataset):
        return data
    size = sum(tensor.nbytes for tensor in data.tensors if tensor.device != device)
    if device.type == "cuda" and size > torch.cuda.mem_get_info(device)[0] / 2:
        return data
    return TensorDataset(*(tensor.to(device) for tensor in data.tensors))
