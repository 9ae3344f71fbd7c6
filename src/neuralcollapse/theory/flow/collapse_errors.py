"""The four errors of neural collapse that Ji et al. follow along the flow."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class CollapseErrors:
    r"""How far a pair (W, H) is from neural collapse; every error is zero exactly at collapse.

    With M the (K, d) class means less their mean and C = W less its mean row:

    Attributes
    ----------
    equinorm_means, equinorm_head
        Coefficient of variation (population) of the norms of the rows of M, of C.
    within_class
        Mean distance of a sample from its class mean, over the mean norm of the rows of M.
    cosines_means, cosines_head
        Mean over pairs of classes of \|cosine + 1/(K-1)\|, for the rows of M, of C.
    self_duality
        \|\|C / \|\|C\|\| - M / \|\|M\|\| \|\|, Frobenius norms; in [0, 2].
    """

    equinorm_means: Float[Tensor, "*t"]
    equinorm_head: Float[Tensor, "*t"]
    within_class: Float[Tensor, "*t"]
    cosines_means: Float[Tensor, "*t"]
    cosines_head: Float[Tensor, "*t"]
    self_duality: Float[Tensor, "*t"]


def collapse_errors(
    W: Float[Tensor, "*t K d"], H: Float[Tensor, "*t N d"], labels: Tensor
) -> CollapseErrors:
    """Measure the errors of each (W, H) along the leading axes."""
    means = class_means(H, labels, W.shape[-2])
    spread = (H - means[..., labels, :]).norm(dim=-1).mean(-1)
    centered = means - means.mean(-2, keepdim=True)
    head = W - W.mean(-2, keepdim=True)
    directions = [points / points.norm(dim=(-2, -1), keepdim=True) for points in (head, centered)]
    return CollapseErrors(
        equinorm_means=_variation(centered),
        equinorm_head=_variation(head),
        within_class=spread / centered.norm(dim=-1).mean(-1),
        cosines_means=_cosine_deviation(centered),
        cosines_head=_cosine_deviation(head),
        self_duality=(directions[0] - directions[1]).norm(dim=(-2, -1)),
    )


def class_means(
    H: Float[Tensor, "*t N d"], labels: Tensor, num_classes: int
) -> Float[Tensor, "*t K d"]:
    """Return the mean of each class's rows."""
    membership = torch.nn.functional.one_hot(labels, num_classes).to(H.dtype)
    return (membership / membership.sum(0)).T @ H


def _variation(points: Tensor) -> Tensor:
    norms = points.norm(dim=-1)
    mean = norms.mean(-1, keepdim=True)
    return (norms / mean - 1).square().mean(-1).sqrt()


def _cosine_deviation(points: Tensor) -> Tensor:
    num_classes = points.shape[-2]
    units = points / points.norm(dim=-1, keepdim=True)
    deviation = (units @ units.mT + 1 / (num_classes - 1)).abs()
    off_diagonal = deviation.sum((-2, -1)) - deviation.diagonal(dim1=-2, dim2=-1).sum(-1)
    return off_diagonal / (num_classes * (num_classes - 1))
