"""What an alarm looks at, and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neuralcollapse.measurement.collapse_report import CollapseReport
from neuralcollapse.measurement.split_report import SplitReport
from neuralcollapse.plain_text import plain
from neuralcollapse.wording import first_names

LEARNED = 0.9  # of the training samples, a rule of thumb: before, every class may yet be learned


class CollapseWarning(UserWarning):
    """A training run is in a state that collapse makes visible.

    Examples
    --------
    >>> import warnings
    >>> from neuralcollapse.runs import CollapseWarning
    >>> warnings.simplefilter("ignore", CollapseWarning)  # alarms stay in the records
    """


@dataclass(frozen=True)
class Alarm:
    """One such state.

    Attributes
    ----------
    kind
        A key of `ALARMS`.
    message
        What is wrong, in plain words.
    """

    kind: str
    message: str


@dataclass(frozen=True, eq=False)
class Situation:
    """All that an alarm looks at.

    Attributes
    ----------
    measured
        The measurement of this epoch.
    records
        Those of earlier epochs.
    class_names
        One a class.
    epoch, last
        Number of this epoch and, if known, of the last.
    still_wrong
        (samples that are wrong now and were at the measurements before, how many measurements,
        all samples of training), where the order of the data is fixed; else None.
    step
        Updates so far, if known.
    optimizer
        How the head is trained, see `head_settings`, if known.
    """

    measured: CollapseReport
    records: Sequence[Mapping[str, Any]]
    class_names: Sequence[str]
    epoch: int
    last: int | None = None
    still_wrong: tuple[Sequence[int], int, int] | None = None
    step: int | None = None
    optimizer: Mapping[str, Any] | None = None

    @property
    def tests(self) -> Mapping[str, SplitReport]:
        """Test data, by the first part of the names of its values."""
        report = self.measured
        return report.others if report.test is None else {"test": report.test, **report.others}

    def listed(self, classes: Sequence[int], limit: int = 10) -> str:
        """Return the names of classes for a sentence."""
        return first_names([plain(self.class_names[k]) for k in classes], limit)


def called(part: str) -> str:
    """Return what to call test data, by the first part of the names of its values.

    Examples
    --------
    >>> called("test"), called("test_night")
    ('test data', 'test data night')
    """
    return f"test data {part.removeprefix('test').removeprefix('_')}".rstrip()
