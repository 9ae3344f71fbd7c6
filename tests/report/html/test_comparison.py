"""Several runs on one page: what sets them apart, which is best, and their names and groups."""

import math

import pytest

from neuralcollapse.report.html import render_page
from neuralcollapse.report.html.comparison import (
    called_by_what_differs,
    comparison_data,
    differing,
    numeric_settings,
    setting_groups,
)
from neuralcollapse.runs import Run


def run_of(name, config=None, **last):
    records = [{"epoch": e, "num_classes": 3, "accuracy": 0.5} for e in (1, 2)]
    records[-1] |= last
    return Run(name, records, [], {"config": config} if config else {})


def swept(rates=(0.1, 0.2), seeds=(0, 1), **settings):
    return [
        run_of(f"run-{lr}-{seed}", {"net": "mlp", "lr": lr, "seed": seed, **settings}, accuracy=lr)
        for lr in rates
        for seed in seeds
    ]


def test_what_differs_stands_first_and_what_does_not_is_left_out():
    assert differing(swept()) == {"lr": ["0.1", "0.1", "0.2", "0.2"], "seed": ["0", "1", "0", "1"]}
    table = comparison_data(swept(), [None] * 4)
    assert table.settings == ["lr", "seed"]
    assert table.rows[2][1] == ["0.2", "0"]
    assert table.sentence.startswith("4 runs, which differ in lr and seed.")
    accurate = [run_of(f"run-{s}", {"seed": s}, test_accuracy=s / 8) for s in (1, 2)]
    assert comparison_data(accurate, [None] * 2).sentence.endswith(
        "Highest test accuracy: seed 2 (25.00 %)."  # as the rest of the page calls that run
    )


def test_the_best_is_marked_where_there_is_one():
    runs = [
        run_of("a", nc1_trace_ratio=0.5, accuracy=1.0, test_accuracy=0.9),
        run_of("b", nc1_trace_ratio=0.1, accuracy=1.0, test_accuracy=0.8),
        run_of("c", nc1_trace_ratio=math.nan, accuracy=1.0),
    ]
    table = comparison_data(runs, [None, "3 %", None])
    marks = {
        title: [cells[i].best for _, _, cells in table.rows]
        for i, (title, _) in enumerate(table.metrics)
    }
    assert marks == {
        "NC1": [False, True, False],  # the least
        "accuracy": [False] * 3,  # all the same
        "accuracy, test": [True, False, False],  # the greatest
        "error at most": [False] * 3,  # bounds of one confidence each
    }
    assert [cells[0].text for _, _, cells in table.rows] == ["0.500", "0.100", "–"]
    assert table.sentence == "3 runs. Highest test accuracy: a (90.00 %). Smallest NC1: b (0.100)."


def test_a_column_has_one_precision_and_rounds_nothing_to_all_or_none():
    values = (0.5, 0.98765, 0.999996, 1e-7, 1.0, 0.0)
    table = comparison_data([run_of(str(v), accuracy=v) for v in values], [None] * len(values))
    found = [cells[0].text for _, _, cells in table.rows]
    assert found == ["50.00 %", "98.77 %", "99.9996 %", "0.00001 %", "100 %", "0 %"]


@pytest.mark.parametrize(
    ("runs", "names"),
    [
        (swept((0.1,), (0, 1)), ["seed 0", "seed 1"]),
        (swept((0.1, 0.2), (0,)), ["lr 0.1", "lr 0.2"]),
        ([run_of("a"), run_of("b")], ["a", "b"]),  # nothing is known of them
        ([run_of("a", {"lr": 1}), run_of("b", {"lr": 1})], ["a", "b"]),  # nothing differs
        ([run_of("a", {"x": "long" * 20}), run_of("b", {"x": "b"})], ["a", "b"]),
    ],
)
def test_runs_are_named_by_what_differs(runs, names):
    assert [run.name for run in called_by_what_differs(runs)] == names


def test_seeds_of_one_setting_are_one_group():
    assert setting_groups(swept()) == ([0, 0, 1, 1], ["lr 0.1", "lr 0.2"])
    assert setting_groups(swept((0.1,), (0, 1, 2))) == ([0, 0, 0], ["3 seeds"])
    assert setting_groups(swept(seeds=(0,))) == ([0, 1], ["run-0.1-0", "run-0.2-0"])
    assert setting_groups([run_of("a"), run_of("b")]) == ([0, 1], ["a", "b"])


def test_metrics_are_drawn_over_settings_that_are_numbers():
    other = {"net": "cnn", "lr": None, "seed": 3, "flag": False}
    runs = [*swept(flag=True), run_of("other", other)]
    assert numeric_settings(runs) == {"lr": [0.1, 0.1, 0.2, 0.2, None]}


def test_any_number_of_runs_makes_a_page():
    runs = swept([0.1 * (1 + i) for i in range(10)])
    text = render_page(runs)
    assert text.count('name="shown-') == 20
    assert "<h1>20 runs</h1>" in text
