"""Systems that a strength of decay makes regular, unless round-off swallows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from neuralcollapse.errors import NeuralCollapseError


@contextmanager
def regular_systems(argument: str) -> Iterator[None]:
    """Turn a system that is singular in doubles into an error that names the strengths at fault.

    Parameters
    ----------
    argument
        Name to use in the error.

    Raises
    ------
    NeuralCollapseError
        If a factorisation in the block fails, or what is computed with it overflows.

    Examples
    --------
    >>> with regular_systems("lambda_w"):  # doctest: +ELLIPSIS
    ...     np.linalg.solve(np.zeros((1, 1)), np.ones(1))
    Traceback (most recent call last):
    neuralcollapse.errors.NeuralCollapseError: lambda_w: expected strengths above the round-off ...
    """
    try:
        # What one processor cannot factorise, another factorises into numbers that overflow.
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            yield
    except (np.linalg.LinAlgError, FloatingPointError) as error:
        expected = "strengths above the round-off of the squares that they are added to"
        got = f"a matrix that doubles cannot factorise or solve ({error})"
        remedy = "rescale the features, or raise the strengths"
        raise NeuralCollapseError(argument, expected, got, remedy) from error
