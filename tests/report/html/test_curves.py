import math
from itertools import pairwise

import pytest

from neuralcollapse.metrics.catalogue import CATALOGUE
from neuralcollapse.metrics.margin_scale import margin_ceiling
from neuralcollapse.report.html.curves import MAX_POINTS, TRAINED, charts, curve_data, grouped
from neuralcollapse.runs import Run, read_run


def test_the_curves_are_the_history(tetrahedron):
    run = read_run(tetrahedron)
    data = curve_data(run)
    assert data["epoch"] == [record["epoch"] for record in run.records]
    assert data["step"] == [record["step"] for record in run.records]
    for name, values in data["series"].items():
        for value, record in zip(values, run.records, strict=True):
            assert value == pytest.approx(record[name], rel=1e-4)


def test_every_metric_has_a_chart_and_test_data_no_head(tetrahedron):
    run = read_run(tetrahedron)
    found = charts([run])
    # Four classes fit a simplex, so nothing is held against a code.
    measured = [name for name in CATALOGUE if not name.endswith(("_code", "_code_proved"))]
    assert set(measured) == CATALOGUE.keys() & run.records[-1].keys()
    assert [chart["name"] for chart in found] == [*measured, *TRAINED]
    assert sum(len(group["charts"]) for group in grouped(found)) == len(found)
    series = curve_data(run)["series"]
    assert "test_nc2_etf" in series
    assert "nc2_etf_head" in series
    assert "test_nc2_etf_head" not in series
    targets = {chart["name"]: chart["targets"] for chart in found}
    assert targets["margin_normalized"] == pytest.approx([margin_ceiling(4)], rel=1e-4)
    assert (targets["nc2_etf"], targets["accuracy"], targets["lr"]) == ([0.0], [1.0], [])


def test_what_is_not_finite_is_left_open():
    values = (math.nan, math.inf, 0.5, "text")
    records = [{"epoch": e, "cdnv": value} for e, value in enumerate(values)]
    data = curve_data(Run("run", records))
    assert data["series"]["cdnv"] == [None, None, 0.5, None]
    assert data["step"] is None


def test_long_histories_are_thinned_at_both_ends_of_time():
    records = [{"epoch": e, "step": e, "cdnv": 1 / e, "accuracy": 1.0} for e in range(1, 20001)]
    data = curve_data(Run("run", records))
    epochs = data["epoch"]
    assert len(epochs) <= MAX_POINTS
    assert epochs[:20] == list(range(1, 21))  # log time
    assert epochs[-1] == 20000
    assert max(b - a for a, b in pairwise(epochs)) <= 30  # even time
    assert data["fitted"] == 1
