"""The first screen: its sentence, its numbers and its bars say what the records say."""

import math
from types import SimpleNamespace

import pytest

from made_up_run import write_run
from neuralcollapse.measurement.readings import ALONE, TRAINED
from neuralcollapse.metrics.setting import Setting
from neuralcollapse.report.html.cards import HEIGHT, WIDTH, cards, figures, lead
from neuralcollapse.report.html.verdicts import departures_at_end
from neuralcollapse.runs import Run, read_run
from neuralcollapse.wording import number

CERTIFIED = SimpleNamespace(upper="3 %", confidence="95 %")
SETTING = Setting((100,) * 10, dim=64).to_record()


def record(epoch=10, **values):
    return {"epoch": epoch, "setting": SETTING, "test_setting": SETTING} | values


COLLAPSED = {
    "nc1_trace_ratio": 1e-4,
    "nc2_etf": 1e-3,
    "nc3_self_duality": 1e-3,
    "nc4_agreement": 1.0,
    "accuracy": 1.0,
}


def run_of(**values):
    return Run("run", [record(**values)])


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (COLLAPSED, "On training data NC1, NC2, NC3 and NC4 have collapsed."),
        (
            COLLAPSED | {"test_nc1_trace_ratio": 2e-2},
            "On training data NC1, NC2, NC3 and NC4 have collapsed. "
            "Test data does not follow: there NC1 is 200 times larger.",
        ),
        (
            COLLAPSED | {"nc2_etf": 0.05, "test_nc1_trace_ratio": 3e-4},
            "On training data NC1, NC3 and NC4 have collapsed, NC2 is on the way. "
            "On test data NC1 is 3 times larger.",
        ),
        ({"nc1_trace_ratio": 110.0}, "On training data NC1 is no better than chance."),
        (COLLAPSED | {"nc4_agreement": math.nan}, "NC1, NC2 and NC3 have collapsed."),
    ],
)
def test_the_first_sentence_says_what_collapsed_and_where(values, sentence):
    said = lead(run_of(**values), None)
    assert said == sentence or said == f"On training data {sentence}"
    certified = lead(run_of(**values), CERTIFIED)
    assert certified.startswith(said)
    assert "at most 3 %, at 95 % confidence, if the test data chose nothing." in certified


@pytest.mark.untyped
def test_three_numbers_say_most():
    run = run_of(**COLLAPSED, test_accuracy=0.9, test_nc1_trace_ratio=2e-2)
    assert figures(run, CERTIFIED) == [
        ("90 %", "accuracy on test data; on training data 100 %"),
        ("200 ×", "NC1 on test data, relative to training data"),
        ("≤ 3 %", "error on new data, at 95 % confidence, if the test data chose nothing"),
    ]
    assert figures(run_of(nc1_trace_ratio=0.0, test_nc1_trace_ratio=1.0), None) == []


def test_the_bar_of_unequal_classes_is_about_the_shape_predicted(tmp_path):
    run = read_run(write_run(tmp_path / "run", epochs=2, snapshots=1, sizes=[30, 12, 9, 6]))
    (card,) = (card for card in cards(run) if card.standing.group.startswith("NC2"))
    departure = departures_at_end(run)["nc2_etf"]
    assert card.bar.target == "the shape predicted"
    assert card.bar.chance == f"chance {number(departure.chance.value)}"
    assert card.bar.at.keys() == {"train"}  # none is known of test data
    assert f"from that shape {number(departure.distance)} (by chance " in card.standing.text
    assert number(run.records[-1]["nc2_etf"]) == card.values["train"]


def test_bars_stand_between_chance_and_target():
    (found,) = (c for c in cards(run_of(**COLLAPSED)) if c.standing.group.startswith("NC1"))
    chance = 99 * 10 / 9  # (n - 1) K / (K - 1), nearly, of features without classes
    whole = -math.log10(1e-4 / chance)
    assert found.bar.at["train"] == pytest.approx(whole / math.ceil(whole), abs=0.01)
    assert found.bar.half < found.bar.tenth < found.bar.at["train"]
    noise, _ = cards(run_of(nc1_trace_ratio=2 * chance, accuracy=0.5))
    assert noise.bar.at["train"] == 0
    assert "Train until every training sample is right" in noise.advice
    assert cards(Run("run", [{"epoch": 1, "nc1_trace_ratio": 0.5}]))[0].bar is None


def test_what_collapsed_on_training_data_alone_is_called_so():
    run = run_of(**COLLAPSED, test_nc1_trace_ratio=2e-2, test_nc4_agreement=1.0)
    found = {card.standing.group[:3]: card for card in cards(run)}
    assert {found[name].standing.grade for name in ("NC1", "NC2", "NC3")} == {ALONE}
    assert found["NC4"].standing.grade == TRAINED  # which test data reaches, too
    behind = run_of(**COLLAPSED, test_nc1_trace_ratio=2e-2, test_nc4_agreement=0.9)
    assert {card.standing.grade for card in cards(behind)} == {ALONE, "fitted"}
    assert found["NC4"].advice.startswith("Judge the network by its test data")
    assert "200 times larger: what collapsed is the training data" in found["NC1"].standing.text
    words = {name: found[name].standing.text for name in ("NC2", "NC3")}
    assert words["NC2"].startswith("The class means of the training data form a simplex ETF: dist")
    assert words["NC3"].startswith("The head is aligned with the class means of the training data")
    near = run_of(**COLLAPSED, test_nc1_trace_ratio=2e-4)
    assert {card.standing.grade for card in cards(near)} >= {"collapsed"}


def test_a_ratio_of_another_measure_is_not_told_as_that_of_the_numbers_beside_it():
    run = run_of(
        **COLLAPSED, test_nc1_trace_ratio=1.16e-2, cdnv=1e-4, test_cdnv=1.5e-2, test_accuracy=0.9
    )
    clearest = "150 times larger by the measure of it that differs most"
    (card,) = (card for card in cards(run) if card.standing.group.startswith("NC1"))
    assert f"On test data NC1 is {clearest}" in card.standing.text
    assert card.advice.endswith(f"there NC1 is {clearest}.")
    assert f"NC1 is {clearest}" in lead(run, None)
    assert (
        "150 ×",
        "NC1 on test data, relative to training data, by the measure of it that differs most",
    ) in figures(run, None)


def test_what_has_not_collapsed_is_not_said_to_have():
    on_the_way = {"nc1_trace_ratio": 0.3, "test_nc1_trace_ratio": 90.0}
    (card,) = cards(run_of(**on_the_way))
    assert card.standing.grade == "on the way"
    assert card.standing.text.endswith("On test data NC1 is 300 times larger.")
    assert lead(run_of(**on_the_way), None).endswith("On test data NC1 is 300 times larger.")
    (ungraded,) = cards(Run("run", [{"epoch": 1, **on_the_way}]))
    assert ungraded.standing.grade == "not graded"
    assert "collapsed" not in ungraded.standing.text


def test_advice_rests_on_what_was_measured():
    unknown = cards(run_of(nc1_trace_ratio=300.0))[0]  # of samples that no head decided
    assert unknown.standing.grade == "no better than chance"
    assert unknown.advice == ""
    assert "Train until" in cards(run_of(nc1_trace_ratio=300.0, accuracy=0.9))[0].advice
    assert "head=" in cards(run_of(nc1_trace_ratio=300.0, accuracy=1.0))[0].advice
    once = cards(run_of(nc4_agreement=0.9))[0]
    again = cards(Run("run", [record(1), record(2, nc4_agreement=0.9)]))[0]
    assert once.advice == ""
    assert again.advice.startswith("See when the nearest mean began")
    unfitted = run_of(nc1_trace_ratio=0.3, test_nc1_trace_ratio=30.0, accuracy=0.01)
    assert cards(unfitted)[0].advice.startswith("Train until every training sample is right")
    two = {"num_classes": 2, "setting": Setting((50, 50), dim=5).to_record()}
    (pair,) = cards(Run("run", [{"epoch": 1, "nc2_etf": 0.0, **two}]))
    assert pair.standing.grade == "not graded"
    assert pair.advice == ""


def test_curves_of_training_and_test_data_share_one_scale():
    records = [
        record(e, nc1_trace_ratio=10.0**-e, test_nc1_trace_ratio=10.0 ** (-e / 2))
        for e in range(1, 5)
    ]
    (card,) = cards(Run("run", records))
    drawn = {
        data: [tuple(map(float, point.split())) for point in path[1:].split("L")]
        for data, path in card.spark.items()
    }
    assert [x for x, _ in drawn["train"]] == pytest.approx(
        [WIDTH * i / 3 for i in range(4)], abs=0.1
    )
    falls = {data: points[-1][1] - points[0][1] for data, points in drawn.items()}
    assert falls["train"] == pytest.approx(2 * falls["test"], abs=0.2)  # in decades
    assert all(0 <= y <= HEIGHT for points in drawn.values() for _, y in points)
    assert "Judge the network by its test data" in card.advice
    assert card.values == {"train": "0.0001", "test": "0.01"}


def test_the_curve_of_a_share_rises_as_it_does():
    records = [record(e, nc4_agreement=1 - 10.0**-e) for e in range(1, 5)]
    (card,) = cards(Run("run", records))
    heights = [float(point.split()[1]) for point in card.spark["train"][1:].split("L")]
    assert heights == sorted(heights, reverse=True)  # pixels count from the top
    assert heights[0] - heights[-1] > HEIGHT / 2
