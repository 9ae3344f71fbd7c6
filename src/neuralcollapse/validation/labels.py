"""Labels in every form they come in, read by one function."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError, shortened
from neuralcollapse.validation.arrays import as_array, as_tensor, from_array
from neuralcollapse.validation.class_names import places_of_names
from neuralcollapse.validation.counts import whole_number

_WHOLE = re.compile(r"0|-?[1-9]\d{0,17}").fullmatch  # "07" is a name, not a number
SOFT_SUM = 1e-2  # a soft label sums to 1 within this, even in bfloat16


def label_values(
    argument: str, value: Any, num_classes: int | None = None, text: bool = False
) -> Tensor | np.ndarray:
    """Return the class of each row as given: whole numbers, booleans or text.

    The one place where labels are read. A column (n, 1) is read as (n,); for one-hot or soft rows
    (n, K), K >= 2, the class is the largest entry. Of two classes, 0.0 and 1.0 are numbers, as
    binary losses take them. Text that is a whole number in every row, such as "10", is that number:
    in alphabetical order it would come before "2".

    Parameters
    ----------
    value
        Tensor, array, pandas object or sequence.
    num_classes
        K, to check the number of columns; any number if omitted.
    text
        Whether text stays text in any case, to be looked up among names.

    Returns
    -------
    Tensor of shape (n,) or array of str
        The values, not renumbered.

    Raises
    ------
    NeuralCollapseError
        If they are none of these; if a one-hot or soft row has no single largest entry, has a
        negative one, or does not sum to 1 (as when a sample belongs to several classes).

    Examples
    --------
    >>> label_values("labels", [[0.0, 0.9, 0.1], [1.0, 0.0, 0.0]])
    tensor([1, 0])
    """
    values = read_labels(argument, value)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if isinstance(values, Tensor) and values.ndim == 2:
        return _largest(argument, values, num_classes)
    if values.ndim != 1:
        expected = "one label per row"
        remedy = "pass class indices (n,) or (n, 1), or one-hot rows (n, K)"
        raise NeuralCollapseError(argument, expected, f"shape {tuple(values.shape)}", remedy)
    if isinstance(values, Tensor) and values.is_floating_point():
        whole = values.long()
        if num_classes != 2 or not bool((whole == values).all()):
            raise _no_labels(argument, values.dtype)
        values = whole
    if text or isinstance(values, Tensor) or not all(map(_WHOLE, np.unique(values))):
        return values
    return torch.from_numpy(values.astype(np.int64))


def integer_labels(
    argument: str,
    value: Any,
    num_rows: int | None,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
) -> Int[Tensor, " n"]:
    """Return `value` as int64 labels, one per row, in 0..K-1; they are never renumbered.

    Parameters
    ----------
    value
        As in `label_values`: class indices, one-hot or soft rows, names listed in `class_names`, or
        booleans where there are two classes.
    num_rows
        The number of labels expected; any number if None.
    num_classes
        K; if omitted, only negative labels are refused.
    class_names
        (K,) names, needed for labels that are text.

    Returns
    -------
    Tensor of shape (n,), int64
        The labels.

    Raises
    ------
    NeuralCollapseError
        If the length differs, or a label is not a class index in range or a known name.

    Examples
    --------
    >>> integer_labels("labels", [0, 2], num_rows=2, num_classes=3)
    tensor([0, 2])
    >>> integer_labels("labels", ["bee", "ant"], num_rows=2, class_names=["ant", "bee"])
    tensor([1, 0])
    """
    if isinstance(value, Tensor) and value.ndim == 1 and value.dtype == torch.int64:
        labels: Tensor | np.ndarray = as_tensor(argument, value)  # the usual case, once per batch
    else:
        labels = label_values(argument, value, num_classes, text=class_names is not None)
    if num_rows is not None and len(labels) != num_rows:
        expected = f"{num_rows} labels, one per row"
        got = f"shape {tuple(labels.shape)}"
        raise NeuralCollapseError(argument, expected, got, "pass one label for each sample")
    if not isinstance(labels, Tensor):
        return places_of_names(argument, labels, class_names)
    if labels.dtype == torch.bool and num_classes != 2:  # of two classes, False is the first
        raise NeuralCollapseError(
            argument, "whole numbers", f"dtype {labels.dtype}", "convert with .long()"
        )
    labels = labels.to(torch.int64)
    if len(labels):
        low, high = torch.stack(torch.aminmax(labels)).tolist()  # one wait for a device, not two
        if low < 0 or (num_classes is not None and high >= num_classes):
            upper = (
                "" if num_classes is None else f" and below {num_classes}, the number of classes"
            )
            expected = f"labels of at least 0{upper}"
            got = f"labels from {low} to {high}"
            remedy = "map the labels to 0..K-1; measure leaves out the one named by ignore_index="
            raise NeuralCollapseError(argument, expected, got, remedy)
    return labels


def distinct_labels(
    argument: str, value: Any, known: np.ndarray | None = None
) -> tuple[np.ndarray, Int[Tensor, " n"]]:
    """Return the sorted classes that occur, and the position of each row's class among them.

    Parameters
    ----------
    value
        As in `label_values`: any integers, booleans or text.
    known
        The sorted classes, if they are already known.

    Returns
    -------
    tuple
        (K,) classes and (n,) int64 labels.

    Raises
    ------
    NeuralCollapseError
        If a class is not among the known ones.

    Examples
    --------
    >>> distinct_labels("labels", ["dog", "cat", "dog"])
    (array(['cat', 'dog'], dtype='<U3'), tensor([1, 0, 1]))
    """
    values = label_values(argument, value, text=known is not None and known.dtype.kind == "U")
    array = values.cpu().numpy() if isinstance(values, Tensor) else values
    found, places = np.unique(array, return_inverse=True)
    if known is not None:
        unknown = sorted(set(found.tolist()) - set(known.tolist()))
        if unknown:
            expected = f"labels among those of the training data, {shortened(known.tolist())}"
            remedy = "test classes need a mean from training data"
            raise NeuralCollapseError(argument, expected, shortened(unknown), remedy)
        found, places = known, np.searchsorted(known, found)[places]
    return found, torch.from_numpy(places)


def occupied_labels(argument: str, value: Any, num_classes: int | None = None) -> Int[Tensor, " n"]:
    """Return `value` as int64 labels of at least two classes, each with a sample.

    Parameters
    ----------
    value
        Labels as in `integer_labels`, in any order.
    num_classes
        K; the largest label plus one if omitted.

    Returns
    -------
    Tensor of shape (n,), int64
        The labels.

    Raises
    ------
    NeuralCollapseError
        If a label is not a class index, there are fewer than two classes, or a class has no
        sample.

    Examples
    --------
    >>> occupied_labels("labels", [1, 0, 1])
    tensor([1, 0, 1])
    """
    if num_classes is not None:
        num_classes = whole_number("num_classes", num_classes)
    labels = integer_labels(argument, value, None, num_classes)
    known = max(num_classes or 0, int(labels.max()) + 1 if len(labels) else 0)
    if known < 2:
        raise NeuralCollapseError(
            argument, "at least 2 classes", str(known), "one class has nothing to separate"
        )
    there = set(labels.unique().tolist())
    if len(there) < known:
        empty = list(islice((k for k in range(known) if k not in there), 10))
        more = known - len(there) - len(empty)
        got = f"none of [{', '.join(map(str, empty))}{f', ... {more} more' if more else ''}]"
        remedy = "drop the absent classes and number the others 0..K-1"
        raise NeuralCollapseError(argument, f"a sample of each of {known} classes", got, remedy)
    return labels


def read_labels(argument: str, value: Any) -> Tensor | np.ndarray:
    """Return numbers as a tensor, and text as an array of text, of any shape.

    Parameters
    ----------
    value
        As in `label_values`.

    Raises
    ------
    NeuralCollapseError
        If they are neither.

    Examples
    --------
    >>> read_labels("labels", ["bee", "ant"])
    array(['bee', 'ant'], dtype='<U3')
    """
    first = value[0] if isinstance(value, (list, tuple)) and value else value
    if isinstance(first, Tensor):
        return as_tensor(argument, value).detach()
    array = as_array(argument, value)
    if array.dtype.kind == "U" and isinstance(value, (list, tuple)):
        # As text, members of an Enum would be cut off, and NaN would become a name.
        array = np.asarray(value, dtype=object)
    if array.dtype == object:  # how pandas stores text, and integers with missing values
        for kind, dtype in ((str, np.str_), ((int, np.integer), np.int64)):
            if all(isinstance(entry, kind) for entry in array.flat):
                plain = [*map(str.__str__, array.flat)] if kind is str else array
                try:
                    array = np.asarray(plain, dtype=dtype).reshape(array.shape)
                except OverflowError as error:
                    raise _no_labels(argument, "object, numbers beyond 64 bits") from error
    if array.dtype.kind == "S":
        try:
            array = np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            raise _no_labels(argument, f"{array.dtype}, bytes that are no UTF-8") from error
    if array.dtype.kind in "UT":
        return array.astype(np.str_)
    if not array.size:  # numpy reads an empty list as floats
        array = array.astype(np.int64)
    if array.dtype.kind not in "biuf":
        kinds = sorted({type(entry).__name__ for entry in array.flat} if array.dtype == "O" else ())
        raise _no_labels(argument, f"{array.dtype} ({', '.join(kinds)})" if kinds else array.dtype)
    return from_array(argument, array)


def are_shares(rows: Tensor) -> Tensor:
    """Return which rows (n, K) can be one-hot or soft labels: of at least 0, with sum 1.

    Parameters
    ----------
    rows
        Numbers.

    Examples
    --------
    >>> are_shares(torch.tensor([[0.2, 0.8], [1.0, 1.0]]))
    tensor([ True, False])
    """
    values = rows.to(torch.float64)
    return (values >= 0).all(1) & ((values.sum(1) - 1).abs() <= SOFT_SUM)  # NaN is neither


def _no_labels(argument: str, dtype: object) -> NeuralCollapseError:
    expected = "whole numbers or names: integers or strings"
    remedy = "pass the class of each sample as a whole number or its name"
    if "float" in str(dtype):
        remedy += "; for real targets there is measure_regression"
    return NeuralCollapseError(argument, expected, f"dtype {dtype}".replace("torch.", ""), remedy)


def _largest(argument: str, rows: Tensor, num_classes: int | None) -> Tensor:
    """Return the class of one-hot or soft rows, (n, K)."""
    if num_classes is not None and rows.shape[1] != num_classes:
        expected = f"one-hot rows of num_classes = {num_classes} columns"
        remedy = "pass one column per class, or class indices (n,)"
        raise NeuralCollapseError(argument, expected, f"shape {tuple(rows.shape)}", remedy)
    values = rows.to(torch.float64)
    proper = are_shares(values)
    single = (values == values.amax(1, keepdim=True)).sum(1) == 1
    bad = (~(proper & single)).nonzero().flatten().tolist()
    if bad:
        expected = "class indices, or rows of at least 0 that sum to 1 and have one largest entry"
        got = f"{len(bad)} other rows, such as {shortened(rows[bad[0]].tolist())}"
        remedy = "pass one class per sample; measure several labels one at a time"
        remedy += "; for real targets there is measure_regression"
        raise NeuralCollapseError(argument, expected, got, remedy)
    return values.argmax(1)
