"""The one form that moments are kept in: centred, float64, checked when it is read."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError


def checked_state(state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return counts, means, trace variances and scatter of a state dict, if they are some.

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
    names = ("counts", "means", "trace_variances", "scatter")
    if set(state) != set(names):
        raise NeuralCollapseError(
            "state", f"the tensors {names}", str(sorted(state)), "save it with ClassMoments"
        )
    counts, means, variances, scatter = (state[name].to(torch.float64) for name in names)
    if (
        means.ndim != 2
        or counts.shape != means.shape[:1]
        or variances.shape != means.shape[:1]
        or scatter.shape[1:] != means.shape[1:] * 2
        or len(scatter) not in (0, 1, len(means))
        or not all(bool(torch.isfinite(t).all()) for t in (counts, means, variances, scatter))
        or bool(((counts < 0) | (counts != counts.round())).any())
        or bool((variances < 0).any())
    ):
        raise NeuralCollapseError(
            "state",
            "finite counts (K,), means (K, d), trace_variances (K,), scatter (0, 1 or K; d; d)",
            str({name: tuple(state[name].shape) for name in names}),
            "the file is not whole: save the moments again",
        )
    return counts, means, variances, scatter
