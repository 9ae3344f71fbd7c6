"""What a held-out sample must be before anything is concluded from it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from numbers import Number
from typing import Any

import numpy as np
import torch

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.validation import as_tensor, fraction


def failure_probability(confidence: float) -> float:
    """Return delta = 1 - confidence, the probability at which a certificate may be wrong.

    Parameters
    ----------
    confidence
        In (0, 1), such as 0.95.

    Raises
    ------
    NeuralCollapseError
        If it is not.

    Examples
    --------
    >>> failure_probability(0.75)
    0.25
    """
    confidence = fraction("confidence", confidence, "use 0.95 for 95 %")
    delta = 1 - confidence
    return delta if 1 - delta >= confidence else math.nextafter(delta, 0)  # never rounded up


def finite_margins(argument: str, value: Any, axes: int | None = None) -> np.ndarray:
    """Return margins as finite float64, at least one along the last axis.

    Parameters
    ----------
    argument
        Name to use in an error.
    value
        Tensor, array or sequence (..., n): leading axes are samples apart from each other.
    axes
        How many axes there must be; any number from 1 if omitted.

    Raises
    ------
    NeuralCollapseError
        If the number of axes is wrong or there is no margin.
    NonFiniteError
        If a margin is NaN or infinite.

    Examples
    --------
    >>> finite_margins("margins", torch.tensor([1, -2]))
    array([ 1., -2.])
    """
    margins = as_tensor(argument, value).detach().cpu().to(torch.float64).numpy()
    if margins.ndim != axes if axes is not None else margins.ndim < 1:
        expected = f"{axes} axis" if axes is not None else "at least one axis"
        remedy = "pass one margin per sample, see nc.metrics.sample_margins"
        raise NeuralCollapseError(argument, expected, f"shape {margins.shape}", remedy)
    if margins.size == 0:
        raise NeuralCollapseError(
            argument, "at least one sample", "none", "hold out some of the data"
        )
    bad = int((~np.isfinite(margins)).sum())
    if bad:
        expected = "finite numbers"
        remedy = "find which samples they belong to: leaving them out would bias the certificate"
        raise NonFiniteError(argument, expected, f"{bad} NaN or infinite of {margins.size}", remedy)
    return margins


def check_never_trained_on(held_out_ids: Any, train_ids: Any, num_held_out: int) -> None:
    """Refuse a held-out sample that meets the training sample, or itself twice.

    Parameters
    ----------
    held_out_ids, train_ids
        Names of the samples, any that compare equal when the sample is the same.
    num_held_out
        How many held-out samples there are.

    Raises
    ------
    NeuralCollapseError
        If only one of the lists is given, the number of held-out ids differs, one occurs twice, or
        one is a training id as well; if no id of one list could equal any of the other.

    Examples
    --------
    >>> check_never_trained_on(["a", "b"], ["c"], 2)
    """
    if held_out_ids is None and train_ids is None:
        return
    if held_out_ids is None or train_ids is None:
        missing = "held_out_ids" if held_out_ids is None else "train_ids"
        raise NeuralCollapseError(
            missing, "ids of both samples or of neither", "one of them", f"pass {missing} as well"
        )
    held_out, train = _names("held_out_ids", held_out_ids), _names("train_ids", train_ids)
    if len(held_out) != num_held_out:
        expected = f"{num_held_out}, one for each margin"
        raise NeuralCollapseError("held_out_ids", expected, str(len(held_out)), "pass all ids")
    if len(set(held_out)) < len(held_out):
        got = f"{len(held_out) - len(set(held_out))} repeated"
        remedy = "count a sample once: repeats are not new evidence"
        raise NeuralCollapseError("held_out_ids", "each sample once", got, remedy)
    kinds, others = ({*map(_kind, names)} for names in (held_out, train))
    if others and kinds.isdisjoint(others):
        got = f"{', '.join(sorted(kinds))} beside {', '.join(sorted(others))}"
        remedy = "name samples alike in both: '7' and 7 are never the same"
        raise NeuralCollapseError("held_out_ids", "ids of the kind of train_ids", got, remedy)
    shared = set(train).intersection(held_out)
    if shared:
        some = ", ".join(sorted(map(str, shared))[:3])
        got = (
            f"{len(shared)} that are training ids too ({some}{', ...' if len(shared) > 3 else ''})"
        )
        remedy = "certify on samples that training, early stopping and selection never saw"
        raise NeuralCollapseError("held_out_ids", "samples that were not trained on", got, remedy)


def number_or_array(values: Any) -> Any:
    """Return one bound as a float, and bounds of many samples as the array that they are.

    Examples
    --------
    >>> number_or_array(np.array(0.5)), number_or_array(np.array([0.5]))
    (0.5, array([0.5]))
    """
    return float(values) if np.ndim(values) == 0 else values


def _names(argument: str, ids: Any) -> list:
    """Return names that can be compared: NaN is not the same as itself."""
    names = ids.tolist() if hasattr(ids, "tolist") else ids
    proper = isinstance(names, Iterable) and not isinstance(names, str)
    if proper:
        names = list(names)
        proper = all(isinstance(name, Hashable) and name == name for name in names)
    if not proper:
        expected = "one name per sample: numbers, text or tuples"
        raise NeuralCollapseError(argument, expected, type(ids).__name__, "list them")
    return names


def _kind(name: Hashable) -> str:
    """Return the kind of a name: names of two kinds are never equal."""
    kind = next(
        (kind for kind in (Number, str, bytes, tuple) if isinstance(name, kind)), type(name)
    )
    return kind.__name__
