"""Small batches gathered, and checked, into slabs long enough for one good matrix product."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError

SLAB_ROWS = 2048
PADDING = 16  # zero columns: rows a power of two apart would compete for cache, a tenth slower
SQUARE_HEADROOM = 1e-6  # of the largest float: sums of 16k squares of differences fit as well


class SlabBuffer:
    """Copy batches into one array of `SLAB_ROWS` rows, and hand it out when it is full.

    On the CPU a batch that is not finite, or too large to square, is refused before anything is
    copied. On an accelerator the check waits until the slab is handed out, since it would stall
    the device; the slab is then dropped.

    Parameters
    ----------
    dim
        d.
    dtype
        float32 or float64, to which features are converted.
    device
        Where features come from.
    num_batches
        How many batches came before, for the number of a bad one in its error.

    Examples
    --------
    >>> buffer = SlabBuffer(3, torch.float32, torch.device("cpu"))
    >>> list(buffer.append(torch.ones(5, 3), torch.tensor([0, 1, 0, 1, 0])))
    []
    >>> rows, labels = buffer.take()
    >>> rows[:, :3].sum(), labels.tolist()
    (tensor(15.), [0, 1, 0, 1, 0])
    """

    def __init__(
        self, dim: int, dtype: torch.dtype, device: torch.device, num_batches: int = 0
    ) -> None:
        self._padded = torch.zeros(SLAB_ROWS, dim + PADDING, dtype=dtype, device=device)
        self.rows = self._padded[:, :dim]
        self.labels = torch.empty(SLAB_ROWS, dtype=torch.int64, device=device)
        self.filled = 0
        self.num_batches = num_batches
        self._limit = SQUARE_HEADROOM * torch.finfo(dtype).max
        self._first_batch = num_batches  # of those in the slab

    def append(self, features: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Copy a batch in; yield (rows, labels) each time the slab is full.

        The slab is reused when the iteration goes on.
        """
        self.num_batches += 1
        rows = features.to(self.rows.dtype)
        if features.is_cpu and not self._squarable(rows):
            raise _value_error(features, rows.dtype, f"batch {self.num_batches - 1}")
        if not self.filled:
            self._first_batch = self.num_batches - 1
        start = 0
        while start < len(rows):
            count = min(len(rows) - start, SLAB_ROWS - self.filled)
            self.rows[self.filled : self.filled + count] = rows[start : start + count]
            self.labels[self.filled : self.filled + count] = labels[start : start + count]
            self.filled += count
            start += count
            if self.filled == SLAB_ROWS:
                yield self.take()
                self._first_batch = self.num_batches - 1

    def take(self) -> tuple[Float[Tensor, "n padded"], Int[Tensor, " n"]]:
        """Empty the slab and return its (rows, labels), valid until the next `append`.

        The rows are followed by `PADDING` zeros each.
        """
        rows, labels = self.rows[: self.filled], self.labels[: self.filled]
        self.filled = 0
        if not rows.is_cpu and not self._squarable(rows):
            where = f"batches {self._first_batch}..{self.num_batches - 1} (dropped)"
            raise _value_error(rows, rows.dtype, where)
        return self._padded[: len(rows)], labels

    def _squarable(self, rows: Tensor) -> bool:
        """Tell of NaN, infinity and overflow by a dot product, at the price of a sum."""
        if len(rows) > SLAB_ROWS:
            return all(self._squarable(part) for part in rows.split(SLAB_ROWS))
        values = rows.reshape(-1)
        return values.dot(values).item() <= self._limit


def _value_error(features: Tensor, dtype: torch.dtype, where: str) -> NeuralCollapseError:
    bad = int((~torch.isfinite(features)).sum())
    if not bad:
        return NeuralCollapseError(
            f"features in {where}",
            f"values whose squares can be summed in {dtype}",
            f"values up to {float(features.abs().max()):.3g}",
            "rescale the features, or pass them as float64",
        )
    hint = (
        "float16 overflows at 65504: measure in bfloat16 or float32"
        if features.dtype == torch.float16
        else "find where they come from before measuring"
    )
    return NonFiniteError(
        f"features in {where}",
        "finite numbers",
        f"{bad} NaN or infinite of {features.numel()}",
        hint,
    )
