import pytest

from neuralcollapse.report.html import render_page
from neuralcollapse.report.html.alarms import alarm_data
from neuralcollapse.report.html.layers import layer_data
from neuralcollapse.runs import Run


def run_of(rang, last=6):
    """A run in which one alarm rang at these epochs."""
    return Run(
        "run",
        [
            {"epoch": e, "alarms": {"low_recall": f"class <b> at {e}"} if e in rang else {}}
            for e in range(1, last + 1)
        ],
    )


@pytest.mark.parametrize(
    ("rang", "when", "rings"),
    [
        ([6], "since epoch 6", True),
        ([4, 5, 6], "since epoch 4", True),
        ([3], "at epoch 3", False),
        ([2, 3, 4], "epochs 2 to 4", False),
        ([1, 3, 6], "at 3 of 6 measurements, last at epoch 6", True),
    ],
)
def test_when_an_alarm_rang(rang, when, rings):
    (row,) = alarm_data(run_of(rang))
    assert (row.when, row.rings) == (when, rings)
    assert row.text == f"class <b> at {rang[-1]}"


def test_an_alarm_says_its_name_once():
    records = [{"epoch": 1, "alarms": {"loss_of_rank": "loss of rank: few directions"}}]
    (row,) = alarm_data(Run("run", records))
    assert (row.title, row.text) == ("loss of rank", "few directions")


def test_what_rings_at_the_end_comes_first():
    records = [
        {"epoch": 1, "alarms": {"overfitting": "a"}},
        {"epoch": 2, "alarms": {"loss_of_rank": "b"}},
    ]
    assert [row.title for row in alarm_data(Run("run", records))] == [
        "loss of rank", "overfitting",
    ]  # fmt: skip


def test_the_page_says_what_rang_that_none_did_or_that_none_is_known():
    assert "class &lt;b&gt; at 6" in render_page([run_of([6])])
    assert "None rang." in render_page([run_of([])])
    unknown = [Run(name, [{"epoch": 1}]) for name in "ab"]
    assert render_page(unknown).count("Whether an alarm rang was not recorded") == 1


def test_layers_beside_what_they_were():
    records = [
        {"epoch": 1, "layers": {"a": {"cdnv": 2.0, "test_cdnv": 3.0}}},
        {"epoch": 5, "layers": {"a": {"cdnv": 0.5, "test_cdnv": 1.0}, "b": {"cdnv": 0.25}}},
    ]
    found = layer_data(Run("run", records))
    assert (found.first, found.epoch, len(found.columns)) == (1, 5, 1)
    assert found.rows == {
        "a": [{"then": "2", "now": "0.5", "test": "1"}],
        "b": [{"then": "undefined", "now": "0.25", "test": None}],
    }
    assert layer_data(run_of([])) is None
