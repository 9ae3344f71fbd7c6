"""Metric: how a value is named, computed, judged and put in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.chance.chance import Chance
from neuralcollapse.metrics.estimates.corrected import Corrected
from neuralcollapse.metrics.measured import Measured
from neuralcollapse.metrics.setting import Setting

Grade = Literal["collapsed", "on the way", "no better than chance", ""]


@dataclass(frozen=True)
class Reading:
    """What a value means.

    Attributes
    ----------
    grade
        ``"collapsed"``, ``"on the way"``, ``"no better than chance"``, or ``""`` for no grade:
        rules of thumb of this library, not thresholds of theory.
    words
        The grade, or why there is none.
    target
        The best value for these class sizes, K and d; None if it is not known.
    chance
        The value for features or heads that know nothing of the classes; None if not known.
    """

    grade: Grade
    words: str
    target: float | None = None
    chance: float | None = None


@dataclass(frozen=True)
class Metric:
    r"""One row of the catalogue: how a metric is computed, named, drawn, judged and cited.

    A value is judged by its distance from the target, relative to that of chance: half of it or
    more is "no better than chance"; a tenth or less, and at most `grade`, is "collapsed"; anything
    between is "on the way". There is no grade where `validity` gives a reason, or where chance and
    target are closer than the error bar of chance.

    Attributes
    ----------
    name
        Name of the function, of the entry in a report, and of the curve.
    group
        The phenomenon: one of `GROUPS`, or another heading.
    title
        What it measures, in a few words.
    formula
        As the help, the page and the terminal show it.
    needs
        Of ``"scatter"``, ``"head"``, ``"accuracy"``, ``"ncc_accuracy"``, ``"nc4_agreement"``,
        ``"margin_min"``; without one of them the metric is left out.
    target
        The best value, or a function of the `Setting`; None if there is none.
    chance
        A function of the `Setting`; None if it is not known.
    validity
        A function of the `Setting`: why a value says nothing there, or None if it does.
    grade
        The largest distance from the target that may be called collapsed; None for no grade.
    cites
        Its sources: keys of `cite`, or BibTeX entries.
    value
        The function: from `Measured` to a number.
    note
        One line shown with its chart.
    caveat
        What to beware of, for the documentation.
    label
        Label of its curve in a figure; the name if omitted.
    kind
        ``"distance"`` falls to its target, ``"share"`` is a share of samples, ``"signed"`` may be
        negative.
    words
        A function that puts a value in words where it has no grade.
    corrected
        How the bias of few samples per class is removed, if that is known.

    Examples
    --------
    >>> from neuralcollapse.metrics import Metric
    >>> metric = Metric("spread", value=lambda measured: float(measured.moments.within.trace()))
    >>> metric.read(0.5).words
    ''
    """

    name: str
    group: str = "Of your own"
    title: str = ""
    formula: str = ""
    needs: tuple[str, ...] = ()
    target: float | Callable[[Setting], float | None] | None = None
    chance: Callable[[Setting], Chance | float] | None = None
    validity: Callable[[Setting], str | None] | None = None
    grade: float | None = None
    cites: tuple[str, ...] = ()
    value: Callable[[Measured], float] | None = None
    note: str = ""
    caveat: str = ""
    kind: Literal["distance", "share", "signed"] = "distance"
    words: Callable[[float], str] | None = None
    label: str = ""
    corrected: Corrected | None = None

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.name.startswith("test_"):
            expected = "a word of letters, digits and _ that does not begin with test_"
            remedy = "rename it: values of test data get this prefix automatically"
            raise NeuralCollapseError("name", expected, repr(self.name), remedy)

    @property
    def heading(self) -> str:
        """The formula, or the title where there is none."""
        return self.formula or self.title or self.name

    def compute(self, measured: Measured) -> float:
        """Return the value.

        Raises
        ------
        NeuralCollapseError
            If the function does not return one number.
        """
        if self.value is None:
            raise NeuralCollapseError(
                "metrics", f"a function for {self.name!r}", "none", "pass Metric(..., value=f)"
            )
        value = self.value(measured)
        try:
            return float(value)
        except (TypeError, ValueError, RuntimeError) as error:
            where = f"metrics[{self.name!r}]"
            remedy = "return a float or a tensor with one element"
            raise NeuralCollapseError(where, "one number", type(value).__name__, remedy) from error

    def best(self, setting: Setting) -> float | None:
        """Return the target for these class sizes, K and d; None if it is not known."""
        best = self.target(setting) if callable(self.target) else self.target
        if best is not None:
            best = setting.targets.get(self.name, best)
        return None if best is None or math.isnan(best) else best

    def read(
        self,
        value: float,
        setting: Setting | None = None,
        departure: tuple[float, Chance, bool] | None = None,
    ) -> Reading:
        """Say what a value means.

        Parameters
        ----------
        value
            Of this metric.
        setting
            The sizes it was measured at; without them there is no grade.
        departure
            A distance from the predicted geometry, its chance value, and whether to grade by it
            instead of the value itself; otherwise only what has no departure has collapsed.
        """
        said = self.words(value) if self.words else ""
        if math.isnan(value):
            return Reading("", "undefined")
        if setting is None:
            return Reading("", said)
        best, by_chance = self.best(setting), None
        reason = self.validity(setting) if self.validity else None
        if self.chance is not None and reason is None:
            found = self.chance(setting)
            by_chance = found if isinstance(found, Chance) else Chance(float(found), 0.0)
        shown = None if by_chance is None else by_chance.value
        if reason is not None or best is None or self.grade is None:
            return Reading("", reason or said, best, shown)
        grade, words = self._grade(value, best, by_chance)
        if departure is not None:
            distance, chance, alone = departure
            shaped = self._grade(distance, 0.0, chance)
            if alone:
                grade, words = shaped
            elif grade == "collapsed" != shaped[0]:
                grade, words = "on the way", "at its target, in another shape"
        spoken = grade if grade == "collapsed" else said or grade
        return Reading(grade, words or spoken, best, shown)

    def _grade(self, value: float, best: float, chance: Chance | None) -> tuple[Grade, str]:
        distance = abs(value - best)
        if chance is None:
            if distance <= (self.grade or 0):
                return "collapsed", ""
            return ("", "") if self.words else ("on the way", "")
        whole = abs(chance.value - best)
        if whole <= chance.bar:
            return "", "chance and target are too near to tell apart"
        past = (value - best) * (chance.value - best) < 0
        lucky = whole - chance.bar  # one in ten thousand gets nearer by chance
        limit = lucky if self.kind == "share" else min(whole / 2, lucky)
        if distance <= min(whole / 10, self.grade or 0) and (past or distance < limit):
            return "collapsed", ""
        if past:
            return "on the way", "past its target"
        return ("no better than chance", "") if distance >= limit else ("on the way", "")
