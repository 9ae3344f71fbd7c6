"""Small batches gathered, and checked, into slabs long enough for one good matrix product."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.validation import integer_labels

SLAB_ROWS = 2048


class SlabBuffer:
    """Copy batches into one array of `SLAB_ROWS` rows, and hand it out when it is full.

    On the CPU a bad batch is refused before anything is copied. On an accelerator the checks wait
    until the slab is handed out, since each would stall the device; the slab is then dropped.

    Parameters
    ----------
    num_classes, dim
        K and d.
    dtype
        float32 or float64, to which features are converted.
    device
        Where features come from.
    num_batches
        How many batches came before, for the number of a bad one in its error.

    Examples
    --------
    >>> buffer = SlabBuffer(2, 3, torch.float32, torch.device("cpu"))
    >>> list(buffer.append(torch.ones(5, 3), torch.tensor([0, 1, 0, 1, 0])))
    []
    >>> rows, labels = buffer.take()
    >>> rows.shape, labels.tolist()
    (torch.Size([5, 3]), [0, 1, 0, 1, 0])
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        dtype: torch.dtype,
        device: torch.device,
        num_batches: int = 0,
    ) -> None:
        self.num_classes = num_classes
        self.rows = torch.empty(SLAB_ROWS, dim, dtype=dtype, device=device)
        self.labels = torch.empty(SLAB_ROWS, dtype=torch.int64, device=device)
        self.filled = 0
        self.num_batches = num_batches
        self._norms: list[Tensor] = []  # of the batches not yet checked

    def append(self, features: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Copy a batch in; yield (rows, labels) each time the slab is full.

        The slab is reused when the iteration goes on.
        """
        self.num_batches += 1
        rows = features.to(self.rows.dtype)
        norm = torch.linalg.vector_norm(rows)
        if self.rows.device.type == "cpu":
            labels = integer_labels("labels", labels, len(rows), self.num_classes)
            if not torch.isfinite(norm):
                raise _magnitude_error(features, f"batch {self.num_batches - 1}")
        else:
            self._norms.append(norm)
        start = 0
        while start < len(rows):
            count = min(len(rows) - start, SLAB_ROWS - self.filled)
            self.rows[self.filled : self.filled + count] = rows[start : start + count]
            self.labels[self.filled : self.filled + count] = labels[start : start + count]
            self.filled += count
            start += count
            if self.filled == SLAB_ROWS:
                yield self.take()

    def take(self) -> tuple[Float[Tensor, "n d"], Int[Tensor, " n"]]:
        """Empty the slab and return its (rows, labels), valid until the next `append`."""
        rows, labels = self.rows[: self.filled], self.labels[: self.filled]
        norms, self._norms, self.filled = self._norms, [], 0
        if norms:
            last = self.num_batches - 1
            batches = f"batches {last - len(norms) + 1}..{last}"
            labels = integer_labels(f"labels of {batches}", labels, len(rows), self.num_classes)
            if not torch.isfinite(torch.stack(norms)).all():
                raise _magnitude_error(rows, f"{batches} (dropped)")
        return rows, labels


def _magnitude_error(features: Tensor, where: str) -> NeuralCollapseError:
    """Say why the norm of these features is not finite."""
    bad = int((~torch.isfinite(features)).sum())
    if not bad:
        return NeuralCollapseError(
            f"features in {where}",
            "values whose squares are finite in float32",
            f"values up to {float(features.abs().max()):.3g}",
            "rescale the features or pass them as float64",
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
