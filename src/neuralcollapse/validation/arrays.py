"""What a user gave, as a tensor of real numbers, and checked to be finite."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy.typing import NDArray
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError

Array = NDArray[np.float64]
ROW_A_CLASS = "pass one row per class, of the layer that takes these features"
NUMBERS = (int, float, np.integer, np.floating)


def as_tensor(argument: str, value: Any) -> Shaped[Tensor, "..."]:
    """Return user input as a tensor of real numbers, keeping its device and dtype.

    Parameters
    ----------
    value
        A tensor, a numpy array (also a read-only one), a pandas object, anything that numpy reads
        as an array of numbers, or a sequence of tensors of the same shape. Python numbers become
        float64 or int64, and float8 becomes float32.

    Returns
    -------
    Tensor
        The tensor itself, or a view of the array's memory where torch can use it: do not write to
        it.

    Raises
    ------
    NeuralCollapseError
        If it does not hold real numbers (complex ones, text, objects, rows of different lengths),
        or is masked, sparse, nested, quantised or on the meta device.

    Examples
    --------
    >>> as_tensor("radii", [0.5, 1])
    tensor([0.5000, 1.0000], dtype=torch.float64)
    """
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], Tensor):
        parts = [as_tensor(argument, part) for part in value]
        shapes = {tuple(part.shape) for part in parts}
        if len(shapes) > 1:
            raise _no_numbers(argument, f"tensors of shapes {', '.join(map(str, sorted(shapes)))}")
        tensor = torch.stack(parts)
    elif isinstance(value, Tensor):
        tensor = value
    else:
        tensor = from_array(argument, as_array(argument, value))
    if tensor.is_complex() or tensor.is_quantized:
        raise _no_numbers(argument, f"dtype {tensor.dtype}")
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_nested:
        what = "a tensor on the meta device" if tensor.is_meta else f"layout {tensor.layout}"
        raise _no_numbers(argument, "a nested tensor" if tensor.is_nested else what)
    if tensor.is_floating_point() and tensor.itemsize == 1:  # torch computes little in float8
        return tensor.float()
    return tensor


def finite_tensor(argument: str, value: Any) -> Float[Tensor, "..."]:
    """Return `value` as a finite float64 tensor of any shape.

    Parameters
    ----------
    value
        As in `as_tensor`.

    Raises
    ------
    NonFiniteError
        If an entry is NaN or infinite.
    NeuralCollapseError
        If it does not hold real numbers.

    Examples
    --------
    >>> finite_tensor("correct", [True, False])
    tensor([1., 0.], dtype=torch.float64)
    """
    tensor = as_tensor(argument, value).to(torch.float64)
    check_finite(argument, tensor)
    return tensor


def finite_matrix(argument: str, value: Any) -> Float[Tensor, "n d"]:
    """Return `value` as a finite float64 matrix.

    Parameters
    ----------
    value
        As in `as_tensor`, with two axes.

    Returns
    -------
    Tensor of shape (n, d), float64
        On the device of `value`; shares its memory if it is already a float64 tensor or array.

    Raises
    ------
    NeuralCollapseError
        If it does not have two axes, or does not hold real numbers.
    NonFiniteError
        If an entry is NaN or infinite.

    Examples
    --------
    >>> finite_matrix("weight", [[1, 2]])
    tensor([[1., 2.]], dtype=torch.float64)
    """
    return finite_tensor(argument, as_matrix(argument, value))


def class_rows(
    argument: str, value: Any, remedy: str = "pass one row per class"
) -> Float[Tensor, "K d"]:
    """Return `value` as a finite float64 matrix with a row for each of two classes or more.

    Raises
    ------
    NeuralCollapseError
        If it is no matrix, or has fewer than two rows.
    NonFiniteError
        If an entry is NaN or infinite.
    """
    rows = finite_matrix(argument, value)
    if len(rows) < 2:
        raise NeuralCollapseError(argument, "at least 2 rows", str(len(rows)), remedy)
    return rows


def as_matrix(argument: str, value: Any) -> Shaped[Tensor, "n d"]:
    """Return `value` as a matrix in its own dtype.

    Parameters
    ----------
    value
        As in `as_tensor`, with two axes.

    Raises
    ------
    NeuralCollapseError
        If it does not have two axes, or does not hold real numbers.

    Examples
    --------
    >>> as_matrix("logits", [[1, 2]])
    tensor([[1, 2]])
    """
    matrix = as_tensor(argument, value)
    if matrix.ndim != 2:
        raise NeuralCollapseError(
            argument, "a matrix (two axes)", f"shape {tuple(matrix.shape)}", "reshape it"
        )
    return matrix


def check_shape(argument: str, tensor: Any, shape: Sequence[int | str], remedy: str) -> None:
    """Refuse a tensor or an array that does not have the expected shape.

    Parameters
    ----------
    tensor
        What was passed.
    shape
        The length of every axis; a letter for an axis of any length, or of a least one: "K >= 2".

    Raises
    ------
    NeuralCollapseError
        If the number of axes or the length of one differs, or one is too short.

    Examples
    --------
    >>> check_shape("features", torch.zeros(4, 2), ("n", 2), "pass one row per sample")
    """
    got, names = tuple(tensor.shape), [str(want).partition(" >= ") for want in shape]
    if len(got) == len(shape) and all(
        n >= int(least or 0) if isinstance(want, str) else n == want
        for n, want, (_, _, least) in zip(got, shape, names, strict=True)
    ):
        return
    expected = ", ".join(name for name, *_ in names) + ("," if len(shape) == 1 else "")
    bounds = [f", {want}" for want, (_, least, _) in zip(shape, names, strict=True) if least]
    raise NeuralCollapseError(argument, f"shape ({expected}){''.join(bounds)}", str(got), remedy)


def finite_array(argument: str, value: Any) -> np.ndarray:
    """Return `value` as a finite float64 numpy array of any shape.

    Parameters
    ----------
    value
        As in `as_tensor`.

    Raises
    ------
    NonFiniteError, NeuralCollapseError
        As in `finite_tensor`.

    Examples
    --------
    >>> finite_array("values", torch.tensor([1, 2]))
    array([1., 2.])
    """
    return finite_tensor(argument, value).detach().cpu().numpy()


def check_finite(argument: str, values: Tensor) -> None:
    """Refuse NaN and infinity, whose comparisons would silently count as false.

    Parameters
    ----------
    values
        Floating-point numbers of any shape.

    Raises
    ------
    NonFiniteError
        If an entry is NaN or infinite; the message says how many are.

    Examples
    --------
    >>> check_finite("logits", torch.zeros(2, 3))
    """
    if not values.numel():
        return
    low, high = torch.aminmax(values)  # NaN is both; isfinite of all would make three copies
    if not bool(torch.isfinite(low) & torch.isfinite(high)):
        bad = int((~torch.isfinite(values)).sum())
        expected = "finite numbers"
        got = f"{bad} NaN or infinite of {values.numel()}"
        raise NonFiniteError(argument, expected, got, "find where they come from before measuring")


def check_squares(
    argument: str, values: Tensor, least: float = 1e-140, most: float = 1e140
) -> None:
    """Refuse finite numbers whose squares leave float64: they would count as 0 or infinite.

    Parameters
    ----------
    values
        Finite numbers of any shape; all may be 0.
    least, most
        What the largest may be at least, unless it is 0, and at most.

    Raises
    ------
    NeuralCollapseError
        If the largest of them, in absolute value, is smaller or larger.

    Examples
    --------
    >>> check_squares("weight", torch.eye(2))
    """
    if not values.numel():
        return
    low, high = (float(bound) for bound in torch.aminmax(values.detach()))  # without a copy
    largest = max(-low, high)
    if largest and not least <= largest <= most:
        expected, got = "numbers whose squares fit in float64", f"values up to {largest:.3g}"
        raise NeuralCollapseError(argument, expected, got, "rescale them")


def as_array(argument: str, value: Any) -> np.ndarray:
    """Return `value` as a numpy array, whether it holds numbers or not."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise _no_numbers(argument, f"{np.ma.count_masked(value)} of them masked")
    try:
        return np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise _no_numbers(argument, f"{type(value).__name__} ({error})") from error


def from_array(argument: str, array: np.ndarray) -> Tensor:
    """Return the array as a tensor that shares its memory, or a copy where torch cannot."""
    if array.dtype == object and all(isinstance(entry, NUMBERS) for entry in array.flat):
        try:
            array = array.astype(np.float64)  # how pandas stores numbers with missing values
        except OverflowError as error:
            raise _no_numbers(argument, "a whole number too large for float64") from error
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind not in "biuf":
        single = array.dtype == object and not array.ndim  # such as a module, or None
        raise _no_numbers(
            argument, type(array.item()).__name__ if single else f"dtype {array.dtype}"
        )
    if kind == "u" and size > 1:  # torch supports few operations on these
        fits = size < 8 or not array.size or array.max() <= np.iinfo(np.int64).max
        array = array.astype(np.int64 if fits else np.float64)
    elif size > 8:
        array = array.astype(np.float64)
    if not array.dtype.isnative or min(array.strides, default=0) < 0:
        array = array.astype(array.dtype.newbyteorder("="), order="C", copy=True)
    if array.flags.writeable:
        return torch.from_numpy(array)
    with warnings.catch_warnings():  # about writing to a read-only array: nothing here does
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)


def _no_numbers(argument: str, got: str) -> NeuralCollapseError:
    return NeuralCollapseError(argument, "real numbers", got, "convert it to an array of floats")
