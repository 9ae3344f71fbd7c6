"""One of a few names or values."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from neuralcollapse.errors import NeuralCollapseError


def check_choice(
    argument: str, value: Any, choices: Iterable[Any], remedy: str = "choose one of these"
) -> None:
    """Refuse a value that is not one of the choices; the error lists them, and names a close one.

    Parameters
    ----------
    value
        What was passed.
    choices
        The valid values, in the order in which to list them.

    Raises
    ------
    NeuralCollapseError
        If the value is not one of them.

    Examples
    --------
    >>> check_choice("rule", "procrustes", ("procrustes", "hungarian"))
    """
    known = list(choices)
    if getattr(value, "ndim", 0) or value not in known:  # arrays compare entry by entry
        listed = ", ".join(map(str, known))
        close = get_close_matches(str(value), map(str, known), 1)
        remedy = f"{remedy}, perhaps {close[0]!r}" if close else remedy
        raise NeuralCollapseError(argument, f"one of {listed}", repr(value), remedy)
