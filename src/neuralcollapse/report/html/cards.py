"""The first screen: one sentence, and one card a phenomenon with its numbers and what to do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from neuralcollapse.measurement.readings import ALONE, TRAINED
from neuralcollapse.metrics.catalogue import FIRST, metric_named
from neuralcollapse.metrics.metric import Metric
from neuralcollapse.metrics.rows import DECISIONS, NC1, NC2, NC3, NC4
from neuralcollapse.report.html.certificate import CertifiedError
from neuralcollapse.report.html.verdicts import (
    Standing,
    departures_at_end,
    nc1_on_test,
    reading_at_end,
    times_larger,
    verdicts,
)
from neuralcollapse.runs.run import Run
from neuralcollapse.wording import listed, number, share

SHOWN = FIRST | {DECISIONS: "accuracy"}
# Where the page says more.
SECTIONS = {
    NC1: ("curves-nc1", "Its curves"),
    NC2: ("geometry", "The geometry"),
    NC3: ("theory", "Head and class means"),
    NC4: ("curves-nc4", "Its curves"),
    DECISIONS: ("margins", "The margins"),
}
# What to look at where a network that decides rightly shows no more than chance does.
UNSEEN = {
    NC1: "Look whether the features measured are those that the head decides by (head=).",
    NC2: "Train on, and see which pairs of classes are closer than the others.",
    NC3: "Look whether the head measured is the right one (head=).",
    NC4: "Look whether the head measured is the right one (head=).",
}
MUCH_LARGER = 10  # times, from which NC1 on test data is what to look at
DECADES = 3  # of the bar at least: from the distance that chance has to a thousandth of it
WIDTH, HEIGHT = 72.0, 30.0  # of a sparkline, in pixels
POINTS = 60


@dataclass(frozen=True)
class Bar:
    """Where values stand between chance (0) and target (1), in decades of the distance.

    Attributes
    ----------
    at
        Data set to place.
    half, tenth
        Places of half and of a tenth of the distance of chance.
    chance, target
        What the two ends are, in words.
    """

    at: dict[str, float]
    half: float
    tenth: float
    chance: str
    target: str


@dataclass(frozen=True)
class Card:
    """What the page says first about one phenomenon.

    Attributes
    ----------
    standing
        Its sentence and grade.
    quantity
        What the values are of.
    values
        Data set to value, as text.
    bar
        Where the values stand between chance and target, or None.
    spark
        Data set to the path of an SVG curve.
    advice
        What to do next.
    section, place
        Where the page says more: the address, and its name.
    """

    standing: Standing
    quantity: str
    values: dict[str, str]
    bar: Bar | None
    spark: dict[str, str]
    advice: str
    section: str
    place: str


def lead(run: Run, certificate: CertifiedError | None) -> str:
    """Say in one breath what has collapsed, whether test data has, and what is certified.

    Parameters
    ----------
    run
        At least one record.
    certificate
        Of `certificate_data`, or None.

    Examples
    --------
    >>> lead(Run("run", [{"epoch": 1, "nc1_trace_ratio": 0.5, "test_nc1_trace_ratio": 1.0}]), None)
    'NC1 is not graded. On test data NC1 is 2 times larger.'
    """
    last, grades, followed = run.records[-1], dict[str, list[str]](), True
    for group, name in FIRST.items():
        if not math.isnan(last.get(name, math.nan)):
            reading, alone = reading_at_end(run, name)
            grades.setdefault(reading.grade, []).append(group.split(" ")[0])
            followed = followed and not alone
    words = {
        "collapsed": ("has collapsed", "have collapsed"),
        "on the way": ("is on the way", "are on the way"),
        "no better than chance": ("is no better than chance", "are no better than chance"),
        "": ("is not graded", "are not graded"),
    }
    parts = [
        f"{listed(grades[grade])} {several if len(grades[grade]) > 1 else one}"
        for grade, (one, several) in words.items()
        if grade in grades
    ]
    known = any(grades.get(grade) for grade in words if grade)
    said = [f"{'On training data ' if known else ''}{', '.join(parts)}."] if parts else []
    times = times_larger(last)
    if times:
        where = "On test data" if followed else "Test data does not follow: there"
        said.append(f"{where} NC1 is {times}.")
    if certificate:
        said.append(
            f"The error on new data is at most {certificate.upper}, at "
            f"{certificate.confidence} confidence, if the test data chose nothing."
        )
    return " ".join(said)


def figures(run: Run, certificate: CertifiedError | None) -> list[tuple[str, str]]:
    """Return up to three numbers that say most, each with what it is.

    Parameters
    ----------
    run
        At least one record.
    certificate
        Of `certificate_data`, or None.

    Examples
    --------
    >>> figures(Run("run", [{"epoch": 1, "accuracy": 1.0, "test_accuracy": 0.9}]), None)
    [('90 %', 'accuracy on test data; on training data 100 %')]
    """
    last, found = run.records[-1], []
    right = {name: last.get(name, math.nan) for name in ("accuracy", "test_accuracy")}
    trained, tested = right.values()
    if math.isfinite(tested):
        beside = f"; on training data {share(trained)}" if math.isfinite(trained) else ""
        found.append((share(tested), f"accuracy on test data{beside}"))
    elif math.isfinite(trained):
        found.append((share(trained), "accuracy on training data"))
    ratio, by = nc1_on_test(last)
    if 0 < ratio < math.inf:
        words = ", ".join(filter(None, ("NC1 on test data, relative to training data", by)))
        found.append((f"{number(float(f'{ratio:.2g}'))} ×", words))
    if certificate:
        words = f"error on new data, at {certificate.confidence} confidence"
        found.append((f"≤ {certificate.upper}", f"{words}, if the test data chose nothing"))
    return found


def cards(run: Run) -> list[Card]:
    """Return the cards of a run at its last measurement.

    Parameters
    ----------
    run
        Whatever it did not record is passed over.

    Examples
    --------
    >>> records = [{"epoch": e, "nc1_trace_ratio": 1 / e**2} for e in (1, 10, 20)]
    >>> cards(Run("run", records))[0].values
    {'train': '0.0025'}
    """
    return [_card(run, standing) for standing in verdicts(run)]


def _card(run: Run, standing: Standing) -> Card:
    name, last = SHOWN[standing.group], run.records[-1]
    metric = metric_named(name)
    found = {"train": last.get(name), "test": last.get(f"test_{name}")}
    values = {
        data: value for data, value in found.items() if value is not None and not math.isnan(value)
    }
    write = share if metric.kind == "share" else number
    return Card(
        standing,
        metric.heading if metric.name in FIRST.values() else SHOWN[standing.group],
        {data: write(value) for data, value in values.items()},
        _bar(run, metric, values),
        _sparks(run, metric, values),
        next(_advices(run, standing), ""),
        *SECTIONS[standing.group],
    )


def _bar(run: Run, metric: Metric, values: Mapping[str, float]) -> Bar | None:
    name = metric.name
    reading, _ = reading_at_end(run, name)
    if reading.target is None or reading.chance is None or not reading.grade:
        return None
    target, chance, departure = reading.target, reading.chance, departures_at_end(run).get(name)
    shaped = departure if departure is not None and departure.alone else None
    if shaped:  # what the grade is about, and known of the training data alone
        values, target, chance = {"train": shaped.distance}, 0.0, shaped.chance.value
    parts = {data: abs(value - target) / abs(chance - target) for data, value in values.items()}
    least = min((part for part in parts.values() if part > 0), default=1.0)
    decades = max(DECADES, math.ceil(-math.log10(least)))
    write = share if metric.kind == "share" else number
    return Bar(
        at={data: _position(part, decades) for data, part in parts.items()},
        half=_position(0.5, decades),
        tenth=_position(0.1, decades),
        chance=f"chance {write(chance)}",
        target="the shape predicted" if shaped else f"target {write(target)}",
    )


def _position(part: float, decades: int) -> float:
    """Return where a part of the distance of chance stands: 0 for all of it, 1 for none."""
    return 1.0 if part <= 0 else round(min(max(-math.log10(part) / decades, 0.0), 1.0), 3)


def _sparks(run: Run, metric: Metric, datas: Iterable[str]) -> dict[str, str]:
    """Return the curves as SVG paths on one scale, of distances and errors in decades."""
    step = max(1, len(run.records) // POINTS)
    records = [*run.records[:-1:step], run.records[-1]]
    points: dict[str, list[tuple[float, float]]] = {}
    for data in datas:
        name = metric.name if data == "train" else f"test_{metric.name}"
        found = [(r["epoch"], r[name]) for r in records if math.isfinite(r.get(name, math.nan))]
        if len(found) > 1:
            points[data] = [(e, 1 - v if metric.kind == "share" else v) for e, v in found]
    drawn = [point for curve in points.values() for point in curve]
    if not drawn:
        return {}
    low = min((value for _, value in drawn if value > 0), default=1.0)
    top, least = (math.log10(max(f(v for _, v in drawn), low / 2)) for f in (max, min))
    begin, end = min(epoch for epoch, _ in drawn), max(epoch for epoch, _ in drawn)

    def place(epoch: float, value: float) -> str:
        across = (epoch - begin) / ((end - begin) or 1) * WIDTH
        down = (top - math.log10(max(value, low / 2))) / ((top - least) or 1) * (HEIGHT - 4) + 2
        # A share of errors falls where the share that is right, which the card names, rises.
        return f"{across:.1f} {HEIGHT - down if metric.kind == 'share' else down:.1f}"

    return {data: "M" + "L".join(place(*p) for p in curve) for data, curve in points.items()}


def _advices(run: Run, standing: Standing) -> Iterator[str]:
    """Yield what to do next, the most pressing first."""
    last, group, grade = run.records[-1], standing.group, standing.grade
    accuracy, classes = last.get("accuracy", math.nan), len(run.class_names)
    (ratio, _), target = nc1_on_test(last), reading_at_end(run, SHOWN[group])[0].target
    if group in UNSEEN and accuracy < 1 and grade in ("on the way", "no better than chance"):
        yield "Train until every training sample is right: collapse is about what comes after."
    if grade in (ALONE, TRAINED) or (group == NC1 and ratio > MUCH_LARGER):
        times = times_larger(last)
        why = f"there NC1 is {times}" if times else "it does not follow"
        yield f"Judge the network by its test data: {why}."
    if grade == "no better than chance" and accuracy == 1:
        yield UNSEEN[group]
    if grade == "on the way" and "still falls" in standing.text:
        yield "Train on: it still falls."
    if group == NC1 and grade == "on the way":
        yield "See which classes are widest, and whether it still falls in the layers before."
    if group == NC2 and grade in ("on the way", "not graded") and classes > 2:
        yield "See which pairs of classes are closer than the others."
    if group == NC3 and grade == "on the way" and target:
        yield "Compare the lengths of its rows with those predicted for these class sizes."
    if group == NC3 and grade == "on the way":
        yield "See which rows of the head lean away from their class."
    if group == NC4 and grade != "collapsed" and len(run.records) > 1:
        yield "See when the nearest mean began to decide as the head does."
    if group == DECISIONS and accuracy < 1:
        yield "Look at the samples that are wrong: too short a training, or wrong labels?"
    if group == DECISIONS and last.get("test_accuracy", 1.0) < 1:
        yield "See which classes have the smallest margins on test data."
