"""Counts and class moments as one vector, to exchange between processes and to checkpoint."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.moments.class_moments import ClassMoments


def pack(table: Float[Tensor, "rows K"], moments: ClassMoments) -> Float[Tensor, " s"]:
    """Return a table and moments as one float64 vector on the CPU.

    Parameters
    ----------
    table
        Counts by class.
    moments
        Moments of the same classes.
    """
    parts = [table.cpu(), *moments.state_dict().values()]
    return torch.cat([part.flatten() for part in parts])


def unpack(
    vector: Tensor, table: Float[Tensor, "rows K"], empty: ClassMoments
) -> tuple[Float[Tensor, "rows K"], ClassMoments]:
    """Return the table and the moments that `pack` was given.

    Parameters
    ----------
    vector
        What it returned.
    table, empty
        A table and moments of the same sizes.

    Raises
    ------
    NeuralCollapseError
        If the vector has another length, or does not hold moments.

    Examples
    --------
    >>> moments = ClassMoments(2, 1).update(torch.tensor([[1.0], [3.0]]), [0, 0])
    >>> table = torch.ones(1, 2, dtype=torch.float64)
    >>> _, again = unpack(pack(table, moments), table, ClassMoments(2, 1))
    >>> again.counts.tolist(), float(again.means[0])
    ([2, 0], 2.0)
    """
    shapes = {name: tensor.shape for name, tensor in empty.state_dict().items()}
    sizes = [table.numel(), *map(math.prod, shapes.values())]
    if vector.shape != (sum(sizes),):
        expected = f"{sum(sizes)} numbers for num_classes, dim = {empty.num_classes}, {empty.dim}"
        remedy = "restore it into a metric of the same sizes"
        raise NeuralCollapseError("state", expected, f"shape {tuple(vector.shape)}", remedy)
    counts, *parts = vector.detach().to(torch.float64).split(sizes)
    named = zip(shapes.items(), parts, strict=True)
    found = {name: part.reshape(shape).clone() for (name, shape), part in named}
    return counts.reshape(table.shape).clone(), ClassMoments.from_state_dict(found)
