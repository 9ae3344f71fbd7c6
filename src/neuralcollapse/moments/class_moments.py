"""ClassMoments: the class means and scatters of a stream of features, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.files import atomic_path
from neuralcollapse.moments.shifted_sums import ShiftedSums
from neuralcollapse.moments.slab import SlabBuffer
from neuralcollapse.validation import as_tensor, integer_labels, whole_number

Weighting = Literal["pooled", "balanced"]
Center = Literal["class_mean", "sample_mean"]
T = TypeVar("T")
REMEMBERED = 2**20  # numbers of class means that are kept until the next sample
PART = 4096  # class means multiplied at once, so that no weighted copy of all is made
_WEIGHTING: dict[Center, Weighting] = {"class_mean": "balanced", "sample_mean": "pooled"}


class ClassMoments:
    r"""Counts, means, and within- and between-class scatter of features seen in batches.

    Every sample is taken relative to a point near its own class mean, fixed when the class first
    appears. So a difference is formed before anything is squared, and float32 matrix products
    keep full relative accuracy even when the classes have collapsed to 1e-10 of their distance;
    what the point misses of the mean is corrected at the end, in float64:

    .. math:: \sum_i (x_i-\mu)(x_i-\mu)^\top = \sum_i (x_i-c)(x_i-c)^\top - n (\mu-c)(\mu-c)^\top

    Parameters
    ----------
    num_classes
        K >= 1; labels are 0..K-1.
    dim
        d >= 1, the width of the features.
    scatter
        ``"pooled"`` (or True) keeps the d x d scatter of all classes together; ``"per_class"``
        keeps one for each class (K d^2 numbers), which the balanced scatter of unbalanced data
        needs; False keeps only the trace variances of the classes, in O(K d) memory.
    device
        Where the sums live; moved to that of the features when the first batch comes.

    Raises
    ------
    NeuralCollapseError
        If a size is below 1 or `scatter` is none of the above.

    Notes
    -----
    Features may be float16, bfloat16, float32 (products in float32), float64 or integer (products
    in float64). Where float32 would lose digits, because a few directions are far stronger than
    all others or because squares would vanish, products go on in float64. A class without samples
    is absent: its mean is NaN, and metrics leave it out.

    References
    ----------
    Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance".

    Examples
    --------
    >>> moments = ClassMoments(num_classes=2, dim=1)
    >>> features = torch.tensor([[1.0], [3.0], [10.0]])
    >>> moments.update(features, torch.tensor([0, 0, 1])).means
    tensor([[ 2.],
            [10.]], dtype=torch.float64)
    >>> moments.within  # (1 + 1 + 0) / 3
    tensor([[0.6667]], dtype=torch.float64)
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        scatter: Literal["pooled", "per_class"] | bool = "pooled",
        device: torch.device | str = "cpu",
    ) -> None:
        num_classes, dim = whole_number("num_classes", num_classes), whole_number("dim", dim)
        if scatter not in ("pooled", "per_class", True, False):
            raise NeuralCollapseError(
                "scatter", "'pooled', 'per_class' or False", repr(scatter), "choose one of these"
            )
        self.num_classes = num_classes
        self.dim = dim
        self.scatter: Literal["pooled", "per_class", False] = (
            "pooled" if scatter is True else scatter
        )
        scatters = {"pooled": 1, "per_class": num_classes, False: 0}[self.scatter]
        self._sums = ShiftedSums(num_classes, dim, scatters, torch.float32, torch.device(device))
        self._slab: SlabBuffer | None = None
        self._num_batches = 0
        self._derived: dict[tuple, Any] = {}  # until the next sample comes

    def __repr__(self) -> str:
        return (
            f"ClassMoments(num_classes={self.num_classes}, dim={self.dim}, "
            f"scatter={self.scatter!r}): {int(self.counts.sum())} samples"
        )

    # ---------------------------------------------------------------- filling

    def update(self, features: Any, labels: Any) -> ClassMoments:
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
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise NeuralCollapseError(
                "features",
                f"shape (n, {self.dim})",
                str(tuple(features.shape)),
                "pass one row of features per sample, as wide as `dim`",
            )
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

    def merge(self, other: ClassMoments) -> ClassMoments:
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
        mine = (self.num_classes, self.dim, self.scatter)
        theirs = (other.num_classes, other.dim, other.scatter)
        if mine != theirs:
            raise NeuralCollapseError(
                "other",
                "num_classes, dim, scatter = {}, {}, {!r}".format(*mine),
                "{}, {}, {!r}".format(*theirs),
                "build both with the same sizes",
            )
        self._derived = {}
        self._drained().merge(other._drained().to(self.device, self._sums.shift.dtype))
        return self

    def _slab_for(self, features: Tensor) -> SlabBuffer:
        """Return a buffer for features of this dtype and device; float64 once, float64 ever."""
        sums = self._sums
        wide = features.dtype == torch.float64 or not features.is_floating_point()
        dtype = torch.float64 if wide else sums.shift.dtype
        if dtype != sums.shift.dtype or features.device != sums.shift.device:
            self._sums = self._drained().to(features.device, dtype)
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

    @property
    def device(self) -> torch.device:
        """Where the sums live."""
        return self._sums.shift.device

    @property
    def counts(self) -> Int[Tensor, " K"]:
        """Number of samples of each class, (K,) int64."""
        return self._drained().count.clone()

    @property
    def num_samples(self) -> int:
        """N, the number of samples."""
        return int(self._drained().count.sum())

    @property
    def present(self) -> Bool[Tensor, " K"]:
        """Which classes have a sample, (K,) bool."""
        return self._drained().count > 0

    @property
    def means(self) -> Float[Tensor, "K d"]:
        """Class means mu_k, (K, d) float64; NaN for an absent class."""
        sums = self._drained()
        means = sums.miss()
        for part, shift in zip(means.split(PART), sums.shift.split(PART), strict=True):
            part += shift  # a float32 shift is converted for it
        return means.masked_fill_(sums.count[:, None] == 0, float("nan"))

    @property
    def trace_variances(self) -> Float[Tensor, " K"]:
        """Mean squared distance v_k of the samples of a class to its mean, (K,); NaN if absent."""
        sums = self._drained()
        miss = torch.linalg.vector_norm(sums.sum, dim=1) / sums.count
        return (sums.square / sums.count - miss.square_()).clamp_min_(0)

    @property
    def squared_norm(self) -> float:
        """Sum over all samples of the squared norm of the features, not centred."""
        mean_squares = torch.linalg.vector_norm(self.means, dim=1).square_()
        return float((self.counts * (mean_squares + self.trace_variances)).nansum())

    @property
    def class_scatters(self) -> Float[Tensor, "K d d"]:
        """Scatter of each class about its own mean, over its samples; zero where it is absent.

        Raises
        ------
        NeuralCollapseError
            If the moments keep no scatter of each class.
        """
        if self.scatter != "per_class":
            raise NeuralCollapseError(
                "scatter",
                "'per_class' for the scatter of each class",
                f"scatter={self.scatter!r}",
                "collect the moments with scatter='per_class'",
            )
        return self._drained().centered_scatter() / self.counts.clamp_min(1)[:, None, None]

    @property
    def within(self) -> Float[Tensor, "d d"]:
        """Pooled within-class scatter, (d, d): mean over samples of (x - mu_y)(x - mu_y)^T."""
        return self.within_scatter("pooled")

    @property
    def between(self) -> Float[Tensor, "d d"]:
        """Between-class scatter, (d, d): mean over classes of (mu_k - m)(mu_k - m)^T."""
        return self.between_scatter()

    def center(self, kind: Center = "class_mean") -> Float[Tensor, " d"]:
        """Return the centre of the features, (d,).

        Parameters
        ----------
        kind
            ``"class_mean"``: mean of the present class means, every class counting once.
            ``"sample_mean"``: mean of all samples. They differ if the classes do in size.

        Raises
        ------
        NeuralCollapseError
            If there is no sample.
        """
        weights, means = self.class_weights(_WEIGHTING[kind]), self.means
        return weights[self.present] @ _of(means, self.present)

    def centered_means(self, center: Center = "class_mean") -> Float[Tensor, "P d"]:
        """Return mu_k minus the centre, (P, d), for the P classes that have samples.

        Parameters
        ----------
        center
            See `center`.
        """
        if self.balanced:
            center = "class_mean"

        def compute() -> Tensor:
            present = self.present
            rows = _of(self.means, present)  # fresh, so that it can be written to
            rows -= rows[:1].clone()
            rows -= self.class_weights(_WEIGHTING[center])[present] @ rows
            if rows.norm() <= 4 * self.round_off:
                rows.zero_()
            return rows

        if self.num_classes * self.dim > REMEMBERED:
            return compute()
        return self.remembered(("centered means", center), compute).clone()

    @property
    def round_off(self) -> float:
        """How well class means are known, at most: the round-off of their own size."""

        def compute() -> float:
            size = torch.linalg.vector_norm(_of(self.means, self.present), dim=1).norm()
            return torch.finfo(torch.float64).eps * float(size)

        return self.remembered(("round-off",), compute)

    def class_weights(self, weighting: Weighting) -> Float[Tensor, " K"]:
        """Return what each class counts, (K,), summing to 1: n_k / N or 1 / (present classes).

        Parameters
        ----------
        weighting
            ``"pooled"``: n_k / N. ``"balanced"``: the same for every present class.

        Raises
        ------
        NeuralCollapseError
            If there is no sample.
        """
        if not self.num_samples:
            raise NeuralCollapseError(
                "moments", "at least one sample", "none", "call update with features first"
            )
        weights = self.counts if weighting == "pooled" else self.present
        return weights.to(torch.float64) / weights.sum()

    def within_scatter(self, weighting: Weighting = "pooled") -> Float[Tensor, "d d"]:
        """Return the within-class scatter, (d, d) float64.

        Parameters
        ----------
        weighting
            ``"pooled"``: every sample counts the same, (1/N) sum_i. ``"balanced"``: every present
            class does, (1/K) sum_k (1/n_k) sum_i; with classes of unequal size this needs
            ``scatter="per_class"``.

        Raises
        ------
        NeuralCollapseError
            If the scatter needed was not collected, or there is no sample.
        """
        weights = self._scatter_weights(weighting)
        if len(weights) == 1:
            return self._centered_scatter() * weights
        return torch.tensordot(weights, self._drained().centered_scatter(), dims=1)

    def within_trace(self, rows: Float[Tensor, "r d"], weighting: Weighting = "pooled") -> float:
        r"""Return the within-class scatter along some directions, tr(R Sigma_W R^T).

        Parameters
        ----------
        rows
            (r, d) float64, one direction a row.
        weighting
            See `within_scatter`, which this does not form.

        Raises
        ------
        NeuralCollapseError
            As `within_scatter`.
        """
        weights = self._scatter_weights(weighting)
        if len(weights) == 1:
            return float((rows @ self._centered_scatter()).mul_(rows).sum() * weights)
        return float((weights * self._drained().centered_trace(rows)).sum())

    def _centered_scatter(self) -> Float[Tensor, "d d"]:
        """Return the pooled sums of (x - mu)(x - mu)^T; not to be written to."""
        return self.remembered(("scatter",), lambda: self._drained().centered_scatter()[0])

    def _scatter_weights(self, weighting: Weighting) -> Float[Tensor, " scatters"]:
        """Return what each scatter counts in the within-class scatter, if they tell it."""
        if self.scatter is False:
            raise NeuralCollapseError(
                "scatter",
                "'pooled' or 'per_class' for a d x d within-class scatter",
                "scatter=False",
                "collect the moments with scatter='pooled'",
            )
        weights = self.class_weights(weighting) / self.counts.clamp_min(1)
        if self.scatter == "per_class":
            return weights
        lightest, heaviest = torch.aminmax(weights[self.present])
        if heaviest > lightest * (1 + 1e-12):
            raise NeuralCollapseError(
                "scatter",
                "'per_class' for the balanced within-class scatter of classes of unequal size",
                "scatter='pooled'",
                "collect the moments with scatter='per_class', or use weighting='pooled'",
            )
        return heaviest[None]

    def between_scatter(
        self, weighting: Weighting = "balanced", center: Center = "class_mean"
    ) -> Float[Tensor, "d d"]:
        """Return the between-class scatter, (d, d) float64.

        Parameters
        ----------
        weighting
            ``"balanced"``: mean over present classes; ``"pooled"``: weighted by n_k / N.
        center
            The point that class means are taken from, see `center`.
        """
        if self.balanced:
            weighting, center = "balanced", "class_mean"

        def compute() -> Tensor:
            rows, weights = self.centered_means(center), self.class_weights(weighting)
            total = rows.new_zeros(self.dim, self.dim)
            parts = zip(rows.split(PART), weights[self.present].split(PART), strict=True)
            for part, weight in parts:
                total.addmm_(part.T, part * weight[:, None])
            return total

        return self.remembered(("between", weighting, center), compute).clone()

    @property
    def balanced(self) -> bool:
        """Whether all classes that have samples have as many."""

        def compute() -> bool:
            counts = self.counts[self.present]
            return bool((counts == counts[:1]).all())

        return self.remembered(("balanced",), compute)

    # ---------------------------------------------------------------- keeping

    def state_dict(self) -> dict[str, Tensor]:
        """Return the moments as float64 tensors on the CPU, centred, in one canonical form.

        Returns
        -------
        dict
            ``counts`` (K,), ``means`` (K, d) and ``trace_variances`` (K,), zero for absent
            classes, and ``scatter`` (0, 1 or K; d; d), the sums of (x - mu)(x - mu)^T.
        """
        state = {
            "counts": self.counts.to(torch.float64),
            "means": self.means.nan_to_num(),
            "trace_variances": self.trace_variances.nan_to_num(),
            "scatter": self._drained().centered_scatter(),
        }
        return {name: tensor.cpu().contiguous() for name, tensor in state.items()}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> ClassMoments:
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
        (num_classes, dim), scatters = means.shape, len(scatter)
        kind: Literal["pooled", "per_class", False] = False
        if scatters:
            kind = "pooled" if scatters == 1 else "per_class"
        moments = cls(num_classes, dim, kind)
        sums = ShiftedSums(num_classes, dim, scatters, torch.float64, means.device)
        sums.count += counts.to(torch.int64)
        sums.shift += means
        sums.square += variances * counts
        sums.scatter += scatter
        moments._sums = sums.to(means.device, torch.float32)
        return moments

    def save(self, path: str | Path) -> None:
        """Write the moments to a safetensors file, atomically.

        Parameters
        ----------
        path
            The file; its folder is made if it is not there.
        """
        with atomic_path(path) as temporary:
            save_file(self.state_dict(), temporary)

    @classmethod
    def load(cls, path: str | Path) -> ClassMoments:
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
        try:
            return cls.from_state_dict(load_file(path))
        except SafetensorError as error:
            raise NeuralCollapseError(
                "path", "a safetensors file", f"{path} ({error})", "save it with ClassMoments.save"
            ) from error


def _of(rows: Tensor, present: Tensor) -> Tensor:
    """Return the rows of present classes, without a copy where all are."""
    return rows if bool(present.all()) else rows[present]
