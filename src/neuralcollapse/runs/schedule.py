"""Schedules: after which epochs to measure, and how much."""

from __future__ import annotations

import math
from dataclasses import dataclass

from neuralcollapse.errors import NeuralCollapseError

PER_DECADE = 10  # log-spaced epochs from 10 to 100, 100 to 1000, ...


@dataclass(frozen=True)
class Schedule:
    """What is measured, and when.

    Attributes
    ----------
    every
        Measure after every so many epochs; None for log-spaced epochs, ten in each decade:
        10, 13, 16, 20, 25, 32, 40, 50, 63, 79, 100, ... The first and (where it is known) the
        last always count.
    details
        Beside the metrics of all classes, record spread, distance and accuracy of each class and
        the worst pairs of classes.

    Examples
    --------
    >>> [epoch for epoch in range(1, 64) if Schedule(every=None).due(epoch)]
    [1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 63]
    >>> [epoch for epoch in range(1, 11) if Schedule(every=4).due(epoch, last=10)]
    [1, 4, 8, 10]
    """

    every: int | None = 1
    details: bool = False

    def due(self, epoch: int, last: int | None = None) -> bool:
        """Return whether to measure after an epoch, counted from 1."""
        if epoch in (1, last):
            return True
        if self.every is not None:
            return epoch % self.every == 0
        mark = round(PER_DECADE * math.log10(epoch))
        return epoch == round(10 ** (mark / PER_DECADE))


# Economy costs a pass over the data at a few epochs, business one an epoch; full adds the classes.
SCHEDULES = {
    "economy": Schedule(every=None),
    "business": Schedule(every=1),
    "full": Schedule(every=1, details=True),
}


def schedule(choice: str | int | Schedule) -> Schedule:
    """Return a schedule.

    Parameters
    ----------
    choice
        A key of `SCHEDULES`, a number of epochs, or a schedule.

    Raises
    ------
    NeuralCollapseError
        If it is none of these.

    Examples
    --------
    >>> schedule("full"), schedule(5)
    (Schedule(every=1, details=True), Schedule(every=5, details=False))
    """
    if isinstance(choice, Schedule):
        return choice
    if isinstance(choice, int) and choice >= 1:
        return Schedule(every=choice)
    if choice not in SCHEDULES:
        raise NeuralCollapseError(
            "schedule",
            f"one of {', '.join(SCHEDULES)}, or a number of epochs",
            repr(choice),
            "choose one of these",
        )
    return SCHEDULES[str(choice)]
