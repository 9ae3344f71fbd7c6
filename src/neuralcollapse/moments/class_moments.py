"""ClassMoments: the class means and scatters of a stream of features, in one pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.moments.class_sums import ClassSums
from neuralcollapse.moments.shifted_sums import PART
from neuralcollapse.moments.upper_product import add_upper_product, mirror
from neuralcollapse.validation import check_choice

Weighting = Literal["pooled", "balanced"]
Center = Literal["class_mean", "sample_mean"]
_WEIGHTING: dict[Center, Weighting] = {"class_mean": "balanced", "sample_mean": "pooled"}


class ClassMoments(ClassSums):
    r"""Counts, means, and within- and between-class scatter of features seen in batches.

    Every sample is taken relative to a point near its own class mean, fixed when the class first
    appears. So differences are formed before anything is squared, and float32 matrix products
    keep full relative accuracy even when the classes have collapsed to 1e-10 of their distance;
    the offset between that point c and the mean is corrected at the end, in float64:

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
        Where the sums live; they move to the device of the features with the first batch.
    groups
        Whether to keep the sums of 16 groups of samples of each class as well, each of which can
        be left out in turn (16 K d numbers).

    Raises
    ------
    NeuralCollapseError
        If a size is below 1 or `scatter` is none of the above.

    Notes
    -----
    Features may be float16, bfloat16, float32 (products in float32), float64 or integer (products
    in float64). Where float32 would lose digits, because a few directions are far stronger than
    all others or because squares would underflow, products switch to float64. A class without
    samples is absent: its mean is NaN, and metrics leave it out.

    References
    ----------
    Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance".

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import ClassMoments
    >>> moments = ClassMoments(num_classes=2, dim=1)
    >>> features = torch.tensor([[1.0], [3.0], [10.0]])
    >>> moments.update(features, torch.tensor([0, 0, 1])).means
    tensor([[ 2.],
            [10.]], dtype=torch.float64)
    >>> moments.within  # (1 + 1 + 0) / 3
    tensor([[0.6667]], dtype=torch.float64)
    """

    @property
    def squared_norm(self) -> float:
        """Sum over all samples of the squared norm of the features, not centred."""
        squares = self._norms(("means",), lambda: self.means) ** 2 + self.trace_variances
        return float((self.counts * squares).nansum())

    @property
    def class_scatters(self) -> Float[Tensor, "K d d"]:
        """Scatter of each class about its own mean, over its samples; zero where it is absent.

        Raises
        ------
        NeuralCollapseError
            If the moments keep no scatter of each class.
        """
        if self.scatter != "per_class":
            expected = "'per_class' for the scatter of each class"
            remedy = "collect the moments with scatter='per_class'"
            raise NeuralCollapseError("scatter", expected, f"scatter={self.scatter!r}", remedy)
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
            ``"sample_mean"``: mean of all samples. They differ if class sizes do.

        Raises
        ------
        NeuralCollapseError
            If there is no sample, or the kind is unknown.
        """
        check_choice("center", kind, _WEIGHTING)
        weights, means = self.class_weights(_WEIGHTING[kind]), self.means
        return weights[self.present] @ _of(means, self.present)

    def centered_means(self, center: Center = "class_mean") -> Float[Tensor, "P d"]:
        """Return mu_k minus the centre, (P, d), for the P classes that have samples.

        Parameters
        ----------
        center
            See `center`.
        """
        check_choice("center", center, _WEIGHTING)
        if self.balanced:
            center = "class_mean"

        def compute() -> Tensor:
            present = self.present
            if center == "sample_mean":
                rows = self.centered_means()
                rows -= self.class_weights("pooled")[present] @ rows
                self._norms(("centered", center), lambda: rows)
                return rows
            # Norms are remembered while rows are at hand: to form them again takes as long.
            rows = self.means
            self._norms(("means",), lambda: rows)
            rows = _of(rows, present)  # fresh, so that it can be written to
            rows -= rows[:1].clone()
            rows -= rows.mean(0)
            norms = self._norms(("centered", center), lambda: rows)
            if norms.norm() <= 4 * self.round_off:
                rows.zero_()
                norms.zero_()
            return rows

        return self._copied(("centered means", center), compute)

    def centered_norms(self, center: Center = "class_mean") -> Float[Tensor, " P"]:
        """Return the norms of the centred means, (P,), without them once they were formed.

        Parameters
        ----------
        center
            See `center`.
        """
        check_choice("center", center, _WEIGHTING)
        center = "class_mean" if self.balanced else center
        return self._norms(("centered", center), lambda: self.centered_means(center)).clone()

    def _norms(self, of: tuple[str, ...], rows: Callable[[], Tensor]) -> Float[Tensor, " K"]:
        """Return the norms of rows, remembered also where the rows themselves are too many."""
        return self.remembered(("norms", *of), lambda: torch.linalg.vector_norm(rows(), dim=1))

    @property
    def round_off(self) -> float:
        """Largest error to expect in a class mean: round-off relative to its size.

        That of n_k features of float32 averages out as n_k grows.
        """
        size = self._norms(("means",), lambda: self.means)[self.present].norm()
        given = (self._rounded / self.counts)[self.present].sum().sqrt()
        return torch.finfo(torch.float64).eps * float(size) + float(given)

    @property
    def feature_round_off(self) -> float:
        """Largest variance to expect along a direction from rounding to float32, or to float64."""
        return float((self.class_weights("pooled") * self._rounded).nansum())

    @property
    def _rounded(self) -> Float[Tensor, " K"]:
        """Mean squared length of what rounding adds to the features of each class."""
        sizes = self._norms(("means",), lambda: self.means).square() + self.trace_variances
        return self.rounding * sizes

    @property
    def rounding(self) -> float:
        """Variance that rounding adds to a number, over its square: of even errors of half a unit.

        That of float32 if there were features of it, or narrower; else of float64.
        """
        return torch.finfo(torch.float32 if self.narrow else torch.float64).eps ** 2 / 12

    @property
    def narrow(self) -> bool:
        """Whether there were features of float32 or less."""
        return self._drained().coarse > 0

    @property
    def coarse(self) -> bool:
        """Whether products of features were taken in float32."""
        return self._drained().coarse == 1

    def class_weights(self, weighting: Weighting) -> Float[Tensor, " K"]:
        """Return the weight of each class, (K,), summing to 1: n_k / N or 1 / (present classes).

        Parameters
        ----------
        weighting
            ``"pooled"``: n_k / N. ``"balanced"``: the same for every present class.

        Raises
        ------
        NeuralCollapseError
            If there is no sample, or the weighting is unknown.
        """
        check_choice("weighting", weighting, _WEIGHTING.values())
        if not self.num_samples:
            raise NeuralCollapseError(
                "moments", "at least one sample", "none", "call update with features first"
            )

        def compute() -> Tensor:
            weights = self.counts if weighting == "pooled" else self.present
            return weights.to(torch.float64) / weights.sum()

        return self.remembered(("weights", weighting), compute)

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
            (r, d) float64, one direction per row.
        weighting
            See `within_scatter`; the d x d matrix is not formed here.

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
        """Return the weight of each kept scatter in the within-class scatter, if they suffice."""
        if self.scatter is False:
            expected = "'pooled' or 'per_class' for a d x d within-class scatter"
            remedy = "collect the moments with scatter='pooled'"
            raise NeuralCollapseError("scatter", expected, "scatter=False", remedy)
        weights = self.class_weights(weighting) / self.counts.clamp_min(1)
        if self.scatter == "per_class":
            return weights
        lightest, heaviest = torch.aminmax(weights[self.present])
        if heaviest > lightest * (1 + 1e-12):
            expected = (
                "'per_class' for the balanced within-class scatter of classes of unequal size"
            )
            remedy = "collect the moments with scatter='per_class', or use weighting='pooled'"
            raise NeuralCollapseError("scatter", expected, "scatter='pooled'", remedy)
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

        Raises
        ------
        NeuralCollapseError
            If there is no sample, or the weighting or the centre is unknown.
        """
        check_choice("weighting", weighting, _WEIGHTING.values())
        check_choice("center", center, _WEIGHTING)
        if self.balanced:
            weighting, center = "balanced", "class_mean"

        def compute() -> Tensor:
            rows, weights = self.centered_means(center), self.class_weights(weighting)
            total = rows.new_zeros(self.dim, self.dim)
            parts = zip(rows.split(PART), weights[self.present].split(PART), strict=True)
            for part, weight in parts:
                add_upper_product(total, part, weight)
            return mirror(total)

        return self.remembered(("between", weighting, center), compute).clone()

    @property
    def balanced(self) -> bool:
        """Whether all classes that have samples have equally many."""

        def compute() -> bool:
            counts = self.counts[self.present]
            return bool((counts == counts[:1]).all())

        return self.remembered(("balanced",), compute)


def _of(rows: Tensor, present: Tensor) -> Tensor:
    """Return the rows of present classes, without a copy where all are."""
    return rows if bool(present.all()) else rows[present]
