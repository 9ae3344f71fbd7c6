"""Nearest class means: which is nearest, and whether the classifier decides for it (NC4)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.metrics.decisions import TIED, alike, decide
from neuralcollapse.metrics.head import FEW, Head, checked_bias, linear_scores
from neuralcollapse.validation import (
    ROW_A_CLASS,
    as_matrix,
    check_finite,
    check_shape,
    check_squares,
    finite_matrix,
    integer_labels,
)

CHUNK_ELEMENTS = 2**21  # scores held at once; never samples x classes
CHUNK_ROWS = 8192
LONGEST = 1e150  # features that can be gathered are no longer
NEAR = 4.0  # a centre within so many times the radius of the means costs no digit worth a copy


class NearestCenter:
    r"""The nearest class mean of each sample, by one matrix product where that is precise enough.

    .. math:: \arg\min_k \|x - \mu_k\|
        = \arg\max_k \; \langle x - m, \mu_k - m\rangle - \tfrac12 \|\mu_k - m\|^2

    Features far from the origin are centred first: \|x\|^2 + \|mu\|^2 - 2 x.mu in float32 falls to
    chance when the offset is a few hundred times the distance between the means. Scores
    still round by a part in 10^7 of the squared radius of the means, so they cannot tell apart two
    means that are very close: samples within round-off are decided again in float64, and those
    within its round-off by the differences x - mu_k themselves.

    Parameters
    ----------
    means
        (K, d) class means; rows with NaN are absent classes, which are never nearest.
    head
        A linear head whose logits `judged` returns as well, from the same product if there are few
        classes.

    Raises
    ------
    NonFiniteError
        If a mean is infinite.
    NeuralCollapseError
        If no class has a mean.

    Examples
    --------
    >>> nearest = NearestCenter(torch.tensor([[0.0], [1.0], [float("nan")]]))
    >>> nearest.winners(torch.tensor([[0.2], [5.0], [0.5]]), torch.tensor([0, 0, 0]))
    tensor([ 0,  1, -1])
    """

    def __init__(self, means: Any, head: Head | None = None) -> None:
        means = as_matrix("means", means).detach().to(torch.float64)
        present = torch.isfinite(means).all(1)
        if not bool(present.all()) and bool(means.isinf().any()):
            raise NonFiniteError(
                "means", "finite rows, or NaN for absent classes", "infinity", "check the features"
            )
        if not present.any():
            raise NeuralCollapseError(
                "means", "a class with samples", "none", "compute the means of training data first"
            )
        check_squares("means", means.nan_to_num(), most=LONGEST)
        self.num_classes, self.dim = means.shape
        self._means = means
        # The centre is rounded first, so that rows and means are taken from the same point.
        center = means[present].mean(0)
        rounded = center.to(torch.float32).to(torch.float64)
        self._center = torch.where(rounded.isfinite(), rounded, center)  # float64 goes further
        rows = means - self._center
        norms = torch.linalg.vector_norm(rows, dim=1)
        self._radius = float(norms[present].max())
        offsets = (-0.5 * norms.square()).masked_fill_(~present, float("-inf"))
        self._offset_norm = float(torch.linalg.vector_norm(self._center))
        self._centering = not self._offset_norm <= NEAR * self._radius
        if not self._centering:  # <x - m, mu_k - m> = <x, mu_k - m> - <m, mu_k - m>
            offsets -= rows.nan_to_num() @ self._center
        self._absent, self._head = ~present, head
        vectors, added = [rows.nan_to_num_(), self._center[None]], [offsets, offsets.new_zeros(1)]
        if head is not None:
            head.require_width(self.dim)
            bias = torch.zeros(self.num_classes) if head.bias is None else head.bias
            vectors, added = [*vectors, head.weight.to(means)], [*added, bias.to(means)]
        # Few vectors share one product, in which a few more cost little.
        self._joined = not self._centering and sum(map(len, vectors)) in FEW
        if self._joined:
            rows, offsets = torch.cat(vectors), torch.cat(added)
        self._vectors, self._offsets = rows, offsets
        self._cast: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}

    @property
    def chunk_rows(self) -> int:
        """Number of samples to score at once."""
        return max(1, min(CHUNK_ROWS, CHUNK_ELEMENTS // self.num_classes))

    @property
    def batch_rows(self) -> int:
        """Number of samples to judge at once: fewer where all their logits are returned."""
        return CHUNK_ROWS if self._head is None else self.chunk_rows

    def read(self, features: Any) -> Tensor:
        """Return user input as finite features (n, d), in their own dtype."""
        rows = as_matrix("features", features).detach()
        if rows.shape[1] != self.dim:
            expected = f"{self.dim} columns, as many as the means have"
            remedy = "pass features of the same layer as the means"
            raise NeuralCollapseError("features", expected, f"shape {tuple(rows.shape)}", remedy)
        check_finite("features", rows)
        check_squares("features", rows, least=0.0, most=LONGEST)
        return rows

    def winners(self, features: Tensor, labels: Tensor) -> Int[Tensor, " n"]:
        """Return the class of the one nearest mean of each row, or `TIED`.

        Parameters
        ----------
        features
            (n, d), in any dtype.
        labels
            (n,) int64: a likely class for each row, which saves time if it is the nearest.
        """
        return self.judged(features, labels)[0]

    def judged(
        self, features: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        r"""Return the winners, each row's distance to the mean of its label, and its lead.

        Parameters
        ----------
        features, labels
            As in `winners`.

        Returns
        -------
        winners : Tensor of shape (n,), int64
            As `winners`.
        own : Tensor of shape (n,)
            \|x - mu_y\|^2, to round-off of \|x - m\|^2.
        ahead : Tensor of shape (n,)
            The least squared distance to another mean, minus `own`.
        logits : Tensor of shape (n, K) or None
            Logits of the head, if there is one.
        """
        wide = features.dtype == torch.float64 or not features.is_floating_point()
        size, dtype = self.chunk_rows, torch.float64 if wide else torch.float32
        chunks = zip(features.split(size), labels.split(size), strict=True)
        parts = [self._judged(rows, likely, dtype) for rows, likely in chunks]
        *found, logits = zip(*parts, strict=True)
        winners, own, ahead = map(torch.cat, found)
        close = (winners == TIED).nonzero().squeeze(1)
        if len(close):  # which this dtype cannot decide
            rows, likely = features[close], labels[close]
            finer = self._by_distances(rows, likely) if wide else self.judged(rows.double(), likely)
            for values, exact in zip((winners, own, ahead), finer[:3], strict=True):
                values[close] = exact.to(values.dtype)
        if self._head is None or len(logits) == 1:
            return winners, own, ahead, logits[0]
        return winners, own, ahead, torch.cat(logits)

    def distances(self, features: Tensor) -> Tensor:
        """Return the distances to all means by differences, (n, K) float64; inf if absent."""
        mode = "donot_use_mm_for_euclid_dist"
        means = self._means.to(features.device)
        found = torch.cdist(features.to(torch.float64), means, compute_mode=mode)
        return found.masked_fill_(self._absent.to(features.device), float("inf"))

    def _judged(
        self, features: Tensor, likely: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        scores, logits, squares, slack = self._scores(features, dtype)
        margins, found = decide(scores, likely, slack)
        own = squares - 2 * scores.gather(1, likely[:, None]).squeeze(1)
        return found, own, 2 * margins, logits

    def _by_distances(self, features: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """Return winners, own and ahead as `judged`, of rows that products cannot decide."""
        size, parts = self.chunk_rows, []
        for rows, likely in zip(features.split(size), labels.split(size), strict=True):
            distances = self.distances(rows)
            further, found = decide(-distances, likely)
            own = distances.gather(1, likely[:, None]).squeeze(1)
            parts.append((found, own.square(), further * (further + 2 * own)))
        return tuple(map(torch.cat, zip(*parts, strict=True)))

    def _scores(
        self, features: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """Return scores (n, K), -inf if absent; logits; |x - m|^2; twice the scores' round-off."""
        key = (dtype, features.device)
        if key not in self._cast:
            parts = (self._center, self._vectors, self._offsets)
            self._cast[key] = [part.to(features.device, dtype) for part in parts]
        center, vectors, offsets = self._cast[key]
        rows, reach = features.to(dtype), self._radius
        if self._centering:
            rows = rows - center
        else:
            reach += self._offset_norm
        products = linear_scores(rows, vectors, offsets)
        scores, logits = products[:, : self.num_classes], None
        if self._head is not None:
            joined = products[:, self.num_classes + 1 :]
            logits = joined if self._joined else self._head.logits(features)
        info, norms = torch.finfo(dtype), torch.linalg.vector_norm(rows, dim=1)
        # Sums of d rounded products drift by about sqrt(d) units; rows and differences by a few.
        units = 2 * (4 + self.dim**0.5)
        squares = norms.square()  # of x - m
        if not self._centering:
            along = products[:, self.num_classes] if self._joined else rows @ center
            squares.add_(self._offset_norm**2).sub_(along, alpha=2)
        slack = norms.add_(reach).mul_(units * info.eps * self._radius)
        slack += units * self.dim * info.tiny
        return scores, logits, squares, slack


def nearest_center(features: Any, means: Any) -> Int[Tensor, " n"]:
    r"""Return the label of the nearest class mean, :math:`\arg\min_k \|x - \mu_k\|`.

    Parameters
    ----------
    features
        (n, d), in any dtype.
    means
        (K, d) class means, from training data; NaN rows are absent classes.

    Returns
    -------
    Tensor of shape (n,), int64
        Labels; the lowest label in a tie.

    Raises
    ------
    NonFiniteError
        If a feature is NaN or infinite, or a mean infinite.
    NeuralCollapseError
        If no class has a mean, or shapes do not fit.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.metrics import nearest_center
    >>> nearest_center(torch.tensor([[0.4], [0.6]]), torch.tensor([[0.0], [1.0]]))
    tensor([0, 1])
    """
    nearest = NearestCenter(means)
    rows = nearest.read(features)
    found = nearest.winners(rows, torch.zeros_like(rows[:, 0], dtype=torch.int64))
    tied = (found == TIED).nonzero().squeeze(1)
    found[tied] = nearest.distances(rows[tied]).argmin(1)
    return found


def ncc_accuracy(features: Any, labels: Any, means: Any) -> float:
    """Return the share of samples whose nearest class mean is that of their label.

    This is not the agreement of NC4: it needs labels, and no classifier.

    Parameters
    ----------
    features, means
        As in `nearest_center`.
    labels
        (n,) true labels.

    Returns
    -------
    float
        In [0, 1]; 1 when collapsed; NaN without samples. A sample with several nearest means
        counts as wrong.

    Raises
    ------
    NonFiniteError, NeuralCollapseError
        As in `nearest_center`, and if labels do not fit.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.metrics import ncc_accuracy
    >>> ncc_accuracy(torch.tensor([[0.4], [0.6]]), [0, 0], torch.tensor([[0.0], [1.0]]))
    0.5
    """
    nearest = NearestCenter(means)
    rows = nearest.read(features)
    true = integer_labels("labels", labels, len(rows), nearest.num_classes).to(rows.device)
    return float((nearest.winners(rows, true) == true).double().mean())


def nc4_agreement(features: Any, means: Any, weight: Any, bias: Any = None) -> float:
    r"""Return the share of samples on which classifier and nearest class mean agree (NC4).

    .. math:: \arg\max_k \langle w_k, x\rangle + b_k = \arg\min_k \|x - \mu_k\|

    Parameters
    ----------
    features
        (n, d) of training or test data.
    means
        (K, d) class means, always of training data.
    weight, bias
        (K, d) and (K,) of the last linear layer; without its bias the value differs.

    Returns
    -------
    float
        In [0, 1]; 1 when collapsed; NaN without samples. If either rule has no single winner, they
        do not agree.

    Raises
    ------
    NonFiniteError
        If a feature, weight or bias is NaN or infinite, or a mean infinite.
    NeuralCollapseError
        If no class has a mean, or shapes do not fit.

    References
    ----------
    Papyan, Han & Donoho 2020, Figure 7 (which shows one minus this).

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.metrics import nc4_agreement
    >>> means = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> nc4_agreement(torch.tensor([[2.0, 1.0], [1.0, 1.5]]), means, weight=means)
    1.0
    """
    nearest, matrix = NearestCenter(means), finite_matrix("weight", weight).detach()
    check_shape("weight", matrix, (nearest.num_classes, nearest.dim), ROW_A_CLASS)
    head = Head("", matrix, None if bias is None else checked_bias(bias, matrix))
    features, agreeing = nearest.read(features), 0
    for rows in features.split(nearest.chunk_rows):
        logits = head.logits(rows)
        margins, decided = decide(logits, torch.zeros_like(logits[:, 0], dtype=torch.int64))
        check_finite("logits of the head", margins)
        agreeing += int(alike(nearest.winners(rows, decided.clamp_min(0)), decided).sum())
    return agreeing / len(features) if len(features) else float("nan")
