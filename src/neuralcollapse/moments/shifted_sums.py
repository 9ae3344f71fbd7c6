"""First and second sums of the classes, each taken about a point near its own mean."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from neuralcollapse.validation import integer_labels

FLUSH_ROWS = 16384  # float32 sums run over at most so many rows, then move to float64
PART_ROWS = 256  # rows centred at once: few enough to stay in cache
SETTLED_FACTOR = 64  # a shift is judged again when its class has so many times the samples
SHIFT_TOLERANCE = 4.0  # a shift is moved when its square miss exceeds so many times the variance


class ShiftedSums:
    r"""Sums about a shift c_k per class: n, sum (x-c), sum \|x-c\|^2, sum (x-c)(x-c)^T.

    Sums run in the dtype of the rows for `FLUSH_ROWS` rows and then move into float64 totals. Of
    each scatter only the upper triangle is kept up to date.

    Parameters
    ----------
    num_classes, dim
        K and d.
    scatters
        How many d x d scatters: 0, 1 (all classes together) or K (one each).
    dtype
        float32 or float64: what rows are centred and multiplied in.
    device
        Where the sums live.
    """

    def __init__(
        self, num_classes: int, dim: int, scatters: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.shift = torch.zeros(num_classes, dim, dtype=dtype, device=device)
        self.count = torch.zeros(num_classes, dtype=torch.int64, device=device)
        self.square = torch.zeros(num_classes, dtype=torch.float64, device=device)
        self.sum = torch.zeros(num_classes, dim, dtype=torch.float64, device=device)
        self.scatter = torch.zeros(scatters, dim, dim, dtype=torch.float64, device=device)
        self._settled = torch.zeros_like(self.count)  # the count when the shift was last judged
        self._recent_rows = 0
        self._recent_sum: Tensor | None = None
        self._recent_scatter: Tensor | None = None

    def add(self, padded: Tensor, labels: Tensor) -> None:
        """Add rows (n, d), labelled within range, of finite squares. The rows are overwritten.

        They come as a slab hands them out: the columns after the d-th are zero.
        """
        rows = padded[:, : self.shift.shape[1]]
        if not len(rows):
            return
        if not rows.is_cpu:  # where they are not checked batch by batch; one wait for the device
            integer_labels("labels", labels, len(rows), len(self.count))
        self._settle_shifts(rows, labels)
        if self._recent_sum is None or self._recent_scatter is None:
            self._recent_sum = padded.new_zeros(len(self.shift), padded.shape[1])
            self._recent_scatter = torch.zeros_like(self.scatter, dtype=self.shift.dtype)
        for part, part_labels in zip(rows.split(PART_ROWS), labels.split(PART_ROWS), strict=True):
            part.sub_(self.shift.index_select(0, part_labels))  # 4x faster than self.shift[...]
        squared_norms = _squared_norms(rows)
        self.count += torch.bincount(labels, minlength=len(self.count))
        self.square += torch.bincount(labels, squared_norms, minlength=len(self.count))
        self._recent_sum.index_add_(0, labels, padded)  # ten times slower without the padding
        with torch.autocast(rows.device.type, enabled=False):  # it would multiply in half precision
            for scatter, group in self._by_scatter(self._recent_scatter, rows, labels):
                for panel in _panels(rows.shape[1]):
                    right = group[:, panel.start :]
                    scatter[panel, panel.start :].addmm_(group[:, panel].T, right)
        self._recent_rows += len(rows)
        # Narrow sums flush sooner, at no cost beside the products: their BLAS adds row after row.
        if self._recent_rows >= min(FLUSH_ROWS, 32 * sum(self.shift.shape)):
            self.flush()

    def flush(self) -> None:
        """Move the recent sums into the float64 totals, and free them."""
        if self._recent_sum is not None and self._recent_scatter is not None:
            self.sum += self._recent_sum[:, : self.sum.shape[1]]
            for panel in _panels(self.shift.shape[1]):
                upper = (slice(None), panel, slice(panel.start, None))
                self.scatter[upper] += self._recent_scatter[upper]
        self._recent_rows, self._recent_sum, self._recent_scatter = 0, None, None

    def merge(self, other: ShiftedSums) -> None:
        """Add the sums of other samples; order and grouping matter to round-off alone."""
        self.flush()
        other.flush()
        fresh = self.count == 0
        self.shift[fresh] = other.shift[fresh].to(self.shift.dtype)
        self._settled[fresh] = other._settled[fresh]
        self.count += other.count
        self.square += other.square
        self.sum += other.sum
        self.scatter += other.scatter
        step = other.shift.to(torch.float64) - self.shift
        self._correct(self._all_classes(), step, other.count, other.sum)

    def to(self, device: torch.device, dtype: torch.dtype) -> ShiftedSums:
        """Return these sums on another device, with their shifts in another dtype."""
        self.flush()
        moved = ShiftedSums(
            self.shift.shape[0], self.shift.shape[1], len(self.scatter), dtype, device
        )
        for name in ("shift", "count", "square", "sum", "scatter", "_settled"):
            getattr(moved, name).copy_(getattr(self, name))
        step = self.shift.to(device, torch.float64) - moved.shift  # what a narrower dtype lost
        moved._correct(moved._all_classes(), step, moved.count, moved.sum.clone())
        return moved

    def miss(self) -> Tensor:
        """Return the class means minus the shifts, (K, d) float64; zero for an absent class."""
        self.flush()
        return self.sum / self.count[:, None].clamp_min(1)

    def centered_scatter(self) -> Tensor:
        """Return the scatters about the class means, (scatters, d, d) float64, symmetric."""
        miss = self.miss()
        self._mirror()
        centered = self.scatter.clone()
        moved = miss * self.count[:, None]
        if len(centered) == 1:
            centered[0].addmm_(moved.T, miss, alpha=-1)
        elif len(centered) > 1:
            centered.baddbmm_(moved[:, :, None], miss[:, None, :], alpha=-1)
        return centered

    def centered_trace(self, rows: Tensor) -> Tensor:
        """Return tr(R S R^T) of each centred scatter S, (scatters,), without forming S."""
        correction = (rows @ self.miss().T).square_().sum(0) * self.count
        self._mirror()
        traces = [(rows @ scatter).mul_(rows).sum() for scatter in self.scatter]
        return torch.stack(traces) - (correction.sum() if len(traces) == 1 else correction)

    def _mirror(self) -> None:
        """Copy the upper triangles, which alone are kept up to date, onto the lower ones."""
        for panel in _panels(self.shift.shape[1]):
            below, block = slice(panel.stop, None), self.scatter[:, panel, panel]
            self.scatter[:, below, panel] = self.scatter[:, panel, below].mT
            block.copy_(block.triu() + block.triu(1).mT)

    def _all_classes(self) -> Tensor:
        return torch.arange(len(self.count), device=self.count.device)

    def _settle_shifts(self, rows: Tensor, labels: Tensor) -> None:
        """Give new classes a shift; judge that of others when their count has grown enough.

        What float32 loses is the square of the shift's miss over the variance. If the miss comes
        from an outlier among the n samples that set the shift, that is at most the number of
        samples since over n^2: with `SETTLED_FACTOR`, never worth mentioning.
        """
        incoming = torch.bincount(labels, minlength=len(self.count))
        due = (incoming > 0) & (self.count + incoming >= SETTLED_FACTOR * self._settled)
        selected = due[labels].nonzero().squeeze(1)
        if not len(selected):
            return
        classes, position = labels[selected].unique(return_inverse=True)
        new = self.count[classes] == 0
        # A new class is first taken about its first sample: sums of the large raw values would
        # round away the spread of a collapsed class.
        first = selected.new_full((len(classes),), len(rows))
        first.scatter_reduce_(0, position, selected, "amin")
        self.shift[classes[new]] = rows[first[new]]
        missed = torch.zeros(
            len(classes), rows.shape[1], dtype=self.shift.dtype, device=rows.device
        )
        square = self.square.index_select(0, classes)
        parts = zip(selected.split(PART_ROWS), position.split(PART_ROWS), strict=True)
        for part, part_position in parts:
            difference = rows.index_select(0, part)
            difference -= self.shift.index_select(0, labels[part])
            missed.index_add_(0, part_position, difference)
            square.index_add_(0, part_position, _squared_norms(difference))
        count = self.count[classes] + incoming[classes]
        self._settled[classes] = count
        if self._recent_sum is not None:
            missed += self._recent_sum[classes, : missed.shape[1]]
        miss = (missed + self.sum[classes]) / count[:, None]
        between = count * miss.square().sum(1)
        moving = new | (between > SHIFT_TOLERANCE * (square - between))
        self._reshift(classes[moving], miss[moving])

    def _reshift(self, classes: Tensor, step: Tensor) -> None:
        """Move the shifts of `classes` by `step` (c, d), rounded to what the shift can hold."""
        old = self.shift[classes]
        self.shift[classes] = (old + step).to(old.dtype)
        known = self.count[classes] > 0
        if known.any():
            self.flush()
            classes, old = classes[known], old[known]
            back = old.to(torch.float64) - self.shift[classes]
            self._correct(classes, back, self.count[classes], self.sum[classes])

    def _correct(self, classes: Tensor, step: Tensor, count: Tensor, total: Tensor) -> None:
        """Correct for (x - c) becoming (x - c) + step, for samples of given count and total."""
        moved = count[:, None] * step
        half = total + moved / 2
        self.square[classes] += 2 * (step * half).sum(1)
        self.sum[classes] += moved
        if len(self.scatter) == 1:
            self.scatter[0].addmm_(half.T, step).addmm_(step.T, half)
        elif len(self.scatter) > 1:
            for k, a, b in zip(classes.tolist(), half, step, strict=True):
                self.scatter[k].addr_(a, b).addr_(b, a)

    def _by_scatter(
        self, scatters: Tensor, rows: Tensor, labels: Tensor
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Pair each scatter with the rows that belong to it."""
        if len(scatters) == 1:
            yield scatters[0], rows
        elif len(scatters) > 1:
            for k in labels.unique().tolist():
                yield scatters[k], rows[labels == k]


def _squared_norms(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=1).to(torch.float64).square_()


def _panels(dim: int) -> Iterator[slice]:
    """Column panels whose products make up the upper triangle; the widths keep BLAS efficient."""
    width = max(64, dim // 8)
    return (slice(start, min(start + width, dim)) for start in range(0, dim, width))
