"""The headline: where a run stands, in plain words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from neuralcollapse.measurement.departure import Departure, departures
from neuralcollapse.measurement.readings import ratio_on_test, record_apart, record_reading
from neuralcollapse.metrics.catalogue import FIRST, metric_named
from neuralcollapse.metrics.class_vectors import unit_rows
from neuralcollapse.metrics.metric import Reading
from neuralcollapse.metrics.rows import DECISIONS, NC1, NC2, NC3, NC4
from neuralcollapse.plain_text import brief
from neuralcollapse.runs.record import Record
from neuralcollapse.runs.run import Run
from neuralcollapse.runs.snapshots import recorded_settings
from neuralcollapse.wording import listed, number, share

RECENT = 0.75  # of the epochs: what happened after that is "still"
MOVED = 0.05  # a relative change below this since then is none
LONGEST = 30  # characters of a class name in a sentence


@dataclass(frozen=True)
class Standing:
    """One sentence about one phenomenon.

    Attributes
    ----------
    group
        The phenomenon.
    grade
        ``"collapsed"``, `ALONE`, `TRAINED`, ``"on the way"``, ``"no better than chance"``,
        ``"fitted"``, ``"not fitted"``, ``"not graded"`` or ``"undefined"``: rules of thumb of
        `Metric`, not thresholds of theory.
    text
        The sentence or two.

    Examples
    --------
    >>> from neuralcollapse.report.html import verdicts
    >>> from neuralcollapse.runs import Run
    >>> (standing,) = verdicts(Run("run", [{"epoch": 1, "accuracy": 1.0}]))
    >>> standing.group, standing.grade
    ('Decisions', 'fitted')
    """

    group: str
    grade: str
    text: str


def verdicts(run: Run) -> list[Standing]:
    """Say where a run stands at its last measurement, one verdict a phenomenon.

    Parameters
    ----------
    run
        Whatever it did not record is passed over.

    Examples
    --------
    >>> from neuralcollapse.report.html import verdicts
    >>> from neuralcollapse.runs import Run
    >>> records = [{"epoch": e, "nc1_trace_ratio": 1 / e**2} for e in (1, 10, 20)]
    >>> print(verdicts(Run("run", records))[0].text[:80])
    Within-class scatter still falls: tr Σ_W / tr Σ_B is 0.0025, a quarter of what i
    """
    last, found = run.records[-1], []
    for group, told in ((NC1, _nc1), (NC2, _nc2), (NC3, _nc3), (NC4, _nc4)):
        name = FIRST[group]
        if name in last and not (group == NC4 and math.isnan(last[name])):
            reading, alone = reading_at_end(run, name)
            text = told(run, name, reading, alone)
            found.append(_standing(group, reading, alone, text))
    return [*found, *_margins(run)]


def _nc1(run: Run, name: str, reading: Reading, alone: str) -> str:
    last, formula = run.records[-1], metric_named(name).formula
    movement, since = _movement(run.records, name)
    heading = {
        "falls": "Within-class scatter still falls",
        "rises": "Within-class scatter rises again",
        "rests": "Within-class scatter has settled",
        "": "Within-class scatter",
    }[movement]
    text = f"{heading}: {formula} is {number(last[name])}{since}{_chance(reading)}."
    if record_apart(last):
        what = ": what collapsed is the training data" if alone else ""
        text += f" On test data NC1 is {times_larger(last)}{what}."
    return text


def _nc2(run: Run, name: str, reading: Reading, alone: str) -> str:
    departure = departures_at_end(run).get(name)
    equal = departure is None and reading.target in (None, 0)
    shape = "a simplex ETF" if equal else "the shape predicted for these class sizes"
    near = {
        "collapsed": f"{_means(alone)} form {shape}",
        "on the way": f"The class means are on their way to {shape}",
        "no better than chance": f"The class means are not clearly nearer to {shape} than "
        "random ones",
    }.get(reading.grade, "The geometry of the class means is not graded")
    of = "" if equal else " from an ETF"
    moving = _moving(run, name, reading)
    if departure is not None:
        apart = f"{number(departure.distance)} (by chance {number(departure.chance.value)})"
        moving = f"{moving}; from that shape {apart}"
    return f"{near}: distance{of} {moving}.{_closest(run)}"


def _nc3(run: Run, name: str, reading: Reading, alone: str) -> str:
    aligned = {
        "collapsed": f"The head is aligned with {_means(alone, 'the')}",
        "on the way": "The head is not yet aligned with the class means",
        "no better than chance": "The head is not clearly nearer to the class means than a "
        "random one",
    }.get(reading.grade, "The alignment of the head with the class means is not graded")
    departure, apart = departures_at_end(run).get(name), ""
    if departure is not None:
        apart = (
            f"; together they are {number(departure.distance)} from the shape predicted "
            f"(by chance {number(departure.chance.value)})"
        )
    if reading.target and reading.grade in ("collapsed", "on the way"):
        nearly = ", nearly" if reading.grade == "collapsed" else ""
        aligned = (
            "The head is aligned with the class means more closely than is predicted for these "
            "class sizes"
            if run.records[-1][name] < reading.target
            else f"{aligned}{nearly} as is predicted for these class sizes"
        )
    return f"{aligned}: distance {_moving(run, name, reading)}{apart}."


def _nc4(run: Run, name: str, reading: Reading, alone: str) -> str:
    differ = 1 - run.records[-1][name]
    if differ == 0:
        return "The nearest class mean decides every training sample as the head does."
    samples = f"{share(differ)} of the training samples"
    return f"The nearest class mean decides {samples} otherwise than the head."


def _margins(run: Run) -> Iterator[Standing]:
    last = run.records[-1]
    if math.isnan(last.get("accuracy", math.nan)):
        return
    fitted = next((r["epoch"] for r in run.records if r.get("accuracy") == 1), None)
    parts = []
    if last["accuracy"] == 1:
        first = f", for the first time at epoch {fitted:g}" if len(run.records) > 1 else ""
        parts.append(f"Every training sample is right{first}.")
    else:
        parts.append(f"{share(1 - last['accuracy'])} of the training samples are wrong.")
    grade = "fitted" if last["accuracy"] == 1 else "not fitted"
    margin = last.get("margin_normalized", math.nan)
    if not math.isnan(margin):
        ceiling = reading_at_end(run, "margin_normalized")[0].target
        most = "" if ceiling is None else f"; at collapse it is {number(ceiling)}"
        parts.append(f"The minimum margin, free of scale, is {number(margin)}{most}.")
        grade = "on the way" if margin > 0 and ceiling is not None else grade
    for shot in run.snapshots[-1:]:
        if shot.margin_levels is not None:
            k = int(shot.margin_levels[:, 0].nan_to_num(math.inf).argmin())
            parts.append(f"Class {_quoted(shot.class_names[k])} has the smallest.")
    if "margin_collapse_ratio" in last:
        reading, alone = reading_at_end(run, "margin_collapse_ratio")
        grade = alone or reading.grade or grade
    yield Standing(DECISIONS, grade, " ".join(parts))


def _means(alone: str, article: str = "The") -> str:
    return f"{article} class means{' of the training data' if alone else ''}"


def _moving(run: Run, name: str, reading: Reading) -> str:
    """Return a distance, how it moved, and that of chance."""
    movement, since = _movement(run.records, name)
    moving = {"falls": ", still falling", "rises": ", rising"}.get(movement, "")
    return f"{number(run.records[-1][name])}{moving}{since}{_chance(reading)}"


def _closest(run: Run) -> str:
    """Name the pair of class means with the largest cosine."""
    for shot in run.snapshots[-1:]:
        if len(shot.present) > 2:
            rows = unit_rows(shot.rows[shot.present])
            cosines = (rows @ rows.T).fill_diagonal_(-2)
            if not bool(torch.isfinite(cosines).all()):
                return ""
            i, j = divmod(int(cosines.argmax()), len(rows))
            names = listed([_quoted(shot.class_names[shot.present[k]]) for k in (i, j)])
            rank = len(shot.present) - 1
            etf = f" (in the ETF {number(-1 / rank)})" if rank <= shot.rows.shape[1] else ""
            return (
                f" Classes {names} are the closest pair, with a cosine of "
                f"{number(float(cosines[i, j]))}{etf}."
            )
    return ""


def _quoted(name: str) -> str:
    return f"“{brief(name, LONGEST)}”"


def _movement(records: Sequence[Record], name: str) -> tuple[str, str]:
    """Return how a quantity moved in the last quarter of the run, and by how much, as words."""
    last = records[-1]
    recent = [record for record in records[:-1] if record["epoch"] <= RECENT * last["epoch"]]
    if not recent:
        return "", ""
    before, now = float(recent[-1].get(name, math.nan)), float(last[name])
    if not (before > 0 and now > 0):
        return "", ""
    since = f"at epoch {recent[-1]['epoch']:g}"
    if now < (1 - MOVED) * before:
        return "falls", f", {_part(now / before)} of what it was {since}"
    if now > (1 + MOVED) * before:
        return "rises", f", {number(now / before)} times what it was {since}"
    return "rests", f", as {since}"


def _part(ratio: float) -> str:
    for share_, word in ((0.5, "half"), (1 / 3, "a third"), (0.25, "a quarter")):
        if abs(ratio - share_) < 0.02:
            return word
    return f"{100 * ratio:.2g} %"


def reading_at_end(run: Run, name: str) -> tuple[Reading, str]:
    """Return the reading of a value at the end, and its words where test data does not follow.

    Parameters
    ----------
    run
        With this value of the training data in its last record; where the record has no sizes,
        those of the last snapshot count.
    name
        Of a metric.

    Returns
    -------
    tuple
        The reading of the training data; `ALONE` or `TRAINED`, or nothing where test data follows.
    """
    record, departure = run.records[-1], departures_at_end(run).get(name)
    for shot in run.snapshots[-1:]:
        record = recorded_settings(shot) | record
    trained = {key: value for key, value in record.items() if not key.startswith("test_")}
    reading, both = (record_reading(part, name, departure) for part in (trained, record))
    apart = reading.grade != both.grade or record_apart(record) > 0
    return reading, both.words if apart and reading.grade == "collapsed" else ""


def departures_at_end(run: Run) -> Mapping[str, Departure]:
    """Return how far class means and head are from the shape predicted for unequal classes."""
    for shot in run.snapshots[-1:]:
        head = None if shot.weight is None else shot.weight[shot.present]
        sizes = tuple(shot.counts[shot.present].tolist())
        return departures(shot.rows[shot.present], head, sizes, shot.bias is not None)
    return {}


def nc1_on_test(record: Record) -> tuple[float, str]:
    """Return how many times larger NC1 is on test data, and by which measure, if not its first.

    Where `training_only` speaks, the measure is the one of `SPREADS` that differs most.

    Examples
    --------
    >>> record = {"nc1_trace_ratio": 0.5, "test_nc1_trace_ratio": 1.0}
    >>> nc1_on_test(record)
    (2.0, '')
    >>> nc1_on_test(record | {"cdnv": 0.001, "test_cdnv": 0.2})
    (200.0, 'by the measure of it that differs most')
    """
    first = ratio_on_test(FIRST[NC1], record, record.get("estimates"))
    most = record_apart(record)
    return (most, "by the measure of it that differs most") if most > first else (first, "")


def times_larger(record: Record) -> str:
    """Say how many times larger NC1 is on test data; nothing where it is not.

    Examples
    --------
    >>> times_larger({"nc1_trace_ratio": 0.5, "test_nc1_trace_ratio": 1.0})
    '2 times larger'
    """
    ratio, by = nc1_on_test(record)
    times = number(float(f"{ratio:.2g}"))
    if not ratio > 1 or times == "1":
        return ""
    larger = "larger" if math.isinf(ratio) else f"{times} times larger"
    return f"{larger} {by}".rstrip()


def _chance(reading: Reading) -> str:
    """Return in brackets what theory predicts, where that is not 0, and what chance gives."""
    parts = [f"predicted {number(reading.target)}"] if reading.target else []
    if reading.chance is not None:
        parts.append(f"by chance {number(reading.chance)}")
    return f" ({', '.join(parts)})" if parts else ""


def _standing(group: str, reading: Reading, alone: str, text: str) -> Standing:
    if reading.grade:
        return Standing(group, alone or reading.grade, text)
    if reading.words == "undefined":
        return Standing(group, "undefined", text)
    why = f" {reading.words[0].upper()}{reading.words[1:]}." if reading.words else ""
    return Standing(group, "not graded", text + why)
