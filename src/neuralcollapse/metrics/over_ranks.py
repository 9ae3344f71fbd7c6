"""States of several processes merged into one, identical on each of them to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.kept_samples import KeptSamples
from neuralcollapse.metrics.state import CollapseState


def several_ranks() -> bool:
    """Return whether this is one of several processes."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gathered(tensor: Tensor) -> list[Tensor]:
    """Return the tensors of all processes, on the CPU; shapes may differ, dtypes may not.

    Parameters
    ----------
    tensor
        The tensor of this process. Every process must call.
    """
    # Torchmetrics takes a second to import, and few measure on several processes.
    from torchmetrics.utilities.distributed import gather_all_tensors

    where = torch.cuda.current_device() if dist.get_backend() == "nccl" else "cpu"
    return [part.cpu() for part in gather_all_tensors(tensor.contiguous().to(where))]


def over_ranks(state: CollapseState) -> CollapseState:
    """Return the state of the samples of all processes, or `state` if there is only one.

    Every process must call with a state of the same sizes, possibly without samples.

    Parameters
    ----------
    state
        The state of this process; not modified.

    Returns
    -------
    CollapseState
        With margins, labels and pairs if they are kept, in the order of the processes, but without
        features.

    Examples
    --------
    >>> state = CollapseState(2, 1)
    >>> over_ranks(state) is state
    True
    """
    if not several_ranks():
        return state
    moments = state.moments
    sizes = (moments.num_classes, moments.dim, moments.scatter)
    total = CollapseState(*sizes, intervals=moments.groups)
    for vector in gathered(state.to_vector()):
        total.merge(CollapseState.from_vector(vector, *sizes, moments.groups))
    total.left_out = torch.stack(gathered(state.left_out)).sum(0)
    total.looked = torch.stack(gathered(state.looked)).sum(0)
    if state.samples is not None:
        labels = torch.cat(gathered(state.samples.labels))
        # Logits of one process may be wider than those of another.
        margins = torch.cat(gathered(state.samples.margins.double()))
        narrow = margins.float()
        margins = narrow if torch.equal(narrow.double(), margins) else margins
        decided = torch.cat(gathered(state.samples.decided)).to(torch.int32)
        sure = torch.cat(gathered(state.samples.confidences.double()))
        total.samples = KeptSamples(0, labels, margins, decided, sure)
    if state.keeps_pairs:
        none = torch.full((sizes[0],) * 2, float("inf"))
        pairs = none if state.pairs is None else state.pairs
        total.pairs = torch.stack(gathered(pairs.double())).amin(0) if total.counts.judged else None
    return total


def shared(value: Any) -> Any:
    """Return the value of this process or, if None, of the first process that has one.

    Every process must call.

    Parameters
    ----------
    value
        Anything that can be pickled, such as a head; None on a process without data.

    Examples
    --------
    >>> shared(None) is None
    True
    """
    if not several_ranks():
        return value
    there: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(there, value is not None)
    if all(there) or not any(there):
        return value
    box = [value]
    dist.broadcast_object_list(box, src=there.index(True))
    return box[0] if value is None else value


@contextmanager
def one_refuses_all_refuse(merged: bool = True) -> Iterator[None]:
    """Raise on every process if one has an error, before any waits for the data of another.

    Every process must enter and leave the block.

    Parameters
    ----------
    merged
        Whether the processes work together; if not, nothing is done.

    Raises
    ------
    NeuralCollapseError
        On a process without an error of its own; it names the process that has one.

    Examples
    --------
    >>> with one_refuses_all_refuse():
    ...     pass
    """
    error: Exception | None = None
    try:
        yield
    except Exception as own:  # raised again on every process, below
        error = own
    if merged and several_ranks():
        said: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(said, None if error is None else f"{error}")
        other = next((rank for rank, words in enumerate(said) if words is not None), None)
        if error is None and other is not None:
            expected = "parts that every process can measure"
            got = f"on process {other}: {said[other]}"
            raise NeuralCollapseError("data", expected, got, "fix the data of that process")
    if error is not None:
        raise error
