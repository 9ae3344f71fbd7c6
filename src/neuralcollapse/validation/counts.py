"""Single numbers: whole counts and positive scales."""

from __future__ import annotations

import math
import sys
from numbers import Real
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError, shortened
from neuralcollapse.validation.arrays import as_tensor

LARGEST = 1e60  # of a strength or scale: its fourth power still fits in float64
SMALLEST = 1e-60  # of a strength, as is that of one so small
MOST = 2**53  # of a count: float64 cannot tell larger ones apart
MOST_NUMBERS = 2**31  # of an array to be made: 16 GiB in float64


def whole_number(argument: str, value: Any, at_least: int = 1, at_most: int = MOST) -> int:
    """Return `value` as an int of at least `at_least`; NaN, infinity and 2.5 are refused.

    Parameters
    ----------
    at_least, at_most
        The smallest and the largest valid value.

    Raises
    ------
    NeuralCollapseError
        If it is not a whole number within these bounds.

    Examples
    --------
    >>> whole_number("num_samples", 10.0)
    10
    """
    value = real_number(argument, value)
    whole = value % 1 == 0  # false for NaN and infinity
    if not (whole and value >= at_least):
        expected = f"at least {at_least}" if whole else f"a whole number of at least {at_least}"
        raise NeuralCollapseError(argument, expected, str(value), "pass such a number")
    if value > at_most:
        raise NeuralCollapseError(
            argument, f"at most {at_most:,}", str(value), "pass a smaller number"
        )
    return int(value)


def simplex_dim(dim: Any, num_classes: int, remedy: str) -> int:
    """Return `dim` as an int, if K vertices of a simplex fit: at least K - 1.

    Parameters
    ----------
    dim
        Number of features d.
    num_classes
        K.
    remedy
        What to do with fewer dimensions, or why it matters.

    Raises
    ------
    NeuralCollapseError
        If it is not a whole number above zero, d < K - 1, or K rows of it fit in no memory.

    Examples
    --------
    >>> simplex_dim(9, 10, "use more dimensions")
    9
    """
    dim = whole_number("dim", dim)
    if dim < num_classes - 1:
        raise NeuralCollapseError(
            "dim", f"dim >= num_classes - 1 = {num_classes - 1}", f"dim = {dim}", remedy
        )
    check_size("dim", num_classes, dim)
    return dim


def class_counts(argument: str, value: Any) -> Int[Tensor, " K"]:
    """Return `value` as int64 class sizes, at least two classes of at least one sample.

    Parameters
    ----------
    value
        Tensor, array or sequence of whole numbers n_k >= 1, in any dtype.

    Returns
    -------
    Tensor of shape (K,), int64
        The sizes.

    Raises
    ------
    NeuralCollapseError
        If there are fewer than two, or one is not a whole number above zero.

    Examples
    --------
    >>> class_counts("class_sizes", [5, 1])
    tensor([5, 1])
    """
    sizes = as_tensor(argument, value)
    proper = sizes.ndim == 1 and len(sizes) >= 2 and sizes.dtype != torch.bool
    if not proper or not bool(
        ((sizes >= 1) & (sizes <= MOST) & (sizes == sizes.to(torch.int64))).all()
    ):
        expected = "whole numbers of at least 1 for at least 2 classes"
        got = shortened(sizes.tolist()) if sizes.ndim else str(sizes.item())
        remedy = "pass the number of samples of each class and drop empty classes"
        raise NeuralCollapseError(argument, expected, got, remedy)
    return sizes.to(torch.int64)


def real_number(argument: str, value: Any) -> Any:
    """Return `value`, a number or a tensor with one element, as a Python or numpy number.

    Parameters
    ----------
    value
        The number; NaN and infinity are allowed.

    Raises
    ------
    NeuralCollapseError
        If it is not a number (such as text or None), or too large for float64.

    Examples
    --------
    >>> real_number("beta", torch.tensor(2.0))
    2.0
    """
    number = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    if isinstance(number, int) and abs(number) > sys.float_info.max:
        got = f"a whole number of {number.bit_length():,} bits"
        raise NeuralCollapseError(argument, "a number that fits in float64", got, "use other units")
    if not isinstance(number, Real):
        raise NeuralCollapseError(argument, "a number", repr(value), "pass an int or a float")
    return number


def byte_budget(argument: str, value: Any) -> float:
    """Return `value`, a number of bytes of at least 0; infinity is no limit, and NaN no number.

    Raises
    ------
    NeuralCollapseError
        If it is not such a number.
    """
    number = real_number(argument, value)
    if not number >= 0:
        expected, remedy = "a number of bytes of at least 0", "pass 0 to keep none"
        raise NeuralCollapseError(argument, expected, str(value), remedy)
    return number


def positive(argument: str, value: float) -> float:
    """Return `value` as a finite float above zero.

    Raises
    ------
    NeuralCollapseError
        If it is not finite, not above zero, or above 1e60, whose powers overflow float64.

    Examples
    --------
    >>> positive("beta", 2)
    2.0
    """
    number = float(real_number(argument, value))
    if not (math.isfinite(number) and number > 0):
        raise NeuralCollapseError(
            argument, "a finite number above 0", str(value), "pass a positive number"
        )
    if number > LARGEST:
        raise NeuralCollapseError(
            argument, f"at most {LARGEST:g}", str(value), "measure in other units"
        )
    return number


def decay_strength(argument: str, value: Any, or_zero: bool = False) -> float:
    """Return a strength of decay, or of another pull, of which products and quotients are taken.

    Parameters
    ----------
    or_zero
        Whether it may be 0.

    Raises
    ------
    NeuralCollapseError
        If it is not as in `positive`, or below 1e-60: products of several would be 0 in float64.

    Examples
    --------
    >>> decay_strength("lambda_w", 0.5), decay_strength("lambda_h", 0, or_zero=True)
    (0.5, 0.0)
    """
    given = real_number(argument, value)
    if or_zero and given == 0:
        return 0.0
    number = positive(argument, given)
    if number < SMALLEST:
        raise NeuralCollapseError(
            argument, f"at least {SMALLEST:g}", str(value), "measure in other units"
        )
    return number


def check_size(argument: str, *shape: int) -> None:
    """Refuse an array that no memory holds before it is made.

    Parameters
    ----------
    shape
        Of the array.

    Raises
    ------
    NeuralCollapseError
        If it has more than 2^31 numbers, 16 GiB of float64.

    Examples
    --------
    >>> check_size("dim", 1000, 512)
    """
    if math.prod(shape) > MOST_NUMBERS:
        got = " x ".join(f"{length:,}" for length in shape)
        remedy = "choose fewer classes, samples or dimensions"
        expected = f"arrays of at most {MOST_NUMBERS:,} numbers"
        raise NeuralCollapseError(argument, expected, got, remedy)


def strength_pair(argument: str, value: Any) -> tuple[float, float]:
    """Return `value` as two strengths of decay (lambda_W, lambda_H), of head and features.

    Parameters
    ----------
    value
        Two numbers above 0.

    Raises
    ------
    NeuralCollapseError
        If there are not two (a network is told a single weight decay), or one is not above 0.

    Examples
    --------
    >>> strength_pair("weight_decay", (0.1, 1))
    (0.1, 1.0)
    """
    pair = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        expected = "two strengths (lambda_W, lambda_H), of head and features"
        got = shortened(pair) if isinstance(pair, (tuple, list)) else repr(pair)
        remedy = "a network is told only the first; find the other with implied_feature_decay"
        raise NeuralCollapseError(argument, expected, got, remedy)
    return decay_strength("lambda_W", pair[0]), decay_strength("lambda_H", pair[1])


def fraction(argument: str, value: float, remedy: str) -> float:
    """Return a number that must lie in (0, 1).

    Raises
    ------
    NeuralCollapseError
        If it is no number in (0, 1).

    Examples
    --------
    >>> fraction("level", 0.05, "use 0.05 for 5 %")
    0.05
    """
    if not 0 < real_number(argument, value) < 1:
        raise NeuralCollapseError(argument, "a number in (0, 1)", str(value), remedy)
    return float(value)


def smoothing_share(value: float) -> float:
    """Return a label smoothing s in [0, 1), the share of the target spread over all classes.

    Parameters
    ----------
    value
        The share.

    Raises
    ------
    NeuralCollapseError
        If it is out of range, or NaN.
    """
    share = float(real_number("label_smoothing", value))
    if not 0 <= share < 1:
        raise NeuralCollapseError(
            "label_smoothing", "0 <= s < 1", str(value), "pass the label_smoothing of the loss"
        )
    return share
