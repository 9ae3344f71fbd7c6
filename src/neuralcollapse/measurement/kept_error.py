"""KeptError: what goes wrong inside a hook is raised once the network has run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class KeptError:
    """The first error of some hooks, for whoever reads what they heard.

    A hook that raises ends the run of the network, which may be the training of somebody else.

    Attributes
    ----------
    error
        The error; None if there is none.

    Examples
    --------
    >>> kept = KeptError()
    >>> kept.of(int)("seven")
    >>> kept.reraise()
    Traceback (most recent call last):
    ValueError: invalid literal for int() with base 10: 'seven'
    """

    def __init__(self) -> None:
        self.error: Exception | None = None

    def of(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        """Return a hook that keeps its error, and does nothing as long as one is kept."""

        def keeping(*args: Any, **kwargs: Any) -> Any:
            if self.error is not None:
                return None
            try:
                return hook(*args, **kwargs)
            except Exception as error:  # raised by `reraise`
                self.error = error
                return None

        return keeping

    def reraise(self, other: type[BaseException] | None = None) -> None:
        """Raise the error, once, if there is one and no other is on its way."""
        error, self.error = self.error, None
        if error is not None and other is None:
            raise error
