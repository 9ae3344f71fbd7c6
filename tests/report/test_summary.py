import math

import pytest
from rich.console import Console
from rich.table import Table

from neuralcollapse.metrics.setting import Setting
from neuralcollapse.report import milestones, summary_table, summary_text

KEYS = [
    "nc1_pinv",
    "nc1_trace_ratio",
    "nc2_equinorm",
    "nc2_equiangular",
    "nc2_etf",
    "nc2_etf_head",
    "nc3_self_duality",
    "margin_normalized",
]


def record(epoch, accuracy, value, agreement=1.0):
    numbers = dict.fromkeys(KEYS, value)
    shares = {"nc4_agreement": agreement, "accuracy": accuracy, "test_accuracy": accuracy - 0.01}
    setting = Setting((100,) * 4, dim=8).to_record()
    return {"epoch": epoch, **numbers, **shares, "setting": setting, "test_setting": setting}


RUN = [record(1, 0.5, 0.8), record(2, 1.0, 0.4), record(3, 0.9, 0.3), record(9, 1.0, 0.0004)]


def shown(table: Table) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_milestones_of_runs_long_and_short():
    assert {name: r["epoch"] for name, r in milestones(RUN).items()} == {
        "first": 1,
        "100 % train accuracy": 2,
        "last": 9,
    }
    assert list(milestones(RUN[:1])) == ["first", "last"]


def test_the_table_fits_a_terminal_and_shows_every_milestone():
    lines = shown(summary_table(RUN)).splitlines()
    assert max(map(len, lines)) <= 80
    (row,) = [line for line in lines if line.split()[:1] == ["nc1_pinv"]]
    assert row.split()[-4:] == ["0.8", "0.4", "0.0004", "collapsed"]
    assert not [line for line in lines if "…" in line]
    assert [line.split() for line in lines if line.strip().startswith("test_accuracy")] == [
        ["test_accuracy", "49", "%", "99", "%", "99", "%", "1", "%", "wrong"]
    ]


def test_undefined_values_are_said_to_be():
    assert "undefined" in shown(summary_table([*RUN, record(10, 1.0, math.nan)]))


@pytest.mark.parametrize(
    ("records", "sentences"),
    [
        (RUN, ["first time at epoch 2.", "(NC1) fell 1,000-fold", "from 0.4 to 0.0004 (NC2)"]),
        (RUN, ["decides every training sample as the head does"]),
        (RUN[:2], ["first time at epoch 2."]),
        (RUN[:1], ["never fitted all training data (best 50 %)"]),
        ([record(1, 0.5, 0.1), record(2, 0.6, 0.2, 0.75)], ["(NC1) went to 0.2", "25 % of the"]),
    ],
)
def test_the_sentences(records, sentences):
    text = summary_text(records)
    for sentence in sentences:
        assert sentence in text


def test_a_change_that_rounds_away_is_no_fall():
    told = summary_text([record(1, 1.0, 0.51), record(9, 1.0, 0.5)])
    assert "(NC1) went to 0.5," in told
