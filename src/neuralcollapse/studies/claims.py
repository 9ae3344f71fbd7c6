"""What a paper claims, and what came of it: statement, check on real numbers, evidence, verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from neuralcollapse.errors import NeuralCollapseError

if TYPE_CHECKING:
    from neuralcollapse.studies.figure_job import FigureJob, Scale

Relation = Literal["=", "<=", ">="]
Outcome = Literal["holds", "holds as corrected", "fails", "error"]


@dataclass(frozen=True)
class Evidence:
    """One number measured, beside the one expected.

    Attributes
    ----------
    comparison
        What is compared, in words.
    measured
        The number that the computation gave; NaN never holds.
    expected
        The number that the statement gives.
    tolerance
        Absolute, >= 0: how far `measured` may lie on the wrong side of `expected`, or from it if
        the two should be equal.
    relation
        How `measured` should stand to `expected`.
    note
        Settings, or what else a reader should know.

    Examples
    --------
    >>> from neuralcollapse.studies import Evidence
    >>> Evidence("a third", 0.3333, 1 / 3, tolerance=1e-3).holds
    True
    >>> Evidence.at_most("a gap", 2e-6, 1e-6).holds
    False
    """

    comparison: str
    measured: float
    expected: float
    tolerance: float = 0.0
    relation: Relation = "="
    note: str = ""

    @classmethod
    def at_most(
        cls, comparison: str, measured: float, limit: float, tolerance: float = 0.0, note: str = ""
    ) -> Evidence:
        """Return the evidence of a number that a limit bounds from above."""
        return cls(comparison, measured, limit, tolerance, "<=", note)

    @classmethod
    def at_least(
        cls, comparison: str, measured: float, limit: float, tolerance: float = 0.0, note: str = ""
    ) -> Evidence:
        """Return the evidence of a number that a limit bounds from below."""
        return cls(comparison, measured, limit, tolerance, ">=", note)

    @property
    def holds(self) -> bool:
        """Whether the measured number stands to the expected one as the relation says."""
        excess = self.measured - self.expected
        if self.relation == "=":
            excess = abs(excess)
        elif self.relation == ">=":
            excess = -excess
        return bool(excess <= self.tolerance)  # numpy has a truth value of its own


def largest(*values: float) -> float:
    """Return the largest of the values; NaN if any is, so that a claim that meets one fails.

    Python's own ``max(0.0, nan)`` is 0.0: the largest of some errors would look perfect.

    Parameters
    ----------
    values
        At least one.

    Examples
    --------
    >>> largest(0.0, 2.0), largest(0.0, math.nan)
    (2.0, nan)
    """
    return float(np.max(values))


def smallest(*values: float) -> float:
    """Return the smallest of the values; NaN if any is.

    Parameters
    ----------
    values
        At least one.

    Examples
    --------
    >>> smallest(0.0, 2.0), smallest(0.0, math.nan)
    (0.0, nan)
    """
    return float(np.min(values))


def farthest(values: Iterable[float], expected: float = 1.0) -> float:
    """Return the value that is farthest from the one expected, NaN first: if it holds, all hold.

    Parameters
    ----------
    values
        At least one.
    expected
        The number that all should be near.

    Examples
    --------
    >>> farthest([0.9, 1.3, 1.1])
    1.3
    """
    return max(values, key=lambda value: (math.isnan(value), abs(value - expected)))


Check = Callable[[], Iterator[Evidence]]
Figure = Callable[["FigureJob"], list[Path]]


@dataclass(frozen=True)
class Claim:
    """A statement of a paper, with the check that decides whether it holds.

    Attributes
    ----------
    id
        ``"ji2022.thm3.1"``: the paper and the place in it.
    statement
        What is claimed, in one sentence; as corrected, where there is a correction.
    check
        Yields the evidence; every piece must hold.
    correction
        What the paper's own statement needed, and why; None where it stands as printed.

    Examples
    --------
    >>> from neuralcollapse.studies import Claim, Evidence, judge
    >>> claim = Claim("toy2022.thm1", "1 + 1 = 2", lambda: iter([Evidence("the sum", 1 + 1, 2)]))
    >>> claim.paper, judge(claim).outcome
    ('toy2022', 'holds')
    """

    id: str
    statement: str
    check: Check
    correction: str | None = None

    @property
    def paper(self) -> str:
        """The paper's short name, the first part of the id."""
        return self.id.partition(".")[0]


@dataclass(frozen=True)
class Verdict:
    """What a claim's check found.

    Attributes
    ----------
    claim
        The claim judged.
    evidence
        All that the check yielded; up to the error, if there was one.
    error
        Type and message of the exception that ended the check, None if there was none.

    Examples
    --------
    >>> from neuralcollapse.studies import Claim, Evidence, judge
    >>> claim = Claim("toy2022.thm1", "1 + 1 = 3", lambda: iter([Evidence("the sum", 1 + 1, 3)]))
    >>> verdict = judge(claim)
    >>> verdict.holds, verdict.outcome, verdict.evidence[0].measured
    (False, 'fails', 2)
    """

    claim: Claim
    evidence: tuple[Evidence, ...]
    error: str | None = None

    @property
    def outcome(self) -> Outcome:
        """``"holds"``, ``"holds as corrected"``, ``"fails"``, or ``"error"``."""
        if self.error is not None:
            return "error"
        if not all(piece.holds for piece in self.evidence):
            return "fails"
        return "holds" if self.claim.correction is None else "holds as corrected"

    @property
    def holds(self) -> bool:
        """Whether the claim holds, corrected or not."""
        return self.outcome.startswith("holds")


def judge(claim: Claim) -> Verdict:
    """Run a claim's check and return what it found.

    An exception in the check becomes the verdict ``"error"``, so that one broken check does not
    hide the verdicts of the others; so does a check that yields nothing.

    Parameters
    ----------
    claim
        The claim to check.

    Returns
    -------
    Verdict
        Evidence and outcome.

    Examples
    --------
    >>> from neuralcollapse.studies import Claim, Evidence, judge
    >>> claim = Claim("toy.sum", "1 + 1 = 2", lambda: iter([Evidence("the sum", 1 + 1, 2)]))
    >>> judge(claim).outcome
    'holds'
    """
    evidence = []
    try:
        for piece in claim.check():
            evidence.append(piece)
    except Exception as error:  # a check that breaks is told as one, and the others go on
        return Verdict(claim, tuple(evidence), f"{type(error).__name__}: {error}")
    return Verdict(claim, tuple(evidence), None if evidence else "the check gave no evidence")


def exit_status(verdicts: list[Verdict]) -> int:
    """Return 0 if every claim holds, 1 if one fails or its check broke.

    Parameters
    ----------
    verdicts
        From `verify`.

    Returns
    -------
    int
        For the shell.
    """
    return int(not all(verdict.holds for verdict in verdicts))


@dataclass(frozen=True)
class Study:
    """The claims and figures of one paper, which its modules register by decorating functions.

    Attributes
    ----------
    paper
        Short name, ``"ji2022"``.
    title
        Authors, year and title.
    claims
        In the order registered.
    figures
        By their number in the paper. Each takes a `FigureJob` and returns the files written.
    fixed
        By the same number, the scales at which a figure has seeds and settings of its own.

    Examples
    --------
    >>> from neuralcollapse.studies import Evidence, Study, judge
    >>> study = Study("toy2022", "A toy paper")
    >>> @study.claim("thm1", "Two and two make four.")
    ... def two_and_two():
    ...     yield Evidence("their sum", 2 + 2, 4)
    >>> [(claim.id, judge(claim).outcome) for claim in study.claims]
    [('toy2022.thm1', 'holds')]
    """

    paper: str
    title: str
    claims: list[Claim] = field(default_factory=list)
    figures: dict[int, Figure] = field(default_factory=dict)
    fixed: dict[int, Collection[Scale]] = field(default_factory=dict)

    def claim(
        self, name: str, statement: str, correction: str | None = None
    ) -> Callable[[Check], Check]:
        """Register the decorated check as that of the claim `paper.name`."""
        id = f"{self.paper}.{name}"
        if any(claim.id == id for claim in self.claims):
            raise NeuralCollapseError("name", "a name of its own", f"{id} twice", "rename one")

        def register(check: Check) -> Check:
            self.claims.append(Claim(id, statement, check, correction))
            return check

        return register

    def figure(self, number: int, fixed: Collection[Scale] = ()) -> Callable[[Figure], Figure]:
        """Register the decorated function as the one that draws figure `number`."""

        def register(draw: Figure) -> Figure:
            self.figures[number], self.fixed[number] = draw, fixed
            return draw

        return register
