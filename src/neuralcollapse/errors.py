"""Errors that say what was expected, what came instead, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuralcollapse.plain_text import plain


class NeuralCollapseError(ValueError):
    """Base of every error this library raises on bad input.

    It is a `ValueError`, so that code that knows nothing of this library still catches it.

    Parameters
    ----------
    argument
        Name of the argument that is wrong.
    expected
        What a valid value looks like.
    got
        What came instead.
    remedy
        What the caller can do about it.

    Examples
    --------
    >>> print(NeuralCollapseError("dim", "dim >= num_classes - 1 = 9", "dim = 4", "use dim >= 9"))
    dim: expected dim >= num_classes - 1 = 9, got dim = 4; use dim >= 9
    """

    def __init__(self, argument: str, expected: str, got: str, remedy: str) -> None:
        text = f"{argument}: expected {expected}, got {got}; {remedy}"
        super().__init__(plain(text, keep="\n\t"))  # names and paths can hold anything
        self.argument = argument
        self.expected = expected
        self.got = got
        self.remedy = remedy

    def __reduce__(self) -> tuple[type, tuple[str, str, str, str]]:
        # Exception's own pickling would pass the joined message as the only argument.
        return type(self), (self.argument, self.expected, self.got, self.remedy)


class NonFiniteError(NeuralCollapseError):
    """NaN or infinity where finite numbers were expected."""


def shortened(values: Sequence[Any], most: int = 10) -> str:
    """Return the first entries of a list for a message, and how many more there are.

    Parameters
    ----------
    values
        The list.
    most
        How many to show.

    Examples
    --------
    >>> print(shortened([1, 2]), shortened(range(6600), most=3))
    [1, 2] [0, 1, 2, ... 6597 more]
    """
    shown = ", ".join(map(repr, values[:most]))
    more = len(values) - most
    return f"[{shown}, ... {more} more]" if more > 0 else f"[{shown}]"
