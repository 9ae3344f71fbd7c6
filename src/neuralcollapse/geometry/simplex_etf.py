"""The simplex equiangular tight frame (ETF): where the class means of a balanced problem go."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from scipy.linalg import helmert
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.geometry.rotation import random_isometry
from neuralcollapse.validation import (
    check_choice,
    check_size,
    finite_matrix,
    simplex_dim,
    whole_number,
)

Orientation = Literal["haar", "axis", "block"]


def simplex_etf(
    num_classes: int,
    dim: int,
    orientation: Orientation = "haar",
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "K d"]:
    r"""Return the K vertices of a simplex ETF in d dimensions, one unit row per class.

    .. math:: m_k = \sqrt{K/(K-1)} \; U (e_k - \mathbf 1 / K), \qquad U^\top U = I

    Rows have norm 1, sum to zero, and every pair has cosine -1/(K-1), the most that K directions
    can be apart.

    Parameters
    ----------
    num_classes
        K >= 2.
    dim
        d >= K - 1, the dimension of the space.
    orientation
        ``"haar"``: uniformly random (Haar) orientation. ``"axis"``: class k along coordinate k (for
        d = K - 1, where there is no axis per class, Helmert coordinates). ``"block"``: class k
        along its own d // K coordinates, d >= K.
    generator
        Random state of the Haar orientation; torch's global one if omitted.
    dtype
        float64 if omitted; the frame is always computed in float64.

    Returns
    -------
    Tensor of shape (K, d)
        The vertices, rows of unit norm.

    Raises
    ------
    NeuralCollapseError
        If K < 2, d < K - 1, d < K for blocks, they fit in no memory, or orientation, generator or
        dtype is none.

    References
    ----------
    Papyan, Han & Donoho 2020; Ji et al. 2022, Definition 2.1.

    Examples
    --------
    >>> from neuralcollapse import simplex_etf
    >>> vertices = simplex_etf(3, 5, "axis")
    >>> (vertices @ vertices.T).round(decimals=6)
    tensor([[ 1.0000, -0.5000, -0.5000],
            [-0.5000,  1.0000, -0.5000],
            [-0.5000, -0.5000,  1.0000]], dtype=torch.float64)
    """
    num_classes, dim = _checked_size(num_classes, dim)
    check_choice("orientation", orientation, get_args(Orientation))
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        expected, remedy = "a floating-point dtype", "pass one such as torch.float32"
        raise NeuralCollapseError("dtype", expected, repr(dtype), remedy)
    if orientation == "haar":
        vertices = standard_simplex(num_classes) @ random_isometry(num_classes - 1, dim, generator)
    elif orientation == "axis" and dim == num_classes - 1:
        vertices = standard_simplex(num_classes)
    else:
        vertices = _coordinate_simplex(num_classes, dim, 1 if orientation == "axis" else None)
    return vertices.to(dtype or torch.float64)


def etf_gram(num_classes: int) -> Float[Tensor, "K K"]:
    """Return the Gram matrix of a simplex ETF: ones on the diagonal, -1/(K-1) elsewhere.

    Parameters
    ----------
    num_classes
        K >= 2.

    Returns
    -------
    Tensor of shape (K, K), float64
        K/(K-1) (I - 11^T/K), of rank K - 1.

    Raises
    ------
    NeuralCollapseError
        If K < 2, or K x K numbers fit in no memory.

    Examples
    --------
    >>> from neuralcollapse import etf_gram
    >>> etf_gram(2)
    tensor([[ 1., -1.],
            [-1.,  1.]], dtype=torch.float64)
    """
    num_classes = whole_number("num_classes", num_classes, 2)
    check_size("num_classes", num_classes, num_classes)
    gram = torch.full((num_classes, num_classes), -1 / (num_classes - 1), dtype=torch.float64)
    return gram.fill_diagonal_(1.0)


def standard_simplex(num_classes: int) -> Float[Tensor, "K m"]:
    """Return the simplex ETF in its own K - 1 dimensions, in Helmert coordinates.

    Every simplex ETF is this one times a (K-1, d) matrix with orthonormal rows.

    Parameters
    ----------
    num_classes
        K >= 2.

    Returns
    -------
    Tensor of shape (K, K - 1), float64
        Unit rows, orthogonal columns.

    Raises
    ------
    NeuralCollapseError
        If K < 2, or K x K numbers fit in no memory.

    Examples
    --------
    >>> from neuralcollapse.geometry import standard_simplex
    >>> standard_simplex(2)
    tensor([[ 1.],
            [-1.]], dtype=torch.float64)
    """
    num_classes = whole_number("num_classes", num_classes, 2)
    check_size("num_classes", num_classes, num_classes)
    basis = torch.from_numpy(helmert(num_classes).T.copy())
    return basis * math.sqrt(num_classes / (num_classes - 1))


@dataclass(frozen=True)
class NearestETF:
    """The simplex ETF nearest to K points, as ``nearest_etf`` found it.

    Attributes
    ----------
    vertices
        (K, d) unit rows of the nearest ETF; ``center + scale * vertices`` approximates the points.
    rotation
        (K-1, d) orthonormal rows with ``vertices = standard_simplex(K) @ rotation``.
    scale
        Common norm of the fitted rows, >= 0.
    center
        (d,) mean of the points.
    distance
        Frobenius distance of the centred points, scaled to norm 1, from the ETF so scaled that
        the distance is least; in [0, 1], 0 exactly for a simplex ETF.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.geometry import nearest_etf, simplex_etf
    >>> nearest = nearest_etf(3.0 * simplex_etf(4, 6) + torch.ones(6))
    >>> round(nearest.scale, 6), nearest.distance < 1e-6, nearest.center.round(decimals=6).tolist()
    (3.0, True, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    """

    vertices: Float[Tensor, "K d"]
    rotation: Float[Tensor, "m d"]
    scale: float
    center: Float[Tensor, " d"]
    distance: float


def nearest_etf(points: Float[Tensor, "K d"]) -> NearestETF:
    r"""Find the simplex ETF nearest to K points, over all rotations, scales and shifts.

    With A the centred points and S the standard simplex, the orthogonal Procrustes problem
    :math:`\min_{c, R R^\top = I} \|A - c\, S R\|_F` has R = U V^T from the thin SVD of S^T A.

    Parameters
    ----------
    points
        (K, d), one row per class, K >= 2, d >= K - 1, finite and not all equal.

    Returns
    -------
    NearestETF
        The vertices, and the rotation, scale, centre and distance that attain them.

    Raises
    ------
    NeuralCollapseError
        If there is no ETF of K points in d dimensions, or all points are equal.
    NonFiniteError
        If a coordinate is NaN or infinite.

    References
    ----------
    Schönemann 1966, "A generalized solution of the orthogonal Procrustes problem".

    Examples
    --------
    >>> from neuralcollapse import nearest_etf, simplex_etf
    >>> nearest = nearest_etf(7 + 3 * simplex_etf(4, 6, "axis"))
    >>> round(nearest.scale, 6), round(nearest.distance, 6)
    (3.0, 0.0)
    """
    points = finite_matrix("points", points).detach()
    num_classes, dim = points.shape
    _checked_size(num_classes, dim)
    center = points.mean(0)
    centered = points - center
    norm = torch.linalg.matrix_norm(centered)
    if norm <= num_classes * torch.finfo(torch.float64).eps * torch.linalg.matrix_norm(points):
        raise NeuralCollapseError(
            "points", "at least two distinct points", "equal points", "pass points that differ"
        )
    simplex = standard_simplex(num_classes).to(points.device)
    left, singular, right = torch.linalg.svd(simplex.T @ centered, full_matrices=False)
    rotation = left @ right
    scale = singular.sum() / num_classes  # the standard simplex has squared norm K
    vertices = simplex @ rotation
    # The residual itself, not 1 - cos^2: that would cancel to 1e-8 at an exact ETF.
    distance = torch.linalg.matrix_norm(centered - scale * vertices) / norm
    return NearestETF(vertices, rotation, float(scale), center, float(distance))


def _checked_size(num_classes: int, dim: int) -> tuple[int, int]:
    num_classes = whole_number("num_classes", num_classes, 2)
    remedy = "K equiangular points span K - 1 dimensions: use more dimensions or fewer classes"
    return num_classes, simplex_dim(dim, num_classes, remedy)


def _coordinate_simplex(num_classes: int, dim: int, width: int | None) -> Tensor:
    """Put class k along its own `width` coordinates (d // K if None)."""
    if dim < num_classes:
        expected = f"dim >= num_classes = {num_classes} for the block orientation"
        got = f"dim = {dim}"
        raise NeuralCollapseError("dim", expected, got, "use orientation='axis' or 'haar'")
    width = width or dim // num_classes
    indicator = torch.zeros(num_classes, dim, dtype=torch.float64)
    for k in range(num_classes):
        indicator[k, k * width : (k + 1) * width] = width**-0.5
    return (indicator - indicator.mean(0)) * math.sqrt(num_classes / (num_classes - 1))
