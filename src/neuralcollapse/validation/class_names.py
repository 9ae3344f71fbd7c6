"""Names of the classes, and labels that are names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError, shortened


def listed_names(class_names: Iterable[Any] | None) -> list[Any] | None:
    """Return names of classes as a list, which can be read twice and tested; None without.

    Parameters
    ----------
    class_names
        A list, an array, or anything else that can be iterated over; or None.

    Raises
    ------
    NeuralCollapseError
        If they are no sequence, such as a set, or a mapping, of which only the keys would count.

    Examples
    --------
    >>> listed_names(np.array(["cat", "dog"])), listed_names(None)
    (['cat', 'dog'], None)
    """
    if class_names is None:
        return None
    unordered = isinstance(class_names, (set, frozenset, Mapping))  # a mapping yields its keys
    if unordered or not isinstance(class_names, Iterable):
        got = type(class_names).__name__ if unordered else repr(class_names)
        remedy = "pass a list of text, in the order of the classes"
        raise NeuralCollapseError("class_names", "one name per class", got, remedy)
    return class_names.tolist() if hasattr(class_names, "tolist") else list(class_names)


def check_class_names(class_names: Sequence[Any] | None, num_classes: int) -> list[str]:
    """Return one name per class: the given ones, or the numbers of the classes.

    Parameters
    ----------
    class_names
        A name for each class, in order; numbers if None.
    num_classes
        K.

    Raises
    ------
    NeuralCollapseError
        If they are not a sequence of names, or not one of its own per class.

    Examples
    --------
    >>> check_class_names(["cat", "dog"], 2), check_class_names(None, 3)
    (['cat', 'dog'], ['0', '1', '2'])
    """
    given = listed_names(class_names)
    names = list(map(str, range(num_classes) if given is None else given))
    if len(names) != num_classes:
        expected = f"{num_classes} names, one per class"
        raise NeuralCollapseError("class_names", expected, str(len(names)), "name every class")
    often = [name for name, times in Counter(names).items() if times > 1 or not name.strip()]
    if often:
        got = f"{shortened(often)}, empty or more than once"
        raise NeuralCollapseError(
            "class_names", "a name of its own for every class", got, "rename these"
        )
    return names


def places_of_names(argument: str, labels: np.ndarray, class_names: Sequence[str] | None) -> Tensor:
    """Return the position of each label among the names of the classes.

    Parameters
    ----------
    labels
        (n,) text.
    class_names
        (K,) names in order.

    Raises
    ------
    NeuralCollapseError
        If there are no names, or not one for a label.

    Examples
    --------
    >>> places_of_names("labels", np.array(["bee", "ant"]), ["ant", "bee"])
    tensor([1, 0])
    """
    if class_names is None:
        expected = "whole numbers: class indices 0..K-1, or names given in class_names"
        got = f"text such as {str(labels[0])!r}" if len(labels) else "text"
        remedy = "pass class_names in the order of the classes"
        raise NeuralCollapseError(argument, expected, got, remedy)
    names = [str(name) for name in class_names]
    found, places = np.unique(labels, return_inverse=True)
    unknown = [name for name in found.tolist() if names.count(name) != 1]
    if unknown:
        expected = f"names that class_names has once, {shortened(names)}"
        raise NeuralCollapseError(argument, expected, shortened(unknown), "name every class once")
    index = {name: place for place, name in enumerate(names)}
    return torch.tensor([index[name] for name in found.tolist()], dtype=torch.int64)[
        torch.from_numpy(places)
    ]
