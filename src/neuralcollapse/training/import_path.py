"""What is named by import path, ``package.module:callable``: networks and data of the user's."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Any

from neuralcollapse.errors import NeuralCollapseError

IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def found_at(argument: str, path: str) -> Any:
    """Return whatever is at an import path.

    Parameters
    ----------
    argument
        Name to use in an error.
    path
        Such as ``"my_models:small_vit"``; importing it runs its module.

    Raises
    ------
    NeuralCollapseError
        If the path leads nowhere.

    Examples
    --------
    >>> round(found_at("net", "math:pi"), 2)
    3.14
    """
    module, _, name = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        remedy = "check the path, and that PYTHONPATH leads there"
        raise failed(argument, f"{path} to be importable", error, remedy) from error
    return found


def imported(argument: str, path: str) -> Callable[..., Any]:
    """Return the callable at an import path.

    Parameters
    ----------
    argument, path
        As in `found_at`.

    Raises
    ------
    NeuralCollapseError
        If the path leads nowhere, or to something that cannot be called.

    Examples
    --------
    >>> imported("net", "math:sqrt")(4)
    2.0
    """
    found = found_at(argument, path)
    if not callable(found):
        raise NeuralCollapseError(
            argument, f"{path} to be callable", type(found).__name__, "name a function or a class"
        )
    return found


def failed(
    argument: str,
    expected: str,
    error: Exception,
    remedy: str = "correct it, or wrap it in a function of yours",
) -> NeuralCollapseError:
    """Return the error of code of the user's that failed, for the caller to raise from `error`."""
    return NeuralCollapseError(argument, expected, f"{type(error).__name__}: {error}", remedy)
