"""Checks of arguments that several layers share: one place, one wording."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError


def finite_matrix(argument: str, value: Any) -> Float[Tensor, "n d"]:
    """Return `value` as a finite float64 matrix.

    Parameters
    ----------
    argument
        Name to use in an error.
    value
        A tensor, array or nested sequence of numbers with two axes.

    Returns
    -------
    Tensor of shape (n, d), float64
        On the device of `value`; the same memory where it is a float64 tensor or array already.

    Raises
    ------
    NeuralCollapseError
        If it has not two axes.
    NonFiniteError
        If an entry is NaN or infinite.

    Examples
    --------
    >>> finite_matrix("weight", [[1, 2]])
    tensor([[1., 2.]], dtype=torch.float64)
    """
    matrix = torch.as_tensor(value).to(torch.float64)
    if matrix.ndim != 2:
        raise NeuralCollapseError(
            argument, "a matrix (two axes)", f"shape {tuple(matrix.shape)}", "reshape it"
        )
    bad = int((~torch.isfinite(matrix)).sum())
    if bad:
        raise NonFiniteError(
            argument,
            "finite numbers",
            f"{bad} NaN or infinite of {matrix.numel()}",
            "find where they come from before measuring",
        )
    return matrix


def integer_labels(
    argument: str, value: Any, num_rows: int, num_classes: int | None = None
) -> Int[Tensor, " n"]:
    """Return `value` as int64 labels, one a row, in 0..K-1.

    Parameters
    ----------
    argument
        Name to use in an error.
    value
        Tensor, array or sequence of whole numbers.
    num_rows
        How many there must be.
    num_classes
        K; if omitted, only negative labels are refused.

    Returns
    -------
    Tensor of shape (n,), int64
        The labels.

    Raises
    ------
    NeuralCollapseError
        If the length differs, a label is no whole number, or it is out of range.

    Examples
    --------
    >>> integer_labels("labels", [0, 2], num_rows=2, num_classes=3)
    tensor([0, 2])
    """
    labels = torch.as_tensor(value)
    if labels.ndim != 1 or labels.shape[0] != num_rows:
        raise NeuralCollapseError(
            argument,
            f"{num_rows} labels, one a row",
            f"shape {tuple(labels.shape)}",
            "pass class indices, not one-hot rows, one for each sample",
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise NeuralCollapseError(
            argument, "whole numbers", f"dtype {labels.dtype}", "convert with .long()"
        )
    labels = labels.to(torch.int64)
    if num_rows:
        low, high = (int(bound) for bound in torch.aminmax(labels))
        if low < 0 or (num_classes is not None and high >= num_classes):
            upper = "" if num_classes is None else f" and below num_classes = {num_classes}"
            raise NeuralCollapseError(
                argument,
                f"labels of at least 0{upper}",
                f"labels from {low} to {high}",
                "map the labels to 0..K-1 or raise num_classes",
            )
    return labels


def positive(argument: str, value: float) -> float:
    """Return `value` as a finite float above zero.

    Parameters
    ----------
    argument
        Name to use in an error.
    value
        The number.

    Returns
    -------
    float
        The number.

    Raises
    ------
    NeuralCollapseError
        If it is not finite or not above zero.

    Examples
    --------
    >>> positive("beta", 2)
    2.0
    """
    if not (math.isfinite(value) and value > 0):
        raise NeuralCollapseError(
            argument, "a finite number above 0", str(value), "choose a positive value"
        )
    return float(value)


def occupied_labels(argument: str, value: Any, num_classes: int | None = None) -> Int[Tensor, " n"]:
    """Return `value` as int64 labels in which each of at least two classes has a sample.

    Parameters
    ----------
    argument
        Name to use in an error.
    value
        Tensor, array or sequence of whole numbers, in any order.
    num_classes
        K; the largest label plus one if omitted.

    Returns
    -------
    Tensor of shape (n,), int64
        The labels.

    Raises
    ------
    NeuralCollapseError
        If a label is no class index, there are fewer than two classes, or a class has no sample.

    Examples
    --------
    >>> occupied_labels("labels", [1, 0, 1])
    tensor([1, 0, 1])
    """
    labels = torch.as_tensor(value)
    labels = integer_labels(argument, labels, labels.numel(), num_classes)
    sizes = torch.bincount(labels, minlength=num_classes or 0)
    if len(sizes) < 2:
        raise NeuralCollapseError(
            argument, "at least 2 classes", str(len(sizes)), "one class has nothing to separate"
        )
    empty = (sizes == 0).nonzero().flatten().tolist()
    if empty:
        raise NeuralCollapseError(
            argument,
            f"a sample of each of {len(sizes)} classes",
            f"none of {empty}",
            "drop the absent classes and number the others 0..K-1",
        )
    return labels


def class_counts(argument: str, value: Any) -> Int[Tensor, " K"]:
    """Return `value` as int64 class sizes, at least two classes of at least one sample.

    Parameters
    ----------
    argument
        Name to use in an error.
    value
        Tensor, array or sequence of whole numbers n_k >= 1.

    Returns
    -------
    Tensor of shape (K,), int64
        The sizes.

    Raises
    ------
    NeuralCollapseError
        If there are fewer than two, or one is no whole number above zero.

    Examples
    --------
    >>> class_counts("class_sizes", [5, 1])
    tensor([5, 1])
    """
    sizes = torch.as_tensor(value)
    whole = not (sizes.is_floating_point() or sizes.is_complex() or sizes.dtype == torch.bool)
    if sizes.ndim != 1 or len(sizes) < 2 or not whole or int(sizes.min()) < 1:
        raise NeuralCollapseError(
            argument,
            "whole numbers of at least 1 for at least 2 classes",
            str(sizes.tolist()),
            "pass the number of samples of each class and drop empty classes",
        )
    return sizes.to(torch.int64)
