import math

import pytest

from neuralcollapse.report.html import verdicts
from neuralcollapse.runs import Run, read_run


def run_of(name, *values, **last):
    records = [
        {"epoch": epoch, name: value} for epoch, value in zip((1, 10, 20), values, strict=True)
    ]
    records[-1] |= last
    return Run("run", records)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            (1.0, 0.4, 0.1),
            "Within-class scatter still falls: tr Sw / tr Sb is 0.1, a quarter of wh",
        ),
        (
            (1.0, 0.4, 0.396),
            "Within-class scatter has settled: tr Sw / tr Sb is 0.396, as at epoch",
        ),
        (
            (1.0, 0.4, 0.8),
            "Within-class scatter rises again: tr Sw / tr Sb is 0.8, 2 times what it",
        ),
        ((1.0, 0.4, math.nan), "Within-class scatter: tr Sw / tr Sb is undefined."),
    ],
)
def test_the_movement_of_the_scatter(values, sentence):
    (verdict,) = verdicts(run_of("nc1_trace_ratio", *values))
    assert verdict.text.startswith(sentence)


@pytest.mark.parametrize(
    ("value", "sentence", "grade"),
    [
        (0.05, "The head is aligned with the class means: distance 0.05", "collapsed"),
        (0.3, "The head is not yet aligned with the class means: distance 0.3", "on the way"),
        (1.2, "The head is not aligned with the class means: distance 1.2", "not collapsed"),
    ],
)
def test_the_alignment_of_the_head(value, sentence, grade):
    (verdict,) = verdicts(run_of("nc3_self_duality", 1.0, 1.0, value))
    assert verdict.text.startswith(sentence)
    assert verdict.grade == grade


def test_a_single_measurement_has_no_movement():
    (verdict,) = verdicts(Run("run", [{"epoch": 1, "nc1_trace_ratio": 0.5}]))
    assert verdict.text == "Within-class scatter: tr Sw / tr Sb is 0.5."


def test_wrong_samples_are_counted():
    texts = [v.text for v in verdicts(run_of("accuracy", 0.5, 0.6, 0.75, nc4_agreement=0.9))]
    assert texts == [
        "The nearest class mean decides 10 % of the training samples otherwise than the head.",
        "25 % of the training samples are wrong.",
    ]


def test_the_closest_pair_and_the_weakest_class_are_named(tetrahedron):
    run = read_run(tetrahedron)
    found = {verdict.group: verdict.text for verdict in verdicts(run)}
    shot = run.snapshots[-1]
    i, j = (shot.class_names[int(k)] for k in shot.closest_pairs[0, :2])
    assert f"Classes “{i}” and “{j}” are the closest pair" in found["NC2 simplex ETF"]
    weakest = shot.class_names[int(shot.margin_levels[:, 0].argmin())]
    assert found["Decisions"].endswith(f"Class “{weakest}” has the least one.")
    assert "(in the ETF −0.333)" in found["NC2 simplex ETF"]
