"""The alarms of a run: what rang, when, and what it said last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from neuralcollapse.runs.run import Run


@dataclass(frozen=True)
class RungAlarm:
    """One kind of alarm that rang: what it said last, when it rang, and whether it still does."""

    title: str
    text: str
    when: str
    rings: bool


def alarm_data(run: Run) -> list[RungAlarm] | None:
    """Return one row an alarm that rang, those that ring at the end first.

    Parameters
    ----------
    run
        At least one record.

    Returns
    -------
    list of RungAlarm or None
        None if the run recorded no alarms.

    Examples
    --------
    >>> records = [{"epoch": e, "alarms": {"loss_of_rank": "few"} if e > 2 else {}} for e in (1, 3)]
    >>> alarm_data(Run("run", records))
    [RungAlarm(title='loss of rank', text='few', when='since epoch 3', rings=True)]
    """
    told = [record for record in run.records if "alarms" in record]
    if not told:
        return None
    rows = []
    for kind in dict.fromkeys(kind for record in told for kind in record["alarms"]):
        rang = [record for record in told if kind in record["alarms"]]
        rings = rang[-1] is told[-1]
        title = kind.replace("_", " ")
        text = rang[-1]["alarms"][kind].removeprefix(f"{title}: ")
        rows.append(RungAlarm(title, text, _when(told, rang, rings), rings))
    return sorted(rows, key=lambda row: not row.rings)


def _when(told: list[dict[str, Any]], rang: list[dict[str, Any]], rings: bool) -> str:
    """Say when an alarm rang; where it paused, how often."""
    first, last = rang[0]["epoch"], rang[-1]["epoch"]
    between = [record for record in told if first <= record["epoch"] <= last]
    if len(between) > len(rang):
        return f"at {len(rang)} of {len(told)} measurements, last at epoch {last:g}"
    if rings:
        return f"since epoch {first:g}"
    return f"at epoch {first:g}" if first == last else f"epochs {first:g} to {last:g}"
