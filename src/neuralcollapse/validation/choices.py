"""One of a few names or values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from neuralcollapse.errors import NeuralCollapseError


def check_choice(
    argument: str, value: Any, choices: Iterable[Any], remedy: str = "choose one of these"
) -> None:
    """Refuse what is none of the choices, which the error lists.

    Parameters
    ----------
    argument
        Name to use in the error.
    value
        What was passed.
    choices
        What may be, in the order to list it.
    remedy
        What to do.

    Raises
    ------
    NeuralCollapseError
        If it is none of them.

    Examples
    --------
    >>> check_choice("rule", "procrustes", ("procrustes", "hungarian"))
    """
    known = list(choices)
    if value not in known:
        listed = ", ".join(map(str, known))
        raise NeuralCollapseError(argument, f"one of {listed}", repr(value), remedy)
