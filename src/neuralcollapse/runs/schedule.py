"""Schedules: after which epochs to measure, and how much."""

from __future__ import annotations

import math
from dataclasses import dataclass

from neuralcollapse.errors import NeuralCollapseError


@dataclass(frozen=True)
class Schedule:
    """What is measured, and when.

    Attributes
    ----------
    every
        Measure after every so many epochs; None for log-spaced epochs. The first and (where it is
        known) the last always count.
    details
        Beside the metrics of all classes, record spread, distance and accuracy of each class and
        the worst pairs of classes.
    per_decade
        So many log-spaced epochs while their number grows tenfold. Of ten:
        10, 13, 16, 20, 25, 32, 40, 50, 63, 79, 100, ...
    dense
        Where they are log-spaced, also measure after each of the first so many epochs.
    at
        Measure after these epochs and the last, and no others; None if that is not said.

    Raises
    ------
    NeuralCollapseError
        If a number is below 1.

    Examples
    --------
    >>> from neuralcollapse.runs import Schedule
    >>> Schedule(every=None).epochs(63)
    [1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 63]
    >>> Schedule(every=4).epochs(10), Schedule(at=(2, 5)).epochs(9)
    ([1, 4, 8, 10], [2, 5, 9])
    """

    every: int | None = 1
    details: bool = False
    per_decade: int = 10
    dense: int = 1
    at: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("every", "per_decade", "dense"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise NeuralCollapseError(name, "at least 1", str(value), "use 1 for every epoch")
        if self.at is not None and min(self.at, default=1) < 1:
            least = str(min(self.at))
            raise NeuralCollapseError("at", "epochs from 1 on", least, "number the epochs from 1")

    def due(self, epoch: int, last: int | None = None) -> bool:
        """Return whether to measure after an epoch, counted from 1."""
        if epoch == last:
            return True
        if self.at is not None:
            return epoch in self.at
        if self.every is not None:
            return epoch == 1 or epoch % self.every == 0
        mark = round(self.per_decade * math.log10(epoch))
        return epoch <= self.dense or epoch == round(10 ** (mark / self.per_decade))

    def passed(self, since: int, epoch: int, last: int | None = None) -> bool:
        """Return whether an epoch was due after one and up to another."""
        return any(self.due(number, last) for number in range(since + 1, epoch + 1))

    def epochs(self, last: int) -> list[int]:
        """Return the epochs of a run of so many after which to measure."""
        return [epoch for epoch in range(1, last + 1) if self.due(epoch, last)]


# Of the epochs measured, those whose geometry is kept: 34 of 400.
KEPT = Schedule(every=None, per_decade=15)
# Economy costs a pass over the data at a few epochs, business one per epoch; full adds the classes.
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
    >>> schedule("full") == Schedule(every=1, details=True), schedule(5) == Schedule(every=5)
    (True, True)
    """
    if isinstance(choice, Schedule):
        return choice
    if isinstance(choice, int) and choice >= 1:
        return Schedule(every=choice)
    if choice not in SCHEDULES:
        expected = f"one of {', '.join(SCHEDULES)}, or a number of epochs"
        raise NeuralCollapseError("schedule", expected, repr(choice), "choose one of these")
    return SCHEDULES[str(choice)]
