"""A run in one table and a few sentences: where collapse stood, when, and what that means."""

from __future__ import annotations

import math
from collections.abc import Sequence

from neuralcollapse.measurement.readings import record_reading
from neuralcollapse.metrics.catalogue import CATALOGUE, metric_named
from neuralcollapse.report.plots import interpolation_epoch
from neuralcollapse.runs.record import Record
from neuralcollapse.tables import SIMPLE_HEAD, Table, Text
from neuralcollapse.wording import share

FITTED = "100 % train accuracy"


def milestones(records: Sequence[Record]) -> dict[str, Record]:
    """Return the first record, the one where the training data is fitted, and the last.

    Parameters
    ----------
    records
        Of a run, at least one, in order of epochs.

    Returns
    -------
    dict of str to dict
        Record by name; without `FITTED` if it is never reached.

    Examples
    --------
    >>> from neuralcollapse.report import milestones
    >>> list(milestones([{"epoch": 1, "accuracy": 0.5}, {"epoch": 2, "accuracy": 0.9}]))
    ['first', 'last']
    """
    stages = {"first": records[0]}
    fitted = interpolation_epoch(records)
    if fitted is not None:
        stages[FITTED] = next(record for record in records if record["epoch"] == fitted)
    return stages | {"last": records[-1]}


def summary_table(records: Sequence[Record]) -> Table:
    """Return the collapse of a run at its milestones, as a table for the terminal.

    Parameters
    ----------
    records
        Of `read_history` or `train`, at least one.

    Examples
    --------
    >>> import rich
    >>> from neuralcollapse.report import summary_table
    >>> records = [{"epoch": 1, "accuracy": 0.5}, {"epoch": 2, "accuracy": 0.9}]
    >>> rich.print(summary_table(records))
    <BLANKLINE>
                         first     last
     on training data  epoch 1  epoch 2  at the end
     ──────────────────────────────────────────────
     Decisions
      accuracy            50 %     90 %  10 % wrong
    <BLANKLINE>
    """
    stages = milestones(records)
    table = Table(box=SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("on training data", no_wrap=True)
    for name, record in stages.items():
        heading = "100 % right" if name == FITTED else name
        table.add_column(f"{heading}\nepoch {record['epoch']}", justify="right")
    table.add_column("at the end")
    group = ""
    for key in (*CATALOGUE, "test_accuracy"):
        if not any(key in record for record in stages.values()):
            continue
        metric = metric_named(key)
        if metric.group != group:
            table.add_row(Text(metric.group, style="bold"))
            group = metric.group
        values = [_number(key, record.get(key, math.nan)) for record in stages.values()]
        words = record_reading(records[-1], key).words if key in records[-1] else ""
        table.add_row(f" {key}", *values, Text(words))
    return table


def summary_text(records: Sequence[Record]) -> str:
    """Say in a few sentences what happened in a run.

    Parameters
    ----------
    records
        Of `read_history` or `train`, at least one.

    Examples
    --------
    >>> from neuralcollapse.report import summary_text
    >>> summary_text([{"epoch": 1, "accuracy": 0.5}, {"epoch": 2, "accuracy": 1.0}])
    'Every training sample is right for the first time at epoch 2.'
    """
    last = records[-1]
    fitted = milestones(records).get(FITTED)
    if fitted is None:
        start = records[0]
        sentences = [
            f"The network never fitted all training data (best {share(_best(records))}), the state "
            "that collapse is about; train longer, or with less weight decay."
        ]
    else:
        start = fitted
        sentences = [
            f"Every training sample is right for the first time at epoch {start['epoch']}."
        ]
    if last is not start and {"nc1_pinv", "nc2_etf", "nc3_self_duality"} <= {*start} & {*last}:
        before, now = start["nc1_pinv"], last["nc1_pinv"]
        falls = before > 1.05 * now > 0  # 1.0-fold is no fall
        change = f"fell {_rounded(before / now)}-fold" if falls else f"went to {now:.2g}"
        sentences.append(
            f"From there to epoch {last['epoch']} the within-class variability (NC1) {change}, the "
            f"distance of the class means from a simplex ETF went from {start['nc2_etf']:.2g} to "
            f"{last['nc2_etf']:.2g} (NC2), and that of the head from the class means from "
            f"{start['nc3_self_duality']:.2g} to {last['nc3_self_duality']:.2g} (NC3)."
        )
    if "nc4_agreement" not in last:
        return " ".join(sentences)
    disagreement = 1 - last["nc4_agreement"]
    sentences.append(
        "The nearest class mean decides every training sample as the head does (NC4)."
        if disagreement == 0
        else f"The nearest class mean decides {share(disagreement)} of the training samples "
        "otherwise than the head (NC4)."
    )
    return " ".join(sentences)


def _best(records: Sequence[Record]) -> float:
    return max((record["accuracy"] for record in records if "accuracy" in record), default=math.nan)


def _rounded(factor: float) -> str:
    return f"{factor:,.0f}" if factor >= 10 else f"{factor:.1f}"


def _number(key: str, value: float) -> str:
    if math.isnan(value):
        return "undefined"
    return share(value) if metric_named(key).kind == "share" else f"{value:.2g}"
