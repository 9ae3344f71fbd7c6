"""A callback never ends a training run: what it cannot measure, it says once."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from neuralcollapse.plain_text import plain
from neuralcollapse.runs.alarms.situation import CollapseWarning

Hook = TypeVar("Hook", bound=Callable[..., Any])


def never_ending(hook: Hook) -> Hook:
    """Let a method of a callback warn and go quiet, where it would end a training run.

    Its object has ``quiet``, which is set, and ``let_go()``, which is called: it is to leave the
    network as it was.

    Parameters
    ----------
    hook
        The method. When quiet, it is not called, and returns None.

    Warns
    -----
    CollapseWarning
        With the error, once.
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

    # It has the signature of the hook, which no type can say of a function that takes anything.
    return guarded  # type: ignore[return-value]
