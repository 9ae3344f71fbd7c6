"""The one form that moments are kept in: centred, float64, checked when it is read."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.moments.group_sums import GROUPS

NAMES = ("counts", "means", "trace_variances", "scatter")
COARSE = "coarse"  # 1 where float32 products are in the scatter; files before 0.2 lack it
NARROW = 0.5  # its value where features were float32, or narrower, and their products float64
OF_GROUPS = ("group_counts", "group_sums", "group_squares")


def checked_state(state: Mapping[str, Tensor]) -> list[Tensor]:
    """Return counts, means, trace variances, scatter and its coarseness, if a state dict is whole.

    Counts, sums and squares of groups follow, where there are groups.

    Parameters
    ----------
    state
        As `ClassMoments.state_dict` returns it.

    Raises
    ------
    NeuralCollapseError
        If a tensor is missing or its shape or values make no sense.

    Examples
    --------
    >>> row = torch.zeros(1)
    >>> state = {"counts": row, "means": row[None], "trace_variances": row}
    >>> checked_state({**state, "scatter": torch.zeros(0, 1, 1)})[1].shape
    torch.Size([1, 1])
    """
    names = (*NAMES, COARSE, *(() if set(state).isdisjoint(OF_GROUPS) else OF_GROUPS))
    if {*state, COARSE} != set(names):
        raise NeuralCollapseError(
            "state", f"the tensors {names}", str(sorted(state)), "save it with ClassMoments"
        )
    found = [state.get(name, torch.zeros(1, device="cpu")).to(torch.float64) for name in names]
    counts, means, variances, scatter, coarse, *groups = found
    if (
        means.ndim != 2
        or counts.shape != means.shape[:1]
        or variances.shape != means.shape[:1]
        or scatter.shape[1:] != means.shape[1:] * 2
        or len(scatter) not in (0, 1, len(means))
        or not all(bool(torch.isfinite(tensor).all()) for tensor in found)
        or bool(((counts < 0) | (counts != counts.round())).any())
        or bool((variances < 0).any())
        or coarse.tolist() not in ([0.0], [NARROW], [1.0])
        or (groups and not _are_parts(counts, means, *groups))
    ):
        raise NeuralCollapseError(
            "state",
            "finite counts (K,), means (K, d), trace_variances (K,), scatter (0, 1 or K; d; d)",
            str({name: tuple(tensor.shape) for name, tensor in state.items()}),
            "the file is not whole: save the moments again",
        )
    return found


def _are_parts(counts: Tensor, means: Tensor, parts: Tensor, sums: Tensor, squares: Tensor) -> bool:
    """Tell whether groups make up the whole."""
    shape = (GROUPS, len(counts))
    fit = parts.shape == squares.shape == shape and sums.shape == (*shape, means.shape[1])
    return fit and not bool((parts < 0).any()) and torch.equal(parts.sum(0), counts)
