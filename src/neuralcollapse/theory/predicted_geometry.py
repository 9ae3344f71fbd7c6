"""predicted_geometry: the shape that collapse takes for given class sizes and decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuralcollapse.validation import class_counts, simplex_dim, strength_pair

CODES = "with fewer dimensions the optimum is a softmax code, which has no closed form"


@dataclass(frozen=True, eq=False)
class PredictedGeometry:
    """Head and class means at a given decay, or in the limit of none, scaled to margins of 1.

    Gram matrices, lengths and cosines are those of rows about their mean row, which is how they
    are measured; both sets of vectors are determined up to one common rotation and their scales.
    Cosines with a row that is 0 about the mean row are NaN: all of them at the origin.

    Attributes
    ----------
    class_sizes
        (K,) samples of each class.
    W
        (K, d) head.
    means
        (K, d) class means, of which each sample of a class is a copy.
    b
        (K,) bias, or None for a head without one.

    Examples
    --------
    >>> from neuralcollapse.theory import predicted_geometry
    >>> predicted = predicted_geometry([100, 10, 10], dim=2)
    >>> predicted.cosines.round(decimals=2)[0]
    tensor([ 1.0000, -0.4200, -0.4200], dtype=torch.float64)
    """

    class_sizes: Int[Tensor, " K"]
    W: Float[Tensor, "K d"]
    means: Float[Tensor, "K d"]
    b: Float[Tensor, " K"] | None

    @property
    def is_origin(self) -> bool:
        """Whether decay is so strong that head and means are 0, without a shape."""
        return not bool(self.W.any() or self.means.any())

    @property
    def gram(self) -> Float[Tensor, "K K"]:
        """Gram matrix of the centred class means."""
        return _gram(self.means)

    @property
    def head_gram(self) -> Float[Tensor, "K K"]:
        """Gram matrix of the centred head."""
        return _gram(self.W)

    @property
    def norms(self) -> Float[Tensor, " K"]:
        """Length of each centred class mean."""
        return self.gram.diagonal().sqrt()

    @property
    def head_norms(self) -> Float[Tensor, " K"]:
        """Length of each centred row of the head."""
        return self.head_gram.diagonal().sqrt()

    @property
    def cosines(self) -> Float[Tensor, "K K"]:
        """Cosines between centred class means."""
        return self.gram / torch.outer(self.norms, self.norms)

    @property
    def head_cosines(self) -> Float[Tensor, "K K"]:
        """Cosines between centred rows of the head."""
        return self.head_gram / torch.outer(self.head_norms, self.head_norms)


def predicted_geometry(
    class_sizes: Any,
    dim: int,
    *,
    bias: bool = True,
    weight_decay: tuple[float, float] | None = None,
) -> PredictedGeometry:
    r"""Return the geometry that cross-entropy with weight decay tends to as the decay vanishes.

    .. math:: W W^\top = (X X^\top)^{1/2}, \qquad
        M M^\top = D^{-1/2} (X^\top X)^{1/2} D^{-1/2}, \qquad D = \mathrm{diag}(n_k)

    with X = C D^{1/2}, C = I - 11^T/K, for a head without a bias (simplex-encoded labels), and
    X = (I - pi 1^T) D^{1/2}, pi = n/N, for a free one. Either is a simplex ETF for classes of equal
    size. Every margin is 1; a trained network has another scale, and approaches this shape only
    as fast as 1/log(1/decay). For its own decay pass `weight_decay`: then the shape is that of the
    minimum there, at its own scale, and classes of few samples can have merged; of a strong decay
    it is the origin, which has no cosines (`PredictedGeometry.is_origin`).

    Parameters
    ----------
    class_sizes
        (K,) samples n_k >= 1 of each class.
    dim
        d >= K - 1.
    bias
        Whether the head has a bias, itself without decay: for unequal classes it changes the shape.
    weight_decay
        (lambda_W, lambda_H), as in `unequal_minimizer`, or None for the limit. A network is trained
        with the first alone; `implied_feature_decay` finds the other.

    Returns
    -------
    PredictedGeometry
        Head, class means and bias.

    Raises
    ------
    NeuralCollapseError
        If there are fewer than two classes, a size is no whole number above zero, d < K - 1 or too
        large for memory, or a strength is out of range.

    References
    ----------
    Thrampoulidis et al. 2022, "Imbalance trouble: revisiting neural-collapse geometry", without a
    bias; the limit with a free one is ours.

    Examples
    --------
    >>> from neuralcollapse import predicted_geometry
    >>> predicted_geometry([5, 5, 5], dim=2).cosines.round(decimals=6)[0]
    tensor([ 1.0000, -0.5000, -0.5000], dtype=torch.float64)
    >>> lengths = predicted_geometry([16, 1, 1], dim=2).head_norms
    >>> round(float(lengths[0] / lengths[1]), 2)
    1.19
    """
    sizes = class_counts("class_sizes", class_sizes).cpu()
    num_classes = len(sizes)
    dim = simplex_dim(dim, num_classes, CODES)
    if weight_decay is not None:
        # Here, since the limits alone, which every report asks for, need no scipy.
        from neuralcollapse.theory.unequal import unequal_minimizer

        strengths = strength_pair("weight_decay", weight_decay)
        best = unequal_minimizer(sizes, dim, *strengths, bias="free" if bias else None)
        return PredictedGeometry(sizes, best.W, best.means, best.bias if bias else None)
    counts = sizes.to(torch.float64)
    roots, even = counts.sqrt(), torch.full_like(counts, 1 / num_classes)
    shares = counts / counts.sum() if bias else even
    X = (torch.ones_like(counts).diag() - shares[:, None]) * roots
    # Its columns sum to zero, so the last singular value is 0, and its vectors are left out.
    left, values, right = torch.linalg.svd(X)
    scale = values[:-1].sqrt()
    pad = counts.new_zeros(num_classes, dim - num_classes + 1)
    head = torch.cat([left[:, :-1] * scale, pad], 1)
    means = torch.cat([right[:-1].T * scale / roots[:, None], pad], 1)
    return PredictedGeometry(sizes, head, means, shares - even if bias else None)


def _gram(rows: Tensor) -> Tensor:
    centered = rows - rows.mean(0)
    return centered @ centered.T
