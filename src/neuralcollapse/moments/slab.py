"""Small batches gathered, and checked, into slabs long enough for one good matrix product."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError

SLAB_ROWS = 2048
PART = 2**18  # numbers copied, centred and squared at once: few enough to stay in cache
PADDING = 16  # zero columns: rows a power of two apart would compete for cache, a tenth slower
CEILING = 1e-6  # of the largest float: sums of 16k squares of differences fit as well
FLOOR = {torch.float32: 1e-24, torch.float64: 1e-290}  # mean squares of rows that may vanish


class SlabBuffer:
    """Copy batches into one array of `SLAB_ROWS` rows, and hand it out when it is full.

    Each row is touched once: copied, taken relative to the shift of its class if all classes have
    one, and its norm taken while it is in cache; the norms then tell of NaN, infinity and overflow.
    On the CPU a batch that cannot be squared is refused, and the slab is as before. On an
    accelerator the check waits until the slab is handed out, since it would stall the device; the
    slab is then dropped.

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
    shift
        (K, d) in this dtype, to be taken off the rows of each class; None to copy them as they are.

    Attributes
    ----------
    norms
        (2048,) norms of the rows, as the slab holds them.

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
        self,
        dim: int,
        dtype: torch.dtype,
        device: torch.device,
        num_batches: int = 0,
        shift: Tensor | None = None,
    ) -> None:
        self._padded = torch.zeros(SLAB_ROWS, dim + PADDING, dtype=dtype, device=device)
        self.rows = self._padded[:, :dim]
        self.norms = torch.zeros(SLAB_ROWS, dtype=dtype, device=device)
        self.labels = torch.empty(SLAB_ROWS, dtype=torch.int64, device=device)
        self.filled = 0
        self.num_batches = num_batches
        self.shift = shift  # changed only while the slab is empty
        self._part = part_rows(dim, device)
        self._limit = CEILING * torch.finfo(dtype).max
        self._first_batch = num_batches  # of those in the slab

    def append(self, features: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Copy a batch in; yield (rows, labels) each time the slab is full.

        The slab is reused when the iteration goes on.
        """
        where = f"batch {self.num_batches}"
        self.num_batches += 1
        if not self.filled:
            self._first_batch = self.num_batches - 1
        size = features.shape[0]  # ten times as fast as len, here once per batch
        whole = size <= SLAB_ROWS - self.filled
        if not whole and features.is_cpu:  # before a part of it can leave the slab
            squares = [
                float(torch.linalg.vector_norm(part.to(self.rows.dtype))) ** 2
                for part in features.split(SLAB_ROWS)
            ]
            self._check(features, sum(squares), where)
        start = 0
        while start < size:
            count = min(size - start, SLAB_ROWS - self.filled)
            self._place(features[start : start + count], labels[start : start + count])
            if whole and features.is_cpu:
                self._check(features, self._squares(self.filled, self.filled + count), where)
            self.filled += count
            start += count
            if self.filled == SLAB_ROWS:
                yield self.take()
                self._first_batch = self.num_batches - 1

    def take(self) -> tuple[Float[Tensor, "n padded"], Int[Tensor, " n"]]:
        """Empty the slab and return its (rows, labels), valid until the next `append`.

        The rows are followed by `PADDING` zeros each. They are float64 where their squares would
        vanish in float32.
        """
        count, self.filled = self.filled, 0
        padded, labels = self._padded[:count], self.labels[:count]
        squares = self._squares(0, count)
        if not padded.is_cpu:
            where = f"batches {self._first_batch}..{self.num_batches - 1} (dropped)"
            self._check(self.rows[:count], squares, where)
        if count and squares <= FLOOR[padded.dtype] * count and bool(padded.any()):
            padded = padded.to(torch.float64)
        return padded, labels

    def _place(self, features: Tensor, labels: Tensor) -> None:
        """Write rows, labels and norms behind the mark, which stays where it is."""
        start, count = self.filled, labels.shape[0]
        self.labels[start : start + count] = labels
        for first in range(0, count, self._part):
            last = min(first + self._part, count)
            part, rows = features[first:last], self.rows[start + first : start + last]
            if self.shift is None:
                rows.copy_(part)
            else:
                part_labels = labels[first:last]
                if not part.is_cpu:  # there a wrong label is found out later, and must do no harm
                    part_labels = part_labels.clamp(0, self.shift.shape[0] - 1)
                # Into the slab itself: a third array would not fit beside them in the cache.
                torch.index_select(self.shift, 0, part_labels, out=rows)
                torch.sub(part.to(rows.dtype), rows, out=rows)
            torch.linalg.vector_norm(rows, dim=1, out=self.norms[start + first : start + last])

    def _squares(self, start: int, stop: int) -> float:
        norms = self.norms[start:stop]
        return float(norms.dot(norms))

    def _check(self, features: Tensor, squares: float, where: str) -> None:
        """Refuse features whose squares, of this sum, cannot be summed in the slab's dtype."""
        dtype = self.rows.dtype
        if not squares <= self._limit:
            raise _value_error(features, dtype, where)
        vanishing = squares <= FLOOR[dtype] * len(features) and dtype == torch.float64
        if vanishing and 0 < float(features.abs().max()) < 1e-140:
            raise _value_error(features, dtype, where)


def part_rows(dim: int, device: torch.device) -> int:
    """Return how many rows of a slab to work on at once; a GPU waits for calls, not for cache."""
    return max(1, min(SLAB_ROWS, PART // dim)) if device.type == "cpu" else SLAB_ROWS


def _value_error(features: Tensor, dtype: torch.dtype, where: str) -> NeuralCollapseError:
    bad = int((~torch.isfinite(features)).sum())
    if not bad:
        expected = f"values whose squares can be summed in {dtype}"
        got = f"values up to {float(features.abs().max()):.3g}"
        remedy = "rescale the features, or pass them as float64"
        return NeuralCollapseError(f"features in {where}", expected, got, remedy)
    hint = (
        "float16 overflows at 65504: measure in bfloat16 or float32"
        if features.dtype == torch.float16
        else "find where they come from before measuring"
    )
    got = f"{bad} NaN or infinite of {features.numel()}"
    return NonFiniteError(f"features in {where}", "finite numbers", got, hint)
