import math
import re

import pytest
import torch

from made_up_run import write_run
from neuralcollapse.metrics.setting import Setting
from neuralcollapse.plain_text import brief
from neuralcollapse.report.html import verdicts
from neuralcollapse.report.html.verdicts import LONGEST, departures_at_end, reading_at_end
from neuralcollapse.runs import Run, read_run
from neuralcollapse.wording import number


def run_of(name, *values, **last):
    setting = Setting((100,) * 4, dim=8).to_record()
    records = [
        {"epoch": epoch, name: value, "setting": setting}
        for epoch, value in zip((1, 10, 20), values, strict=True)
    ]
    records[-1] |= last
    return Run("run", records)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            (1.0, 0.4, 0.1),
            "Within-class scatter still falls: tr Σ_W / tr Σ_B is 0.1, a quarter of ",
        ),
        (
            (1.0, 0.4, 0.396),
            "Within-class scatter has settled: tr Σ_W / tr Σ_B is 0.396, as at ep",
        ),
        (
            (1.0, 0.4, 0.8),
            "Within-class scatter rises again: tr Σ_W / tr Σ_B is 0.8, 2 times wha",
        ),
        ((1.0, 0.4, math.nan), "Within-class scatter: tr Σ_W / tr Σ_B is undefined."),
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
        (
            1.2,
            "The head is not clearly nearer to the class means than a random ",
            "no better than chance",
        ),
    ],
)
def test_the_alignment_of_the_head(value, sentence, grade):
    (verdict,) = verdicts(run_of("nc3_self_duality", 1.0, 1.0, value))
    assert verdict.text.startswith(sentence)
    assert verdict.grade == grade


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (0.05, "The head is aligned with the class means more closely than is predicted for thes"),
        (0.5, "The head is not yet aligned with the class means as is predicted for these class"),
    ],
)
def test_the_head_of_unequal_classes_is_held_against_their_own_target(tmp_path, value, sentence):
    run = read_run(write_run(tmp_path / "run", epochs=2, snapshots=1, sizes=[60, 40, 20, 6]))
    run.records[-1]["nc3_self_duality"] = value
    (text,) = (found.text for found in verdicts(run) if found.group.startswith("NC3"))
    assert text.startswith(sentence)
    target = number(reading_at_end(run, "nc3_self_duality")[0].target)
    assert f"(predicted {target}, by chance " in text
    assert f"{number(departures_at_end(run)['nc3_self_duality'].distance)} from the shape" in text


def test_a_head_that_is_farther_than_predicted_is_not_said_to_be_as_near(tmp_path):
    run = read_run(write_run(tmp_path / "run", epochs=2, snapshots=1, sizes=[60, 59, 58, 57]))
    run.records[-1]["nc3_self_duality"] = 0.05
    (text,) = (found.text for found in verdicts(run) if found.group.startswith("NC3"))
    assert reading_at_end(run, "nc3_self_duality")[0].target < 0.01
    assert text.startswith("The head is aligned with the class means")
    assert ", nearly as is predicted for these class sizes: distance 0.05," in text


def test_of_a_long_name_both_ends_are_told(tmp_path):
    names = ["a-name-of-a-class-without-any-place-to-break-it-" + letter * 30 for letter in "abcd"]
    run = read_run(write_run(tmp_path / "run", epochs=2, snapshots=1, class_names=names))
    texts = " ".join(found.text for found in verdicts(run))
    quoted = re.findall("“(.*?)”", texts)
    assert len(quoted) == 3  # the closest pair, and the weakest class
    assert all(re.fullmatch(r"a-name-of-a-cla…([a-d])\1{13}", name) for name in quoted)


def test_a_single_measurement_has_no_movement():
    (verdict,) = verdicts(Run("run", [{"epoch": 1, "nc1_trace_ratio": 0.5}]))
    assert verdict.text == "Within-class scatter: tr Σ_W / tr Σ_B is 0.5."
    assert verdict.grade == "not graded"  # nothing tells what chance would give


def test_wrong_samples_are_counted():
    texts = [v.text for v in verdicts(run_of("accuracy", 0.5, 0.6, 0.75, nc4_agreement=0.9))]
    assert texts == [
        "The nearest class mean decides 10 % of the training samples otherwise than the head.",
        "25 % of the training samples are wrong.",
    ]


@pytest.mark.parametrize(("dim", "end"), [(9, "; at collapse it is 1.11."), (8, " is 0.5.")])
def test_margins_are_held_against_a_ceiling_only_where_a_simplex_fits(dim, end):
    setting = Setting((100,) * 10, dim=dim).to_record()
    values = {"accuracy": 1.0, "margin_normalized": 0.5, "margin_collapse_ratio": 0.45}
    (found,) = verdicts(Run("run", [{"epoch": 1, "setting": setting, **values}]))
    assert found.text.startswith("Every training sample is right. ")
    assert found.text.endswith(end)
    assert found.grade == ("on the way" if dim == 9 else "fitted")


def test_the_closest_pair_is_held_against_an_etf_only_where_one_fits(tmp_path):
    for dim, fits in ((3, True), (2, False)):
        (found,) = (
            verdict.text
            for verdict in verdicts(read_run(write_run(tmp_path / str(dim), dim=dim, epochs=2)))
            if verdict.group.startswith("NC2")
        )
        assert "closest pair" in found
        assert ("(in the ETF −0.333)" in found) is fits


def test_the_closest_pair_and_the_weakest_class_are_named(tetrahedron):
    run = read_run(tetrahedron)
    found = {verdict.group: verdict.text for verdict in verdicts(run)}
    shot = run.snapshots[-1]
    cosines = torch.nn.functional.cosine_similarity(shot.rows[:, None], shot.rows[None], dim=-1)
    i, j = divmod(int(cosines.fill_diagonal_(-2).argmax()), 4)
    names = " and ".join(f"“{brief(shot.class_names[k], LONGEST)}”" for k in (i, j))
    assert f"Classes {names} are the closest pair, with a cosine of" in found["NC2 simplex ETF"]
    weakest = brief(shot.class_names[int(shot.margin_levels[:, 0].argmin())], LONGEST)
    assert found["Decisions"].endswith(f"Class “{weakest}” has the smallest.")
    assert "(in the ETF −0.333)" in found["NC2 simplex ETF"]
