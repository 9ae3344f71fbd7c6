"""ClassSums: counts, means and spreads of the classes in a stream of features, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.files import reading
from neuralcollapse.moments.canonical_form import NARROW, checked_state
from neuralcollapse.moments.lasting import lasting
from neuralcollapse.moments.shifted_sums import PART, ShiftedSums
from neuralcollapse.moments.slab import SlabBuffer
from neuralcollapse.tensor_files import load_tensors, save_tensors
from neuralcollapse.validation import (
    as_tensor,
    check_choice,
    check_shape,
    integer_labels,
    whole_number,
)
from neuralcollapse.wording import counted

S = TypeVar("S", bound="ClassSums")
T = TypeVar("T")
REMEMBERED = 2**20  # numbers of class means that are kept until the next sample


class ClassSums:
    """What `ClassMoments` gathers: one class after the other, mergeable, and kept in a file.

    Parameters and errors are those of `ClassMoments`.
    """

    @lasting
    def __init__(
        self,
        num_classes: int,
        dim: int,
        scatter: Literal["pooled", "per_class"] | bool = "pooled",
        device: torch.device | str = "cpu",
        *,
        groups: bool = False,
    ) -> None:
        num_classes, dim = whole_number("num_classes", num_classes), whole_number("dim", dim)
        check_choice("scatter", scatter, ("pooled", "per_class", True, False))
        self.num_classes, self.dim = num_classes, dim
        self.scatter: Literal["pooled", "per_class", False] = (
            "pooled" if scatter is True else scatter
        )
        scatters = {"pooled": 1, "per_class": num_classes, False: 0}[self.scatter]
        self._sums = ShiftedSums(
            num_classes, dim, scatters, torch.float32, torch.device(device), groups
        )
        self._slab: SlabBuffer | None = None
        self._num_batches = 0
        self._derived: dict[tuple, Any] = {}  # until the next sample comes

    def __repr__(self) -> str:
        return (
            f"ClassMoments(num_classes={self.num_classes}, dim={self.dim}, "
            f"scatter={self.scatter!r}): {counted(self.counts.sum(), 'sample')}"
        )

    # ---------------------------------------------------------------- filling

    @lasting
    def update(self: S, features: Any, labels: Any) -> S:
        """Add a batch.

        Parameters
        ----------
        features
            (n, d) tensor or array, any floating or integer dtype, finite; n = 0 is allowed.
        labels
            (n,) whole numbers in 0..K-1, or one-hot or soft rows (n, K).

        Returns
        -------
        ClassMoments
            This object.

        Raises
        ------
        NonFiniteError
            If the batch holds NaN or infinity: which batch, how many.
        NeuralCollapseError
            If shapes or labels do not fit, or values are too large to square.

            On the CPU a refused batch leaves the moments as they were. On an accelerator, where a
            check would stall the device, values are checked once in 2,048 rows, and these are
            dropped.
        """
        features = as_tensor("features", features)
        wide = "pass one row of features per sample, as wide as `dim`"
        check_shape("features", features, ("n", self.dim), wide)
        if features.device.type == "mps":  # has no float64
            features = features.cpu()
        checked_later = isinstance(labels, Tensor) and labels.dtype == torch.int64
        if features.is_cpu or not checked_later or labels.shape != features.shape[:1]:
            labels = integer_labels("labels", labels, len(features), self.num_classes)
        self._derived = {}
        slab = self._slab_for(features)
        for rows, row_labels in slab.append(features.detach(), labels):
            self._add(slab, rows, row_labels)
        return self

    @lasting
    def merge(self: S, other: ClassSums) -> S:
        """Add the samples of another object, in place; order and grouping do not matter.

        Parameters
        ----------
        other
            Moments with the same classes, width and kind of scatter; its values are unchanged.

        Returns
        -------
        ClassMoments
            This object.

        Raises
        ------
        NeuralCollapseError
            If the sizes or the kinds of scatter differ.
        """
        mine = (self.num_classes, self.dim, self.scatter, self.groups)
        theirs = (other.num_classes, other.dim, other.scatter, other.groups)
        if mine != theirs:
            expected = "num_classes, dim, scatter, groups = {}, {}, {!r}, {}".format(*mine)
            got = "{}, {}, {!r}, {}".format(*theirs)
            raise NeuralCollapseError("other", expected, got, "build both with the same sizes")
        self._derived = {}
        self._drained().merge(other._drained().to(self.device, other._sums.shift.dtype))
        return self

    def _slab_for(self, features: Tensor) -> SlabBuffer:
        """Return a buffer for features of this dtype and device; float64 once, float64 ever."""
        sums = self._sums
        wide = features.dtype == torch.float64 or not features.is_floating_point()
        dtype = torch.float64 if wide else sums.shift.dtype
        if dtype != sums.shift.dtype or features.device != sums.shift.device:
            self._sums = self._drained().to(features.device, dtype)
        self._sums.coarse = max(self._sums.coarse, 0.0 if wide else NARROW)
        if self._slab is not None and self._slab.rows.dtype != self._sums.shift.dtype:
            self._drained()  # the sums have become float64 meanwhile
        if self._slab is None:
            sums = self._sums
            self._slab = SlabBuffer(self.dim, dtype, features.device, self._num_batches)
            self._slab.shift = sums.shift if sums.ready else None
        return self._slab

    def _add(self, slab: SlabBuffer, rows: Tensor, labels: Tensor) -> None:
        """Add the rows of a slab that has just been emptied."""
        self._sums.add(rows, labels, slab.norms[: len(rows)], slab.shift is not None)
        slab.shift = self._sums.shift if self._sums.ready else None
        if self._sums.shift.dtype != slab.rows.dtype:  # they have become float64 meanwhile
            slab.shift = None

    @lasting
    def _drained(self) -> ShiftedSums:
        """Return the sums with every buffered row in them; the buffer is freed."""
        if self._slab is not None:
            slab, self._slab = self._slab, None
            self._num_batches = slab.num_batches
            self._add(slab, *slab.take())
            self._sums.flush()
        return self._sums

    # ---------------------------------------------------------------- reading

    def remembered(self, key: tuple, compute: Callable[[], T]) -> T:
        """Return what `compute` returns, or did since the last sample came: not to be written to.

        Parameters
        ----------
        key
            Names the quantity.
        compute
            Finds it, from these moments.
        """
        if key not in self._derived:
            self._derived[key] = compute()
        return self._derived[key]

    def _copied(self, key: tuple, compute: Callable[[], Tensor]) -> Tensor:
        """Return a copy of a table like that of the class means, remembered unless it is large."""
        if self.num_classes * self.dim > REMEMBERED:
            return compute()
        return self.remembered(key, compute).clone()

    @property
    def device(self) -> torch.device:
        """Where the sums live."""
        return self._sums.shift.device

    @property
    def counts(self) -> Int[Tensor, " K"]:
        """Number of samples of each class, (K,) int64."""
        return self._drained().count.clone()

    @property
    def groups(self) -> bool:
        """Whether sums of groups of samples are kept."""
        return self._sums.groups is not None

    @property
    def group_counts(self) -> Int[Tensor, "groups K"]:
        """Samples of each group and class, (16, K); (0, K) without groups."""
        sums = self._drained()
        none = sums.count.new_zeros(0, self.num_classes)
        return none if sums.groups is None else sums.groups.count

    def by_group(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield counts (K,), sums (K, d) of x - mu_k and of their squares (K,), a group a turn.

        Examples
        --------
        >>> moments = ClassSums(1, 1, groups=True).update(torch.tensor([[1.0], [3.0]]), [0, 0])
        >>> [(int(n), float(s), float(q)) for n, s, q in moments.by_group() if n]
        [(1, -1.0, 1.0), (1, 1.0, 1.0)]
        """
        sums = self._drained()
        if sums.groups is not None:
            yield from sums.groups.about(sums.miss())

    @property
    def num_samples(self) -> int:
        """N, the number of samples."""
        return int(self._drained().count.sum())

    @property
    def present(self) -> Bool[Tensor, " K"]:
        """Which classes have a sample, (K,) bool."""
        return self.remembered(("present",), lambda: self._drained().count > 0)

    @property
    def means(self) -> Float[Tensor, "K d"]:
        """Class means mu_k, (K, d) float64; NaN for an absent class."""
        sums = self._drained()

        def compute() -> Tensor:
            means = sums.miss()
            for part, shift in zip(means.split(PART), sums.shift.split(PART), strict=True):
                part += shift  # a float32 shift is converted for it
            means[sums.count == 0] = float("nan")
            return means

        return self._copied(("means",), compute)

    @property
    def trace_variances(self) -> Float[Tensor, " K"]:
        """Mean squared distance v_k of the samples of a class to its mean, (K,); NaN if absent."""
        sums = self._drained()
        miss = torch.linalg.vector_norm(sums.sum, dim=1) / sums.count
        return (sums.square / sums.count - miss.square_()).clamp_min_(0)

    # ---------------------------------------------------------------- keeping

    def state_dict(self) -> dict[str, Tensor]:
        """Return the moments as float64 tensors on the CPU, centred, in one canonical form.

        Returns
        -------
        dict
            ``counts`` (K,), ``means`` (K, d) and ``trace_variances`` (K,), zero for absent
            classes, ``scatter`` (0, 1 or K; d; d), the sums of (x - mu)(x - mu)^T, and ``coarse``
            (1,): 1 with float32 products among them, 1/2 with float32 features alone. With groups
            ``group_counts`` (16, K), ``group_sums`` (16, K, d) and ``group_squares`` (16, K).
        """
        state = {
            "counts": self.counts.to(torch.float64),
            "means": self.means.nan_to_num(),
            "trace_variances": self.trace_variances.nan_to_num(),
            "scatter": self._drained().centered_scatter(),
            "coarse": self.counts.new_tensor([self._drained().coarse], dtype=torch.float64),
        }
        if self.groups:
            counts, totals, squares = map(torch.stack, zip(*self.by_group(), strict=True))
            state |= {
                "group_counts": counts.double(), "group_sums": totals, "group_squares": squares
            }  # fmt: skip
        return {name: tensor.cpu().contiguous() for name, tensor in state.items()}

    @classmethod
    @lasting
    def from_state_dict(cls: type[S], state: Mapping[str, Tensor]) -> S:
        """Rebuild the moments from a state dict; they go on from where they stood.

        Parameters
        ----------
        state
            What `state_dict` returned.

        Raises
        ------
        NeuralCollapseError
            If a tensor is missing or its shape or values make no sense.
        """
        counts, means, variances, scatter, coarse, *groups = checked_state(state)
        (num_classes, dim), scatters = means.shape, len(scatter)
        kind: Literal["pooled", "per_class", False] = False
        if scatters:
            kind = "pooled" if scatters == 1 else "per_class"
        moments = cls(num_classes, dim, kind)
        sums = ShiftedSums(num_classes, dim, scatters, torch.float64, means.device, bool(groups))
        sums.count += counts.to(torch.int64)
        sums.shift += means
        sums.square += variances * counts
        sums.scatter += scatter
        sums.coarse = float(coarse)
        if sums.groups is not None:
            sums.groups.count += groups[0].to(torch.int64)
            sums.groups.sum += groups[1]
            sums.groups.square += groups[2]
        narrow = sums.coarse or not counts.any()  # float64 features would lose digits
        moments._sums = sums.to(means.device, torch.float32) if narrow else sums
        return moments

    def save(self, path: str | Path) -> None:
        """Write the moments to a safetensors file, atomically.

        Parameters
        ----------
        path
            The file; its folder is made if it is not there.
        """
        save_tensors(path, self.state_dict(), {})

    @classmethod
    def load(cls: type[S], path: str | Path) -> S:
        """Read the moments from a file that `save` wrote.

        Parameters
        ----------
        path
            The safetensors file. Nothing in it is executed.

        Raises
        ------
        NeuralCollapseError
            If it is no such file.
        """
        with reading("path", f"a safetensors file in {path}", "save it with ClassMoments.save"):
            return cls.from_state_dict(load_tensors(path)[0])
