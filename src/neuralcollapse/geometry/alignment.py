"""Alignment: which class gets which vertex of a fixed head, given the initial class means."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from neuralcollapse.validation import check_choice, check_shape, class_rows, finite_matrix

AlignmentRule = Literal["hungarian", "anti-hungarian", "procrustes"]
ALIGNMENT_RULES: tuple[AlignmentRule, ...] = ("hungarian", "anti-hungarian", "procrustes")


def align(vertices: Any, means: Any, rule: str) -> Float[Tensor, "K d"]:
    r"""Return the head aligned with class means by a rule, to be used before training.

    Parameters
    ----------
    vertices
        (K, d) head, one row per class.
    means
        (K, d) class means of the features the head will see. They are centred here.
    rule
        ``"hungarian"``: the assignment of rows to classes with the largest
        :math:`\sum_k \langle c_k, m_{\pi(k)} \rangle`; ``"anti-hungarian"``: with the least (the
        worst start); ``"procrustes"``: the whole head rotated to the largest sum.

    Returns
    -------
    Tensor of shape (K, d), float64
        The rows, permuted or rotated; up to order, their Gram matrix is that of `vertices`.

    Raises
    ------
    NeuralCollapseError
        If the rule is unknown, the shapes differ or K < 2.
    NonFiniteError
        If a number is NaN or infinite.

    Notes
    -----
    Ours. A quadratic assignment by similarity of classes would be empty: all pairs of vertices of
    a simplex ETF are equally far apart, so that its objective is the same for every permutation.

    Examples
    --------
    >>> from neuralcollapse.geometry import align
    >>> align([[0.0, 1.0], [1.0, 0.0]], [[3.0, 0.0], [0.0, 3.0]], "hungarian")
    tensor([[1., 0.],
            [0., 1.]], dtype=torch.float64)
    """
    head = finite_matrix("vertices", vertices)
    check_choice("rule", rule, ALIGNMENT_RULES)
    if rule == "procrustes":
        return head @ procrustes_rotation(head, means).T
    return head[hungarian_permutation(head, means, worst=rule == "anti-hungarian")]


def hungarian_permutation(vertices: Any, means: Any, worst: bool = False) -> Int[Tensor, " K"]:
    r"""Return the permutation of the vertices that fits the centred class means best.

    .. math:: \max_\pi \sum_k \langle c_k, m_{\pi(k)} \rangle

    Parameters
    ----------
    vertices, means
        (K, d) each, K >= 2.
    worst
        Whether to minimise instead.

    Returns
    -------
    Tensor of shape (K,), int64
        ``vertices[permutation]`` is the aligned head.

    Raises
    ------
    NeuralCollapseError
        If the shapes differ or K < 2.
    NonFiniteError
        If a number is NaN or infinite.

    References
    ----------
    Kuhn 1955, "The Hungarian method for the assignment problem".

    Examples
    --------
    >>> hungarian_permutation([[1.0], [-1.0]], [[-3.0], [5.0]])
    tensor([1, 0])
    """
    head, centered = _centered_pair(vertices, means)
    _, columns = linear_sum_assignment((centered @ head.T).cpu().numpy(), maximize=not worst)
    return torch.from_numpy(columns).to(head.device)


def procrustes_rotation(vertices: Any, means: Any) -> Float[Tensor, "d d"]:
    r"""Return the rotation of the head that fits the centred class means best.

    .. math:: \max_{R^\top R = I} \sum_k \langle c_k, R m_k \rangle, \qquad
        R = U V^\top, \quad C^\top M = U S V^\top

    Since all permutations of a simplex ETF are rotations of it, `means` made of permuted vertices
    give the rotation that permutes them.

    Parameters
    ----------
    vertices, means
        (K, d) each, K >= 2.

    Returns
    -------
    Tensor of shape (d, d), float64
        R in O(d), reflections included; ``vertices @ R.T`` is the aligned head.

    Raises
    ------
    NeuralCollapseError
        If the shapes differ or K < 2.
    NonFiniteError
        If a number is NaN or infinite.

    References
    ----------
    Schönemann 1966, "A generalized solution of the orthogonal Procrustes problem".

    Examples
    --------
    >>> procrustes_rotation([[1.0], [-1.0]], [[-3.0], [5.0]])
    tensor([[-1.]], dtype=torch.float64)
    """
    head, centered = _centered_pair(vertices, means)
    left, _, right = torch.linalg.svd(centered.T @ head)
    return left @ right


def _centered_pair(vertices: Any, means: Any) -> tuple[Tensor, Tensor]:
    """Return the checked head and the centred means."""
    head = class_rows("vertices", vertices, "one class has nothing to align")
    points = finite_matrix("means", means)
    remedy = "pass the means of the features that enter the head, one row per class"
    check_shape("means", points, head.shape, remedy)
    return head, points.to(head.device) - points.to(head.device).mean(0)
