"""Corollary 3.1 at W = H = 0, where every class is as likely as any other."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from neuralcollapse.studies.claims import Evidence, largest
from neuralcollapse.studies.ji2022.flows import summed_loss
from neuralcollapse.studies.ji2022.study import study
from neuralcollapse.theory import origin_spectrum


@study.claim(
    "cor3.1-origin",
    "Ours: the origin is a strict saddle of the loss; the eigenvalues of its Hessian are plus and "
    "minus the singular values of the simplex-encoded labels, d times each, and 0.",
)
def _origin() -> Iterator[Evidence]:
    slope = error = 0.0
    cases = [([1, 1], 1), ([4, 4, 4], 2), ([5, 2, 1], 4)]
    for sizes, dim in cases:
        gradient, hessian = _at_the_origin(sizes, dim)
        slope = largest(slope, float(gradient.norm()))
        apart = torch.linalg.eigvalsh(hessian) - origin_spectrum(sizes, dim)
        error = largest(error, float(apart.abs().max()))
    note = f"{len(cases)} sets of classes, unequal ones among them; derivatives by autograd"
    yield Evidence("largest gradient", slope, 0, 1e-15, note=note)
    yield Evidence("largest error of an eigenvalue", error, 0, 1e-13)
    least = float(origin_spectrum([4, 4, 4], 2)[0])
    yield Evidence("least eigenvalue, classes of n = 4: -n^(1/2)", least, -2, 1e-14)


def _at_the_origin(sizes: list[int], dim: int) -> tuple[Tensor, Tensor]:
    """Differentiate the sum of cross-entropies twice at W = H = 0."""
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))

    def loss(flat: Tensor) -> Tensor:
        return summed_loss(flat, labels, dim)

    origin = torch.zeros(dim * (len(sizes) + len(labels)), dtype=torch.float64)
    return torch.func.grad(loss)(origin), torch.func.hessian(loss)(origin)
