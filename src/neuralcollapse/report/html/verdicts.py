"""The headline: where a run stands, in plain words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from neuralcollapse.measurement.readings import DECISIONS, NC1, NC2, NC3, NC4, READINGS
from neuralcollapse.metrics.margin_scale import margin_ceiling
from neuralcollapse.report.html.wording import listed, number, share
from neuralcollapse.runs.history import Record
from neuralcollapse.runs.run import Run
from neuralcollapse.runs.snapshots import Snapshot

RECENT = 0.75  # of the epochs: what happened after that is "still"
MOVED = 0.05  # a relative change below this since then is none


@dataclass(frozen=True)
class Verdict:
    """One sentence about one phenomenon.

    Attributes
    ----------
    group
        The phenomenon.
    grade
        ``"collapsed"``, ``"on the way"``, ``"not collapsed"`` or ``"undefined"``: rules of thumb
        of `READINGS`, not thresholds of theory.
    text
        The sentence or two.
    """

    group: str
    grade: str
    text: str


def verdicts(run: Run) -> list[Verdict]:
    """Say where a run stands at its last measurement, one verdict a phenomenon.

    Parameters
    ----------
    run
        Whatever it did not record is passed over.

    Examples
    --------
    >>> records = [{"epoch": e, "nc1_trace_ratio": 1 / e**2} for e in (1, 10, 20)]
    >>> print(verdicts(Run("run", records))[0].text)
    Within-class scatter still falls: tr Sw / tr Sb is 0.0025, a quarter of what it was at epoch 10.
    """
    return [*_nc1(run), *_nc2(run), *_nc3(run), *_nc4(run), *_margins(run)]


def _nc1(run: Run) -> Iterator[Verdict]:
    name = "nc1_trace_ratio"
    last = run.records[-1]
    if name in last:
        text = f"tr Sw / tr Sb is {number(last[name])}"
        movement, since = _movement(run.records, name)
        heading = {
            "falls": "Within-class scatter still falls",
            "rises": "Within-class scatter rises again",
            "rests": "Within-class scatter has settled",
            "": "Within-class scatter",
        }[movement]
        yield _verdict(NC1, name, last, f"{heading}: {text}{since}.")


def _nc2(run: Run) -> Iterator[Verdict]:
    name = "nc2_etf"
    last = run.records[-1]
    if name in last:
        near = {
            "collapsed": "The class means form a simplex ETF",
            "on the way": "The class means are on their way to a simplex ETF",
            "not collapsed": "The class means are far from a simplex ETF",
        }.get(READINGS[name].say(last[name]), "The geometry of the class means is undefined")
        movement, since = _movement(run.records, name)
        moving = {"falls": ", still approaching it", "rises": ", moving away from it"}
        text = f"{near}: distance {number(last[name])}{moving.get(movement, '')}{since}."
        yield _verdict(NC2, name, last, f"{text}{_closest(run)}")


def _nc3(run: Run) -> Iterator[Verdict]:
    name = "nc3_self_duality"
    last = run.records[-1]
    if name in last:
        aligned = {
            "collapsed": "The head is aligned with the class means",
            "on the way": "The head is not yet aligned with the class means",
            "not collapsed": "The head is not aligned with the class means",
        }.get(READINGS[name].say(last[name]), "The alignment of the head is undefined")
        movement, since = _movement(run.records, name)
        moving = {"falls": ", still falling", "rises": ", rising"}.get(movement, "")
        text = f"{aligned}: distance {number(last[name])}{moving}{since}."
        yield _verdict(NC3, name, last, text)


def _nc4(run: Run) -> Iterator[Verdict]:
    name = "nc4_agreement"
    last = run.records[-1]
    if name in last and not math.isnan(last[name]):
        differ = 1 - last[name]
        text = (
            "The nearest class mean decides every training sample as the head does."
            if differ == 0
            else f"The nearest class mean decides {share(differ)} of the training samples "
            "otherwise than the head."
        )
        yield _verdict(NC4, name, last, text)


def _margins(run: Run) -> Iterator[Verdict]:
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
    grade = "collapsed" if last["accuracy"] == 1 else "not collapsed"
    if grade == "collapsed" and not margin > 0.9 * margin_ceiling(max(num_classes, 2)):
        grade = "on the way"
    yield Verdict(DECISIONS, grade, " ".join(parts))


def _closest(run: Run) -> str:
    for shot in run.snapshots[-1:]:
        if len(shot.closest_pairs) and len(shot.present) > 2:
            i, j = (int(k) for k in shot.closest_pairs[0, :2])
            rows = torch.nn.functional.normalize(shot.rows[[i, j]], dim=1)
            names = listed([f"“{shot.class_names[k]}”" for k in (i, j)])
            target = -1 / (len(shot.present) - 1)
            return (
                f" Classes {names} are the closest pair, with a cosine of "
                f"{number(float(rows[0] @ rows[1]))} (in the ETF {number(target)})."
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


def _verdict(group: str, name: str, last: Record, text: str) -> Verdict:
    return Verdict(group, READINGS[name].say(float(last[name])), text)
