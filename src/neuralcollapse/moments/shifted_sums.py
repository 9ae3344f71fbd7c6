"""First and second sums of the classes, each taken about a point near its own mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from neuralcollapse.moments.group_sums import GroupSums, deal
from neuralcollapse.moments.precision import LEAST_ROWS, drowns
from neuralcollapse.moments.slab import SLAB_ROWS, part_rows
from neuralcollapse.moments.upper_product import add_upper_product, column_panels, mirror
from neuralcollapse.validation import integer_labels

FLUSH_ROWS = 16384  # float32 sums run over at most so many rows, then move to float64
SETTLED_FACTOR = 64  # a shift is judged again when its class has so many times the samples
SHIFT_TOLERANCE = 4.0  # a shift is moved when its square miss exceeds so many times the variance
PART = 4096  # classes whose means are multiplied at once, so that no copy of all is made
GROWTH = 16  # the spectrum is looked at again when the mean square of the rows is so many times it


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
        float32 or float64: what rows are centred and multiplied in. float32 becomes float64 where
        it would lose digits, see `drowns`.
    device
        Where the sums live.
    groups
        Whether to keep counts, sums and squares of groups of samples, too.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        scatters: int,
        dtype: torch.dtype,
        device: torch.device,
        groups: bool = False,
    ) -> None:
        self.shift = torch.zeros(num_classes, dim, dtype=dtype, device=device)
        self.count = torch.zeros(num_classes, dtype=torch.int64, device=device)
        self.square = torch.zeros(num_classes, dtype=torch.float64, device=device)
        self.sum = torch.zeros(num_classes, dim, dtype=torch.float64, device=device)
        self.scatter = torch.zeros(scatters, dim, dim, dtype=torch.float64, device=device)
        self._settled = torch.zeros_like(self.count)  # the count when the shift was last judged
        self._room = 0  # at least so many samples come before a shift is judged again
        self._judged: dict[int, float] = {}  # by scatter: mean square when its rows were looked at
        self.ready = False  # whether rows may be centred as they come, see `_is_ready`
        self.coarse = 0.0  # 1 with float32 products in the scatters, 1/2 with rows of float32 alone
        self.groups = GroupSums(num_classes, dim, device) if groups else None
        self._recent_rows = 0
        self._recent_sum: Tensor | None = None  # one row per class, or one per group and class
        self._recent_scatter: Tensor | None = None

    def add(self, padded: Tensor, labels: Tensor, norms: Tensor, centered: bool = False) -> None:
        """Add rows (n, d), labelled within range, of finite squares. The rows are overwritten.

        They come as a slab hands them out: the columns after the d-th are zero, and if `centered`
        they are relative to the shifts of their classes already, with these norms (n,).
        """
        if not len(padded):
            return
        if not padded.is_cpu:  # where they are not checked batch by batch; one wait for the device
            integer_labels("labels", labels, len(padded), len(self.count))
        incoming = torch.bincount(labels, minlength=len(self.count))
        padded, norms = self._centered(padded, labels, norms, centered, incoming)
        rows = padded[:, : self.shift.shape[1]]
        cells = labels
        if self.groups is not None:  # the sums of classes are then those of their groups
            cells = deal(labels, incoming, self.count)
        if self._recent_sum is None or self._recent_scatter is None:
            num_cells = len(self.shift) if self.groups is None else self.groups.count.numel()
            self._recent_sum = padded.new_zeros(num_cells, padded.shape[1])
            self._recent_scatter = torch.zeros_like(self.scatter, dtype=self.shift.dtype)
        squared_norms = norms.to(torch.float64).square()
        self.count += incoming
        self.ready = self._is_ready(len(rows))
        squares = torch.bincount(cells, squared_norms, minlength=len(self._recent_sum))
        if self.groups is not None:
            self.groups.count += torch.bincount(cells, minlength=len(squares)).view(
                -1, len(incoming)
            )
            self.groups.square += squares.view(-1, len(incoming))
            squares = squares.view(-1, len(incoming)).sum(0)
        self.square += squares
        self._recent_sum.index_add_(0, cells, padded)  # ten times slower without the padding
        with torch.autocast(rows.device.type, enabled=False):  # it would multiply in half precision
            for k, mine in self._by_scatter(labels):
                group = rows[mine]
                few = len(group) < LEAST_ROWS  # nothing can be told of them; float64 costs nothing
                total = self.scatter[k] if few else self._recent_scatter[k]
                add_upper_product(total, group.to(total.dtype))
                self.coarse = max(self.coarse, float(total.dtype == torch.float32))
        self._recent_rows += len(rows)
        # Narrow sums flush sooner, at no cost beside the products: their BLAS adds row after row.
        if self._recent_rows >= min(FLUSH_ROWS, 32 * sum(self.shift.shape)):
            self.flush()

    def flush(self) -> None:
        """Move the recent sums into the float64 totals, and free them."""
        if self._recent_sum is not None and self._recent_scatter is not None:
            recent = self._recent_sum.view(-1, len(self.sum), self._recent_sum.shape[1])
            for group, part in enumerate(recent[..., : self.sum.shape[1]]):
                self.sum += part
                if self.groups is not None:
                    self.groups.sum[group] += part
            for panel in column_panels(self.shift.shape[1]):
                upper = (slice(None), panel, slice(panel.start, None))
                self.scatter[upper] += self._recent_scatter[upper]
        self._recent_rows, self._recent_sum, self._recent_scatter = 0, None, None

    def merge(self, other: ShiftedSums) -> None:
        """Add the sums of other samples; order and grouping matter to round-off alone."""
        self.flush()
        other.flush()
        if other.shift.dtype == torch.float64:
            self._widen()
        fresh = self.count == 0
        self.shift[fresh] = other.shift[fresh].to(self.shift.dtype)
        self._settled[fresh] = other._settled[fresh]
        self.count += other.count
        self._room = 0
        self.ready, self.coarse = self._is_ready(0), max(self.coarse, other.coarse)
        self.square += other.square
        self.sum += other.sum
        self.scatter += other.scatter
        step = other.shift.to(torch.float64) - self.shift
        self._correct(self._all_classes(), step, other.count, other.sum)
        if self.groups is not None and other.groups is not None:
            moved = other.groups.to(self.sum.device)
            moved.move(step)
            self.groups.merge(moved)

    def to(self, device: torch.device, dtype: torch.dtype) -> ShiftedSums:
        """Return these sums on another device, with their shifts in another dtype if they fit."""
        self.flush()
        if not bool(torch.isfinite(self.shift.to(dtype)).all()):
            dtype = torch.float64
        sizes = (self.shift.shape[0], self.shift.shape[1], len(self.scatter))
        moved = ShiftedSums(*sizes, dtype, device)
        for name in ("shift", "count", "square", "sum", "scatter", "_settled"):
            getattr(moved, name).copy_(getattr(self, name))
        step = self.shift.to(device, torch.float64) - moved.shift  # what a narrower dtype lost
        moved._correct(moved._all_classes(), step, moved.count, moved.sum.clone())
        if self.groups is not None:
            moved.groups = self.groups.to(device)
            moved.groups.move(step)
        moved.ready, moved.coarse, moved._room = self.ready, self.coarse, self._room
        moved._judged = dict(self._judged) if dtype == self.shift.dtype else {}
        return moved

    def miss(self) -> Tensor:
        """Return the class means minus the shifts, (K, d) float64; zero for an absent class."""
        self.flush()
        return self.sum / self.count[:, None].clamp_min(1)

    def centered_scatter(self) -> Tensor:
        """Return the scatters about the class means, (scatters, d, d) float64, symmetric."""
        centered = mirror(self.scatter).clone()
        if len(centered) == 1:
            for total, count in zip(self.sum.split(PART), self.count.split(PART), strict=True):
                centered[0].addmm_((total / count[:, None].clamp_min(1)).T, total, alpha=-1)
        elif len(centered) > 1:
            centered.baddbmm_(self.miss()[:, :, None], self.sum[:, None, :], alpha=-1)
        return centered

    def centered_trace(self, rows: Tensor) -> Tensor:
        """Return tr(R S R^T) of each centred scatter S, (scatters,), without forming S."""
        correction = (rows @ self.miss().T).square_().sum(0) * self.count
        traces = [(rows @ scatter).mul_(rows).sum() for scatter in mirror(self.scatter)]
        return torch.stack(traces) - (correction.sum() if len(traces) == 1 else correction)

    def _all_classes(self) -> Tensor:
        return torch.arange(len(self.count), device=self.count.device)

    def _centered(
        self, padded: Tensor, labels: Tensor, norms: Tensor, centered: bool, incoming: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return rows relative to the shifts of their classes in the dtype they need, and norms."""
        if padded.dtype == torch.float64:
            self._widen()
        padded = padded.to(self.shift.dtype)
        rows = padded[:, : self.shift.shape[1]]
        due = self._due(incoming) if len(padded) >= self._room else None
        if centered and due is not None:
            # More rows of a class than `_is_ready` foresaw. Exact where the differences are small.
            self._move(rows, labels, torch.Tensor.add_)
            centered = False
        given = rows
        if not centered:
            if due is not None:
                self._settle_shifts(rows, labels, incoming, due)
            narrow = self.shift.dtype == torch.float32
            if narrow and len(self._judged) < len(self.scatter):  # a spectrum is not looked at yet
                given = rows.clone()
            self._move(rows, labels, torch.Tensor.sub_)
        if not centered or padded.dtype != norms.dtype:
            norms = torch.linalg.vector_norm(rows, dim=1)
        if self._drowns(rows, labels, norms):
            self._widen()
            padded = padded.to(torch.float64)
            if given is not rows:  # what rounding took from the differences was more than it is now
                rows = padded[:, : self.shift.shape[1]]
                rows.copy_(given)
                self._move(rows, labels, torch.Tensor.sub_)
                norms = torch.linalg.vector_norm(rows, dim=1)
        return padded, norms

    def _move(self, rows: Tensor, labels: Tensor, by: Callable[[Tensor, Tensor], Tensor]) -> None:
        size = part_rows(rows.shape[1], rows.device)
        for part, part_labels in zip(rows.split(size), labels.split(size), strict=True):
            by(part, self.shift.index_select(0, part_labels))  # 4x faster than self.shift[...]

    def _due(self, incoming: Tensor) -> Tensor | None:
        """Return which shifts are judged now that so many samples come, (K,); None if none is."""
        due = (incoming > 0) & (self.count + incoming >= SETTLED_FACTOR * self._settled)
        return due if bool(due.any()) else None

    def _is_ready(self, added: int) -> bool:
        """Whether every class has a shift that will not be judged by the rows of the next slab.

        To be judged rows must be as they came: a difference from a bad shift has lost digits.
        """
        likely = 4 * SLAB_ROWS / len(self.count)
        self._room -= added
        if self._room <= max(likely, SLAB_ROWS):  # else it is enough, whatever classes came
            self._room = int((SETTLED_FACTOR * self._settled - self.count).min())
        return self._room > likely

    def _drowns(self, rows: Tensor, labels: Tensor, norms: Tensor) -> bool:
        """Tell whether float32 loses rows of a scatter, looked at once and again when they grow."""
        if self.shift.dtype == torch.float64:
            return False
        for k, mine in self._by_scatter(labels):
            own = norms[mine]
            if len(own) < LEAST_ROWS:  # their products are float64 anyway
                continue
            square = float(own.dot(own)) / len(own)
            if k not in self._judged or square > GROWTH * self._judged[k]:
                found = drowns(rows[mine], own)
                if found:
                    return True
                if found is not None:
                    self._judged[k] = square
        return False

    def _widen(self) -> None:
        """Go on in float64."""
        if self.shift.dtype != torch.float64:
            self.flush()
            self.shift = self.shift.to(torch.float64)

    def _settle_shifts(self, rows: Tensor, labels: Tensor, incoming: Tensor, due: Tensor) -> None:
        """Give new classes a shift; judge that of others when their count has grown enough.

        What float32 loses is the square of the shift's miss over the variance. If the miss comes
        from an outlier among the n samples that set the shift, that is at most the number of
        samples since over n^2: with `SETTLED_FACTOR`, never worth mentioning.
        """
        selected = due[labels].nonzero().squeeze(1)
        if len(selected) < len(rows):
            rows, labels = rows.index_select(0, selected), labels[selected]
        classes = due.nonzero().squeeze(1)
        position = (due.cumsum(0) - 1)[labels]  # of the class of each row, among them
        new = self.count[classes] == 0
        # A new class is first taken about its first sample: sums of the large raw values would
        # round away the spread of a collapsed class.
        first = position.new_full((len(classes),), len(rows))
        first.scatter_reduce_(0, position, torch.arange(len(rows), device=rows.device), "amin")
        self.shift[classes[new]] = rows[first[new]]
        missed = torch.zeros(
            len(classes), rows.shape[1], dtype=self.shift.dtype, device=rows.device
        )
        square = self.square.index_select(0, classes)
        size = part_rows(rows.shape[1], rows.device)
        judging = not bool(new.all())  # new classes move anyway
        parts = zip(*(of.split(size) for of in (rows, labels, position)), strict=True)
        for part, part_labels, part_position in parts:
            shift = self.shift.index_select(0, part_labels)
            difference = torch.sub(part, shift, out=shift)
            missed.index_add_(0, part_position, difference)
            if judging:
                norms = torch.linalg.vector_norm(difference, dim=1).to(torch.float64)
                square.index_add_(0, part_position, norms.square())
        count = self.count[classes] + incoming[classes]
        self._settled[classes] = count
        if self._recent_sum is not None:
            recent = self._recent_sum.view(-1, len(self.sum), self._recent_sum.shape[1])
            missed += recent[:, classes, : missed.shape[1]].sum(0)
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
            if self.groups is not None:
                self.groups.move(back, classes)

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

    def _by_scatter(self, labels: Tensor) -> Iterator[tuple[int, Tensor | slice]]:
        """Pair each scatter with the rows that belong to it."""
        if len(self.scatter) == 1:
            yield 0, slice(None)
        elif len(self.scatter) > 1:
            counts = torch.bincount(labels, minlength=len(self.scatter)).tolist()
            for k, mine in enumerate(labels.argsort(stable=True).split(counts)):
                if len(mine):
                    yield k, mine
