"""A callback never ends a training run: if it cannot measure, it warns once and goes quiet."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from neuralcollapse.plain_text import plain
from neuralcollapse.runs.alarms.situation import CollapseWarning

Hook = TypeVar("Hook", bound=Callable[..., Any])


def never_ending(hook: Hook) -> Hook:
    """Make a method of a callback warn and go quiet instead of ending a training run.

    On an error, ``quiet`` of its object is set, and its ``let_go()`` is called, which must remove
    all hooks from the network.

    Parameters
    ----------
    hook
        The method. Once its object is quiet, the method is no longer called; None is returned.

    Warns
    -----
    CollapseWarning
        With the error message, once.
    """

    @functools.wraps(hook)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.quiet:
            return None
        try:
            return hook(self, *args, **kwargs)
        except Exception as error:  # nothing of ours may end a user's training
            self.quiet = True
            self.let_go()
            warnings.warn(
                f"collapse is not measured from here on, and training goes on: "
                f"{type(error).__name__}: {plain(error)}",
                CollapseWarning,
                stacklevel=3,
            )
            return None

    # It has the signature of the hook, which the type of `guarded` cannot express.
    return guarded  # type: ignore[return-value]
