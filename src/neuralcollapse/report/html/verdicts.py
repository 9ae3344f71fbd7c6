"""The headline: where a run stands, in plain words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from neuralcollapse.measurement.departure import departures
from neuralcollapse.measurement.readings import record_apart, record_reading
from neuralcollapse.metrics.catalogue import DECISIONS, FIRST, NC1, NC2, NC3, NC4, metric_named
from neuralcollapse.metrics.margin_scale import margin_ceiling
from neuralcollapse.metrics.metric import Reading
from neuralcollapse.runs.record import Record
from neuralcollapse.runs.run import Run
from neuralcollapse.runs.snapshots import Snapshot, recorded_settings
from neuralcollapse.wording import listed, number, share

RECENT = 0.75  # of the epochs: what happened after that is "still"
MOVED = 0.05  # a relative change below this since then is none


@dataclass(frozen=True)
class Standing:
    """One sentence about one phenomenon.

    Attributes
    ----------
    group
        The phenomenon.
    grade
        ``"collapsed"``, ``"on the way"``, ``"no better than chance"``, ``"not fitted"``,
        ``"not graded"`` or ``"undefined"``: rules of thumb of `Metric`, not thresholds of theory.
    text
        The sentence or two.
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
    >>> records = [{"epoch": e, "nc1_trace_ratio": 1 / e**2} for e in (1, 10, 20)]
    >>> print(verdicts(Run("run", records))[0].text[:80])
    Within-class scatter still falls: tr Σ_W / tr Σ_B is 0.0025, a quarter of what i
    """
    return [*_nc1(run), *_nc2(run), *_nc3(run), *_nc4(run), *_margins(run)]


def _nc1(run: Run) -> Iterator[Standing]:
    name = FIRST[NC1]
    last = run.records[-1]
    if name in last:
        formula = metric_named(name).formula
        movement, since = _movement(run.records, name)
        heading = {
            "falls": "Within-class scatter still falls",
            "rises": "Within-class scatter rises again",
            "rests": "Within-class scatter has settled",
            "": "Within-class scatter",
        }[movement]
        reading = reading_at_end(run, name)
        text = f"{heading}: {formula} is {number(last[name])}{since}{_chance(reading)}."
        apart = record_apart(last)
        if apart:
            beside = "" if math.isinf(apart) else f" {number(float(f'{apart:.2g}'))} times"
            text += f" On test data NC1 is{beside} larger: what collapsed is the training data."
        yield _verdict(NC1, reading, text)


def _nc2(run: Run) -> Iterator[Standing]:
    name = FIRST[NC2]
    last = run.records[-1]
    if name in last:
        reading = reading_at_end(run, name)
        equal = reading.target in (None, 0)
        shape = "a simplex ETF" if equal else "the shape predicted for these class sizes"
        near = {
            "collapsed": f"The class means form {shape}",
            "on the way": f"The class means are on their way to {shape}",
            "no better than chance": f"The class means are no nearer to {shape} than random ones",
        }.get(reading.grade, "The geometry of the class means is not graded")
        movement, since = _movement(run.records, name)
        moving = {"falls": ", still falling", "rises": ", rising"}.get(movement, "")
        of = "" if equal else " from an ETF"
        text = f"{near}: distance{of} {number(last[name])}{moving}{since}{_chance(reading)}."
        yield _verdict(NC2, reading, f"{text}{_closest(run)}")


def _nc3(run: Run) -> Iterator[Standing]:
    name = FIRST[NC3]
    last = run.records[-1]
    if name in last:
        reading = reading_at_end(run, name)
        aligned = {
            "collapsed": "The head is aligned with the class means",
            "on the way": "The head is not yet aligned with the class means",
            "no better than chance": "The head is no nearer to the class means than a random one",
        }.get(reading.grade, "The alignment of the head with the class means is not graded")
        movement, since = _movement(run.records, name)
        moving = {"falls": ", still falling", "rises": ", rising"}.get(movement, "")
        text = f"{aligned}: distance {number(last[name])}{moving}{since}{_chance(reading)}."
        yield _verdict(NC3, reading, text)


def _nc4(run: Run) -> Iterator[Standing]:
    name = FIRST[NC4]
    last = run.records[-1]
    if name in last and not math.isnan(last[name]):
        differ = 1 - last[name]
        text = (
            "The nearest class mean decides every training sample as the head does."
            if differ == 0
            else f"The nearest class mean decides {share(differ)} of the training samples "
            "otherwise than the head."
        )
        yield _verdict(NC4, reading_at_end(run, name), text)


def _margins(run: Run) -> Iterator[Standing]:
    last = run.records[-1]
    if "accuracy" not in last or math.isnan(last["accuracy"]):
        return
    fitted = next((r["epoch"] for r in run.records if r.get("accuracy") == 1), None)
    parts = []
    if last["accuracy"] == 1:
        parts.append(f"Every training sample is right, for the first time at epoch {fitted:g}.")
    else:
        parts.append(f"{share(1 - last['accuracy'])} of the training samples are wrong.")
    margin = last.get("margin_normalized", math.nan)
    num_classes = len(run.class_names)
    if not math.isnan(margin) and num_classes >= 2:
        parts.append(
            f"The least margin, free of scale, is {number(margin)}; at collapse of equal classes "
            f"it is {number(margin_ceiling(num_classes))}."
        )
    parts.extend(_weakest(run.snapshots[-1:]))
    grade = "on the way" if last["accuracy"] == 1 else "not fitted"
    if "margin_collapse_ratio" in last:
        grade = reading_at_end(run, "margin_collapse_ratio").grade or grade
    yield Standing(DECISIONS, grade, " ".join(parts))


def _closest(run: Run) -> str:
    """Name the pair of class means with the largest cosine."""
    for shot in run.snapshots[-1:]:
        if len(shot.present) > 2:
            rows = torch.nn.functional.normalize(shot.rows[shot.present], dim=1)
            cosines = (rows @ rows.T).fill_diagonal_(-2)
            if not bool(torch.isfinite(cosines).all()):
                return ""
            i, j = divmod(int(cosines.argmax()), len(rows))
            names = listed([f"“{shot.class_names[shot.present[k]]}”" for k in (i, j)])
            target = -1 / (len(shot.present) - 1)
            return (
                f" Classes {names} are the closest pair, with a cosine of "
                f"{number(float(cosines[i, j]))} (in the ETF {number(target)})."
            )
    return ""


def _weakest(shots: Sequence[Snapshot]) -> Iterator[str]:
    for shot in shots:
        if shot.margin_levels is not None:
            least = shot.margin_levels[:, 0].nan_to_num(math.inf)
            k = int(least.argmin())
            yield f"Class “{shot.class_names[k]}” has the least one."


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


def reading_at_end(run: Run, name: str, alone: bool = False) -> Reading:
    """Return the reading of a value at the end, with the sizes that the last snapshot has.

    Parameters
    ----------
    run
        With this value in its last record.
    name
        Of a metric.
    alone
        Whether test data is left out of sight.
    """
    record, departure = run.records[-1], None
    if alone:
        record = {key: value for key, value in record.items() if not key.startswith("test_")}
    for shot in run.snapshots[-1:]:
        record = recorded_settings(shot) | record
        head = None if shot.weight is None else shot.weight[shot.present]
        sizes = tuple(shot.counts[shot.present].tolist())
        found = departures(shot.rows[shot.present], head, sizes, shot.bias is not None)
        departure = found.get(name)
    return record_reading(record, name, departure)


def _chance(reading: Reading) -> str:
    return "" if reading.chance is None else f" (by chance {number(reading.chance)})"


def _verdict(group: str, reading: Reading, text: str) -> Standing:
    if reading.grade:
        return Standing(group, reading.grade, text)
    if reading.words == "undefined":
        return Standing(group, "undefined", text)
    why = f" {reading.words[0].upper()}{reading.words[1:]}." if reading.words else ""
    return Standing(group, "not graded", text + why)
