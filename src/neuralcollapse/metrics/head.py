"""Checks of the last linear layer: one place, one wording."""

from __future__ import annotations

import torch
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.moments.class_moments import ClassMoments


def checked_head(moments: ClassMoments, weight: Tensor) -> Tensor:
    """Return head weights in float64 beside the moments, if they fit these.

    Parameters
    ----------
    moments
        Moments of the features that enter the head.
    weight
        (K, d) rows of the head.

    Raises
    ------
    NeuralCollapseError
        If the shape is not (K, d).

    Examples
    --------
    >>> checked_head(ClassMoments(2, 1), torch.tensor([[1.0], [2.0]]))
    tensor([[1.],
            [2.]], dtype=torch.float64)
    """
    if weight.shape != (moments.num_classes, moments.dim):
        raise NeuralCollapseError(
            "weight",
            f"shape {(moments.num_classes, moments.dim)}",
            str(tuple(weight.shape)),
            "pass one row a class, of the layer that takes these features",
        )
    return weight.detach().to(moments.device, torch.float64)


def checked_bias(bias: Tensor, weight: Tensor) -> Tensor:
    """Return a bias in the dtype and on the device of the weights, if it has one entry a class.

    Raises
    ------
    NeuralCollapseError
        If it has not.

    Examples
    --------
    >>> checked_bias(torch.tensor([1, 2]), torch.ones(2, 3))
    tensor([1., 2.])
    """
    if bias.shape != weight.shape[:1]:
        raise NeuralCollapseError(
            "bias", f"shape {tuple(weight.shape[:1])}", str(tuple(bias.shape)), "one entry a class"
        )
    return bias.detach().to(weight)
