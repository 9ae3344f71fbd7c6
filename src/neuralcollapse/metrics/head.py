"""Head: the weight and bias of the last linear layer, checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import linear, normalize

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.moments.checked_moments import checked_moments
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.moments.slab import part_rows
from neuralcollapse.validation import (
    ROW_A_CLASS,
    check_shape,
    check_squares,
    finite_matrix,
    finite_tensor,
)

FEW = range(4, 257)  # classes, so few that scores are better laid out class by class
MANY_ROWS = 64  # fewer samples make no product worth turning
PIECE_ROWS = 512  # at least so many at once, or as many as stay in cache


@dataclass(frozen=True, eq=False)
class Head:
    r"""The last layer of a classifier: logits are :math:`h W^T + b` of the features.

    Attributes
    ----------
    name
        As in ``model.named_modules()``; empty for a model that is its own head.
    weight
        (K, d), one row per class, as the layer applies it: after normalisation, masks or adapters.
        A layer with a single logit z has the rows -w/2 and w/2, for the logits -z/2 and z/2.
    bias
        (K,) or None.
    scale
        The scale s of a cosine head, whose rows are :math:`s\, w_k / \|w_k\|` and whose features
        are scaled to norm 1. None for any other head.

    Raises
    ------
    NeuralCollapseError
        If the weight is not a matrix, or the bias does not have one entry per class.

    Examples
    --------
    >>> import torch
    >>> head = Head("fc", torch.tensor([[2.0, 0.0], [0.0, 2.0]]), scale=2.0)
    >>> head.logits(torch.tensor([[3.0, 4.0]]))
    tensor([[1.2000, 1.6000]])
    """

    name: str
    weight: Tensor
    bias: Tensor | None = None
    scale: float | None = None

    def __post_init__(self) -> None:
        argument = f"weight of the head {self.name!r}"
        check_shape(argument, self.weight, ("K", "d"), "pass one row per class")
        if self.bias is not None:
            checked_bias(self.bias, self.weight)

    @property
    def num_classes(self) -> int:
        """K, the number of rows."""
        return self.weight.shape[0]

    @property
    def dim(self) -> int:
        """d, the width of the features."""
        return self.weight.shape[1]

    def copy(self) -> Head:
        """Return a copy that does not change as the network trains on."""
        bias = None if self.bias is None else self.bias.clone()
        return replace(self, weight=self.weight.clone(), bias=bias)

    def features(self, inputs: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """Return the features, given the input of the layer: at norm 1 for a cosine head."""
        return inputs if self.scale is None else normalize(inputs, dim=-1)

    def require_width(self, width: int) -> None:
        """Refuse features of another width.

        Raises
        ------
        NeuralCollapseError
            If the width differs.
        """
        if width != self.dim:
            expected = f"{width} columns, as many as the features have"
            got = f"shape {tuple(self.weight.shape)}"
            raise NeuralCollapseError("weight", expected, got, ROW_A_CLASS)

    def logits(self, features: Shaped[Tensor, "*n d"]) -> Float[Tensor, "*n K"]:
        """Return the logits of features, (..., d) to (..., K), in float32 or wider.

        Float64 if the features are float64 or whole numbers. Nothing is centred, so that rows
        that tie exactly still tie; autocast is disabled.

        Raises
        ------
        NeuralCollapseError
            If the features have another width.
        """
        self.require_width(features.shape[-1])
        wide = features.dtype == torch.float64 or not features.is_floating_point()
        where, dtype = features.device, torch.float64 if wide else torch.float32
        bias = None if self.bias is None else self.bias.to(where, dtype)
        rows = self.features(features.to(dtype))
        return linear_scores(rows, self.weight.to(where, dtype), bias)


def linear_scores(rows: Tensor, vectors: Tensor, offsets: Tensor | None = None) -> Tensor:
    r"""Return :math:`\langle x, v_k\rangle + b_k` of rows x and class vectors, without autocast.

    Parameters
    ----------
    rows
        (..., d).
    vectors, offsets
        (K, d) and (K,), in the dtype of the rows.

    Returns
    -------
    Tensor of shape (..., K)
        With few classes, laid out class by class: such a product is a third faster, maxima over
        classes then run along contiguous samples, and equal rows of the head still tie (on the
        processors we have tried; the other layout rounds them apart).

    Examples
    --------
    >>> linear_scores(torch.ones(2, 3), torch.eye(3), torch.arange(3.0))
    tensor([[1., 2., 3.],
            [1., 2., 3.]])
    """
    with torch.autocast(rows.device.type, enabled=False):
        if rows.ndim != 2 or len(rows) < MANY_ROWS or len(vectors) not in FEW:
            return linear(rows, vectors, offsets)
        added = vectors.new_zeros(len(vectors), 1) if offsets is None else offsets[:, None]
        pieces = rows.T.split(max(PIECE_ROWS, part_rows(rows.shape[1], rows.device)), dim=1)
        found = [torch.addmm(added, vectors, piece) for piece in pieces]
        return (found[0] if len(found) == 1 else torch.cat(found, 1)).T


def two_sided(one: Tensor, dim: int = 0) -> Tensor:
    """Turn a single logit z into the two logits -z/2 and z/2, along an axis.

    Parameters
    ----------
    one
        Logits of samples, the row of a head, or a bias; of length 1 along `dim`.
    dim
        The axis of the classes.

    Examples
    --------
    >>> two_sided(torch.tensor([[4.0], [-2.0]]), dim=1)
    tensor([[-2.,  2.],
            [ 1., -1.]])
    """
    return torch.cat([-one / 2, one / 2], dim)


def checked_head(moments: ClassMoments, weight: Any) -> Tensor:
    """Return head weights in float64 on the device of the moments, if they fit them.

    Parameters
    ----------
    moments
        Moments of the features that enter the head.
    weight
        (K, d) rows of the head.

    Raises
    ------
    NonFiniteError
        If an entry is NaN or infinite.
    NeuralCollapseError
        If the shape is not (K, d), or squares of entries leave float64.

    Examples
    --------
    >>> checked_head(ClassMoments(2, 1), [[1.0], [2.0]])
    tensor([[1.],
            [2.]], dtype=torch.float64)
    """
    head = finite_matrix("weight", weight)
    moments = checked_moments(moments)
    check_shape("weight", head, (moments.num_classes, moments.dim), ROW_A_CLASS)
    check_squares("weight", head)
    return head.detach().to(moments.device)


def checked_bias(bias: Any, weight: Tensor) -> Tensor:
    """Return a bias in the dtype and on the device of the weights, if it has one entry per class.

    Raises
    ------
    NonFiniteError
        If an entry is NaN or infinite.
    NeuralCollapseError
        If it does not, or squares of entries leave float64.

    Examples
    --------
    >>> import torch
    >>> checked_bias([1, 2], torch.ones(2, 3))
    tensor([1., 2.])
    """
    offset = finite_tensor("bias", bias)
    check_shape("bias", offset, weight.shape[:1], "pass one entry per class")
    check_squares("bias", offset, least=0.0)
    return offset.detach().to(weight)
