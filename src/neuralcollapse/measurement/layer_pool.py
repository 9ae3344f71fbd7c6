"""From the positions of a layer's output to one row of features per sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Pool = Literal["mean", "cls", "last", "max", "flatten"] | Callable[[Tensor], Tensor]


def pooled(rows: Tensor, pool: Pool | None, mask: Tensor | None = None) -> Tensor:
    """Return one row per sample, (n, d), from the features at all positions.

    Parameters
    ----------
    rows
        (n, ..., d).
    pool
        ``"mean"``, ``"max"``, or a single position: ``"cls"`` (the first) or ``"last"``.
    mask
        1 at the positions that are there. Ignored if it does not have their shape.

    Examples
    --------
    >>> rows = torch.tensor([[[1.0], [3.0], [9.0]]])
    >>> there = torch.tensor([[1, 1, 0]])
    >>> [pooled(rows, pool, there).item() for pool in ("mean", "max", "cls", "last")]
    [2.0, 3.0, 1.0, 3.0]
    """
    flat = rows.flatten(1, -2)
    num, positions = flat.shape[:2]
    there = None
    if mask is not None and mask.shape[0] == num and mask.numel() == num * positions:
        there = mask.to(flat.device).reshape(num, positions).bool()
    if pool == "cls":
        return flat[:, 0].clone()
    if pool == "last":
        if there is None:
            return flat[:, -1].clone()
        last = positions - 1 - there.int().flip(1).argmax(1)
        return flat[torch.arange(num, device=flat.device), last]
    if pool == "max":
        return (flat if there is None else flat.masked_fill(~there[..., None], -torch.inf)).amax(1)
    if there is None:
        return flat.mean(1)
    weights = there.to(flat.dtype)
    return (flat * weights[..., None]).sum(1) / weights.sum(1, keepdim=True).clamp(min=1)
