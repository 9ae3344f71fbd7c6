"""Random rotations: orthonormal rows drawn from the Haar measure."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.validation import check_size, whole_number


def random_isometry(
    rows: int, dim: int, generator: torch.Generator | None = None
) -> Float[Tensor, "m d"]:
    """Draw m orthonormal rows in d dimensions from the Haar measure.

    With m = d this is a uniformly random element of O(d), reflections included. The law does not
    change under multiplication by an orthogonal matrix from either side.

    Parameters
    ----------
    rows, dim
        1 <= m <= d.
    generator
        Random state; torch's global one if omitted.

    Returns
    -------
    Tensor of shape (m, d), float64
        Q with Q Q^T = I.

    Raises
    ------
    NeuralCollapseError
        If there is no row, there are more rows than dimensions or than fit in memory, or the
        generator is none.

    References
    ----------
    Mezzadri 2007, "How to generate random matrices from the classical compact groups".

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.geometry import random_isometry
    >>> Q = random_isometry(3, 3, torch.Generator().manual_seed(0))
    >>> torch.allclose(Q @ Q.T, torch.eye(3, dtype=torch.float64))
    True
    """
    rows, dim = whole_number("rows", rows), whole_number("dim", dim)
    if rows > dim:
        remedy = "use at most dim rows: orthonormal rows cannot outnumber d"
        raise NeuralCollapseError("rows", f"1 <= rows <= dim = {dim}", str(rows), remedy)
    given: Any = generator
    if given is not None and not isinstance(given, torch.Generator):
        expected, remedy = "a torch.Generator", "pass torch.Generator().manual_seed(seed)"
        raise NeuralCollapseError("generator", expected, repr(given), remedy)
    check_size("dim", rows, dim)
    device = generator.device if generator is not None else None
    gaussian = torch.randn(dim, rows, generator=generator, dtype=torch.float64, device=device)
    orthonormal, upper = torch.linalg.qr(gaussian)
    # LAPACK's signs are a convention; with those of the diagonal the law is that of Haar.
    return (orthonormal * upper.diagonal().sign()).T
