"""What several processes have gathered, put together: the same on each of them, to the bit."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from neuralcollapse.metrics.kept_samples import KeptSamples
from neuralcollapse.metrics.state import CollapseState


def several_ranks() -> bool:
    """Return whether this is one of several processes."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gathered(tensor: Tensor) -> list[Tensor]:
    """Return the tensors of all processes, on the CPU; their shapes may differ, not their dtypes.

    Parameters
    ----------
    tensor
        That of this process. Every process must call.
    """
    # Torchmetrics takes a second to import, and few measure on several processes.
    from torchmetrics.utilities.distributed import gather_all_tensors

    where = torch.cuda.current_device() if dist.get_backend() == "nccl" else "cpu"
    return [part.cpu() for part in gather_all_tensors(tensor.contiguous().to(where))]


def over_ranks(state: CollapseState) -> CollapseState:
    """Return the state of the samples of all processes; this one's if there are not several.

    Every process must call, with a state of the same sizes, some perhaps without samples.

    Parameters
    ----------
    state
        That of this process, which is left as it is.

    Returns
    -------
    CollapseState
        With margins, labels and pairs if they are kept, in the order of the processes; without
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
    total = CollapseState(*sizes)
    for vector in gathered(state.to_vector()):
        total.merge(CollapseState.from_vector(vector, *sizes))
    if state.samples is not None:
        labels = torch.cat(gathered(state.samples.labels))
        # Logits of one process may be wider than those of another.
        margins = torch.cat(gathered(state.samples.margins.double()))
        narrow = margins.float()
        margins = narrow if torch.equal(narrow.double(), margins) else margins
        decided = torch.cat(gathered(state.samples.decided)).to(torch.int32)
        total.samples = KeptSamples(0, labels, margins, decided)
    if state.keeps_pairs:
        none = torch.full((sizes[0],) * 2, float("inf"))
        pairs = none if state.pairs is None else state.pairs
        total.pairs = torch.stack(gathered(pairs.double())).amin(0) if total.counts.judged else None
    return total


def shared_head(
    head: tuple[Tensor, Tensor | None] | None,
) -> tuple[Tensor, Tensor | None] | None:
    """Return the head of this process, or of the first that has one; None if no process has.

    Every process must call.

    Parameters
    ----------
    head
        (K, d) weight, and (K,) bias if there is one; None on a process without data, where no
        network ran and none was found.

    Examples
    --------
    >>> shared_head(None) is None
    True
    """
    if not several_ranks():
        return head
    weight, bias = head or (torch.zeros(0, 0), None)
    weights = gathered(weight.double())
    biases = gathered(torch.zeros(0, dtype=torch.float64) if bias is None else bias.double())
    found = [(w, b if len(b) else None) for w, b in zip(weights, biases, strict=True) if len(w)]
    return head or (found[0] if found else None)
