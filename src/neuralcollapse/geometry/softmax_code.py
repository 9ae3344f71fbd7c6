"""Softmax codes: heads of largest one-vs-rest margin, for when no simplex ETF fits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import linprog
from scipy.sparse import coo_array
from torch import Tensor

from neuralcollapse.geometry.code_bound import one_vs_rest_bound
from neuralcollapse.geometry.one_vs_rest_margin import one_vs_rest_margin
from neuralcollapse.geometry.simplex_etf import standard_simplex
from neuralcollapse.validation import Array, whole_number

# From the largest starting temperature alone no start finds the best 13 points in space; the cold
# ones keep more of their first shape, which finds other codes.
MOST_CLASSES = 2**16  # that a search can handle
TEMPERATURES = (0.3, 0.1, 0.05, 0.02)
MOMENTUM = 0.9
NEAR = 1e-4  # pairs this near the largest cosine are held apart by the polish
POLISHED = 1500  # coordinates up to which the polish is quick
SEARCHED = 128  # classes up to which a measurement makes one short search for the best code


@dataclass(frozen=True)
class SoftmaxCode:
    """Unit rows of large one-vs-rest margin, and an upper bound for any rows.

    Attributes
    ----------
    vertices
        (K, d) unit rows.
    features
        (K, d) the unit features that attain the margin, one per class.
    margin
        Their one-vs-rest margin rho.
    upper
        Upper bound: no K unit rows in d dimensions have a larger margin.
    status
        ``"optimal"`` if the margin is proved to be the largest, otherwise ``"best known"``: the
        best that the search found.

    Examples
    --------
    >>> from neuralcollapse.geometry import softmax_code
    >>> code = softmax_code(4, 2)  # four classes in the plane: a square
    >>> round(code.margin, 6), code.status
    (1.0, 'optimal')
    """

    vertices: Float[Tensor, "K d"]
    features: Float[Tensor, "K d"]
    margin: float
    upper: float
    status: Literal["optimal", "best known"]


def softmax_code(
    num_classes: int,
    dim: int,
    starts: int | None = None,
    steps: int | None = None,
    generator: torch.Generator | None = None,
    polish: bool = True,
) -> SoftmaxCode:
    r"""Return K unit rows in d dimensions with the largest known one-vs-rest margin.

    .. math:: \rho^* = \max_{\|w_k\| = 1} \min_k
        \mathrm{dist}\bigl(w_k, \mathrm{conv}\{w_j\}_{j \ne k}\bigr)

    In closed form where the optimum is known: a simplex ETF for K <= d + 1 (K/(K-1)), simplices in
    orthogonal subspaces for K <= 2d (1; far from unique), a regular polygon in the plane.
    Otherwise by an annealed search:
    :math:`\tau \log \sum_{k, j \ne k} e^{-\langle w_k - w_j, h_k \rangle / \tau}` with h = w
    descends while tau falls geometrically, from several starts and temperatures, and linear
    programmes polish small codes. That h = w is best has held in every case tried but is not a
    theorem, so such codes are called best known.

    Weight decay instead of unit rows leads to another configuration for K > d + 1, whose rows
    differ in length.

    Parameters
    ----------
    num_classes
        K >= 2.
    dim
        d >= 1.
    starts, steps
        Of the search. If omitted, 16 starts of 4,000 steps for up to 64 classes, and down to one
        of 400 for more than 400.
    generator
        Random state of the starts; one of seed 0 if omitted, so that the answer is repeatable.
    polish
        Whether to refine codes of up to 1,500 coordinates to their last digits, which takes most of
        the time; without it, the margin falls short by some 1e-5.

    Returns
    -------
    SoftmaxCode
        Rows, features, their certified margin and the upper bound.

    Raises
    ------
    NeuralCollapseError
        If K < 2, d < 1, one is above 65,536, or a number of starts or steps is below 1.

    References
    ----------
    Jiang et al. 2023, "Generalized neural collapse for a large number of classes"; the search, and
    the bound in 2d dimensions, are ours.

    Examples
    --------
    >>> from neuralcollapse.geometry import softmax_code
    >>> code = softmax_code(6, 3)
    >>> round(code.margin, 9), code.upper, code.status
    (1.0, 1.0, 'optimal')
    """
    num_classes = whole_number("num_classes", num_classes, 2, MOST_CLASSES)
    dim = whole_number("dim", dim, at_most=MOST_CLASSES)
    for name, number in (("starts", starts), ("steps", steps)):
        if number is not None:
            whole_number(name, number)
    upper = one_vs_rest_bound(num_classes, dim)
    known = _closed_form(num_classes, dim)
    if known is not None:
        found = one_vs_rest_margin(known, every_class=False)
        return SoftmaxCode(known, found.features, found.lower, upper, "optimal")
    default = (16, 4000) if num_classes <= 64 else (4, 1000) if num_classes <= 400 else (1, 400)
    generator = generator or torch.Generator().manual_seed(0)
    codes = _anneal(num_classes, dim, starts or default[0], steps or default[1], generator)
    codes = codes[_largest_cosines(codes).argsort()[:4]]
    if polish and num_classes * dim <= POLISHED:
        roughly = [_polish(code.numpy(), 1e-5) for code in codes]
        codes = torch.from_numpy(_polish(min(roughly, key=_largest_cosine), 1e-11))[None]
    vertices = codes[0]
    found = one_vs_rest_margin(vertices, every_class=False)
    return SoftmaxCode(vertices, found.features, found.lower, upper, "best known")


@lru_cache(maxsize=16)
def best_known_margin(num_classes: int, dim: int) -> float:
    """Return the margin of the best code that a short search finds, for up to `SEARCHED` classes.

    Examples
    --------
    >>> round(best_known_margin(5, 3), 6)
    1.0
    """
    return softmax_code(num_classes, dim, starts=8, steps=2000, polish=False).margin


def _closed_form(num_classes: int, dim: int) -> Tensor | None:
    """Return a code that attains the upper bound, if one is known."""
    if dim == 2 and num_classes > 3:
        angles = torch.arange(num_classes, dtype=torch.float64) * (2 * math.pi / num_classes)
        return torch.stack([angles.cos(), angles.sin()], 1)
    if dim == 1:  # from the third row on, rows coincide
        return 1.0 - 2.0 * (torch.arange(num_classes, dtype=torch.float64)[:, None] % 2)
    if num_classes > 2 * dim:
        return None
    # Simplices of m_g points in orthogonal subspaces of m_g - 1 dimensions, sum m_g = K.
    groups = max(1, num_classes - dim)
    simplices = [
        standard_simplex(len(group)) for group in np.array_split(np.arange(num_classes), groups)
    ]
    rows = torch.block_diag(*simplices)
    return torch.nn.functional.pad(rows, (0, dim - rows.shape[1]))


def _anneal(
    num_classes: int, dim: int, starts: int, steps: int, generator: torch.Generator
) -> Float[Tensor, "s K d"]:
    """Push the rows apart at falling temperature, all starts at once."""
    large = num_classes > 400  # single precision until the last tenth of the way
    last = 1e-4 if large else 3e-6
    rows = torch.randn(starts, num_classes, dim, generator=generator, dtype=torch.float64)
    rows /= rows.norm(dim=2, keepdim=True)
    if large:
        rows = rows.float()
    velocity = torch.zeros_like(rows)
    first = torch.tensor(TEMPERATURES).repeat(-(-starts // 4))[:starts].to(rows)[:, None, None]
    for step in range(steps):
        if large and step == steps - steps // 10:
            rows, velocity, first = rows.double(), velocity.double(), first.double()
        temperature = first * (last / first) ** (step / max(steps - 1, 1))
        gram = rows @ rows.mT
        gram.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
        # Each row is pushed by its own rivals; that every row takes a step of the same length
        # makes the softmax over all pairs and that over each row's one and the same.
        push = (gram / temperature).softmax(2) @ rows
        push -= (push * rows).sum(2, keepdim=True) * rows
        velocity = MOMENTUM * velocity + torch.nn.functional.normalize(push, dim=2)
        length = 0.3 * torch.minimum(3 * temperature, torch.full_like(temperature, 0.1))
        rows = rows - length * torch.nn.functional.normalize(velocity, dim=2)
        rows = torch.nn.functional.normalize(rows, dim=2)
    return rows.double()


def _largest_cosines(codes: Float[Tensor, "s K d"]) -> Float[Tensor, " s"]:
    gram = codes @ codes.mT
    gram.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
    return gram.amax((1, 2))


def _polish(rows: Array, last: float) -> Array:
    """Lower the largest cosine by linear programmes in a trust region that shrinks to `last`."""
    value, radius = _largest_cosine(rows), 1e-3
    while radius > last:
        moved = _linear_step(rows, value, radius)
        if moved is None:
            return rows
        if _largest_cosine(moved) < value:
            rows, value, radius = moved, _largest_cosine(moved), 0.3 * radius
        else:
            radius *= 0.1
    return rows


def _largest_cosine(rows: Array) -> float:
    return float(_largest_cosines(torch.from_numpy(rows)[None]))


def _linear_step(rows: Array, value: float, radius: float) -> Array | None:
    """Minimise t over steps x in a box: <w_a + x_a, w_b + x_b> <= t to first order, x_k at w_k."""
    num, dim = rows.shape
    i, j = np.triu_indices(num, 1)
    cosines = (rows @ rows.T)[i, j]
    near = cosines > value - max(NEAR, 10 * radius)
    a, b = i[near], j[near]
    size, pairs, own = num * dim, np.arange(len(a)), np.arange(num)
    coordinates = np.arange(size).reshape(num, dim)
    # Differences of cosines and steps are in units of the radius: the solver's tolerances are
    # absolute, and so stay far below what is asked.
    slopes: Any = coo_array(  # linprog takes sparse ones, which its stubs forget
        (
            np.r_[rows[b].ravel(), rows[a].ravel(), -np.ones(len(a))],
            (
                np.r_[pairs.repeat(dim), pairs.repeat(dim), pairs],
                np.r_[coordinates[a].ravel(), coordinates[b].ravel(), np.full(len(a), size)],
            ),
        ),
        shape=(len(a), size + 1),
    )
    tangent: Any = coo_array(
        (rows.ravel(), (own.repeat(dim), np.arange(size))), shape=(num, size + 1)
    )
    found = linprog(
        np.r_[np.zeros(size), 1.0],
        slopes,
        (value - cosines[near]) / radius,
        tangent,
        np.zeros(num),
        np.r_[np.tile([-1.0, 1.0], (size, 1)), [[-np.inf, np.inf]]],
    )
    if found.status != 0 or found.x is None:
        return None
    moved = rows + radius * found.x[:-1].reshape(num, dim)
    return moved / np.linalg.norm(moved, axis=1, keepdims=True)
