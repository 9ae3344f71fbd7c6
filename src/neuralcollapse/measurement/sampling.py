"""What a loader does to its data set: weighted or repeated draws, padding, augmentation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, RandomSampler, WeightedRandomSampler

from neuralcollapse.measurement.at_rest import random_states
from neuralcollapse.measurement.head_choice import tensors_of

READ_TWICE = 3  # samples, since a random augmentation leaves some unchanged


def sampling_notes(loader: Any) -> list[str]:
    """Return remarks where the numbers would describe the loader rather than its data set.

    That is the case if samples are drawn by weight or with replacement, or repeated so that every
    process has equally many, since counts are then those of the draw; and if a sample differs when
    it is read twice, since NC1 then includes the spread of the augmentation. For this a few samples
    of a map-style data set are read twice; random states are restored.

    Parameters
    ----------
    loader
        A DataLoader; nothing is known about anything else.

    Examples
    --------
    >>> from torch.utils.data import DataLoader
    >>> sampling_notes(DataLoader(torch.zeros(4, 2)))
    []
    """
    return [*_drawn(loader), *_padded(loader), *_augmented(loader)]


def _drawn(loader: Any) -> Iterator[str]:
    sampler = getattr(loader, "sampler", None) or getattr(loader, "batch_sampler", None)
    weighted = isinstance(sampler, WeightedRandomSampler) or hasattr(sampler, "weights")
    repeats = isinstance(sampler, RandomSampler) and sampler.replacement
    if weighted or repeats:
        how = "by weight" if weighted else "with repeats"
        yield (
            f"The loader draws samples {how} ({type(sampler).__name__}): counts and NC1 describe "
            "its draw, not the data set. Pass loader= one that reads every sample once."
        )


def _padded(loader: Any) -> Iterator[str]:
    """Say if samples are repeated so that every process has equally many (torch, Accelerate)."""
    data: Any = getattr(loader, "dataset", None)
    total = getattr(getattr(loader, "sampler", None), "total_size", 0)  # DistributedSampler
    shards: Any = getattr(loader, "batch_sampler", None)
    if getattr(shards, "even_batches", False):  # BatchSamplerShard
        total = len(shards) * (shards.batch_size or 0) * shards.num_processes
    if total and hasattr(type(data), "__len__") and total > len(data):
        yield (
            f"Of {len(data)} samples, {total - len(data)} are counted twice, so that every process "
            "has equally many. Pass loader= one that does not pad."
        )


def _augmented(loader: Any) -> Iterator[str]:
    data: Any = getattr(loader, "dataset", None)
    readable = hasattr(type(data), "__getitem__") and hasattr(type(data), "__len__")
    if not readable or isinstance(data, (IterableDataset, Tensor, list, tuple)) or not len(data):
        return
    indices = sorted({0, len(data) // 2, len(data) - 1})[:READ_TWICE]
    with random_states((loader,)):
        differ = any(_differ(data[i], data[i]) for i in indices)
    if differ:
        yield (
            "A sample of the data set differs when it is read twice: it is augmented, and NC1 "
            "includes the spread of the augmentation. Pass loader= one without augmentation."
        )


def _differ(left: Any, right: Any) -> bool:
    pairs = zip(tensors_of(left), tensors_of(right), strict=False)
    return any(a.shape != b.shape or not torch.equal(a, b) for a, b in pairs)
