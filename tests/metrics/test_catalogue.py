"""One row of the catalogue is enough: report, record, logger, page, figure, citation follow."""

import pytest
import torch
from torch import nn

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.catalogue import CATALOGUE, GROUPS
from neuralcollapse.metrics.rows import NC1
from neuralcollapse.metrics.setting import Setting
from neuralcollapse.report import collapse_figure
from neuralcollapse.report.html import render_page
from neuralcollapse.runs import append_record, read_history, read_runs


def widest(measured):
    spread = measured.moments.trace_variances
    return float(spread.max() / spread.mean()) - 1


@pytest.fixture
def mine():
    metric = nc.metrics.Metric(
        "widest_class",
        NC1,
        "widest class over the mean",
        "max v / mean v − 1",
        target=0.0,
        chance=lambda setting: 0.5,
        grade=0.01,
        cites=("@misc{me2026,\n  title = {Mine},\n}",),
        value=widest,
        note="is one class wider than the others?",
        label="widest",
    )
    nc.metrics.register(metric)
    yield metric
    del CATALOGUE[metric.name]


def data():
    torch.manual_seed(0)
    return [(torch.randn(30, 2), torch.arange(30) % 3) for _ in range(4)]


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))


def test_a_registered_metric_is_everywhere(mine, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    logged = {}
    with nc.watch(
        network(),
        data(),
        test_loader=data(),
        history=tmp_path,
        log=lambda values, step: logged.update(values),
    ) as watched:
        for _ in range(3):
            watched.epoch_end()
    report = nc.measure(network(), data(), progress=False)
    assert report["widest_class"] == pytest.approx(widest(report.train))
    assert "max v / mean v − 1" in str(report)
    assert report.to_frame().loc["widest_class", "chance"] == 0.5
    assert watched.records[-1]["widest_class"] == report["widest_class"]
    assert {"collapse/widest_class", "collapse/test_widest_class"} <= set(logged)
    assert "widest_class" in render_page(read_runs([tmp_path]))
    drawn = collapse_figure(read_history(tmp_path)).axes[0]
    assert "widest" in [line.get_label() for line in drawn.lines]
    assert nc.cite("test_widest_class").startswith("@misc{me2026")
    metric = nc.CollapseMetrics(3, 2)
    metric.update(torch.randn(9, 2), torch.arange(9) % 3)
    assert "widest_class" in metric.compute()


def test_a_function_for_one_call(tmp_path):
    own = {"widest": widest}
    report = nc.measure(network(), data(), test_loader=data(), metrics=own, progress=False)
    assert report["widest"] == report["test_widest"] == pytest.approx(widest(report.train))
    assert "widest" in str(report)
    assert report.reading("widest").grade == ""
    assert "widest" not in nc.measure(network(), data(), progress=False)
    watched = nc.watch(network(), data(), history=tmp_path, metrics=own)
    assert watched.epoch_end()["widest"] == report["widest"]
    assert '"widest"' in render_page(read_runs([tmp_path]))
    labels = torch.arange(30) % 3
    features = torch.randn(30, 2)
    assert nc.measure_features(features, labels, metrics=own)["widest"] >= 0
    observed = nc.watch(network(), data(), mode="batches", metrics=own)
    for inputs, _ in observed.batches():
        observed._model(inputs)
    assert "widest" in observed.epoch_end()


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"vci": widest}, "names not yet in use.*'vci'"),
        ({"mine": 3}, "functions of what was measured"),
        ({"mine": lambda measured: torch.ones(2)}, "one number, got Tensor"),
        ({"test_mine": widest}, "does not begin with test_"),
    ],
)
def test_what_is_no_metric_is_refused(metrics, message):
    with pytest.raises(NeuralCollapseError, match=message):
        nc.measure_features(torch.randn(9, 2), torch.arange(9) % 3, metrics=metrics)


def test_a_taken_name_is_not_registered():
    with pytest.raises(NeuralCollapseError, match="a name not yet in use, got 'vci'"):
        nc.metrics.register(nc.metrics.Metric("vci", value=widest))
    with pytest.raises(NeuralCollapseError, match="a function, got none"):
        nc.metrics.register(nc.metrics.Metric("new_one"))


def test_every_row_is_whole():
    setting = Setting((30, 20, 20, 10), dim=16, head_rows=4, bias=True)
    for metric in CATALOGUE.values():
        assert metric.group in GROUPS
        assert metric.formula
        assert metric.note
        assert metric.caveat
        if metric.kind == "distance":
            assert metric.best(setting) == 0
            assert metric.chance(setting).value > metric.best(setting)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1e-5, "collapsed"),
        (0.05, "on the way"),
        (3.0, "no better than chance"),
        (float("inf"), "no better than chance"),
        (float("nan"), "undefined"),
    ],
)
def test_the_grades_of_a_spread(value, words):
    setting = Setting((10,) * 10, dim=50)  # nc1_pinv is 2.03 by chance
    reading = CATALOGUE["nc1_pinv"].read(value, setting)
    assert reading.words == words
    assert reading.target in (0, None)


def test_a_value_of_unknown_origin_is_not_graded():
    assert CATALOGUE["nc1_pinv"].read(1e-9).grade == ""


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("accuracy", 1.0, "all right"),
        ("accuracy", 0.5, "50 % wrong"),
        ("accuracy", 1 - 1e-7, "0.00001 % wrong"),
        ("nc4_agreement", 1.0, "collapsed"),
        ("nc4_agreement", 0.9, "10 % decided otherwise"),
        ("margin_min", -1.0, "a sample is wrong"),
        ("margin_normalized", 0.1, "every sample is right"),
        ("margin_collapse_ratio", 0.99, "collapsed"),
        ("margin_collapse_ratio", 0.5, "every sample is right"),
        ("accuracy", float("nan"), "undefined"),
    ],
)
def test_the_words_of_shares_and_margins(name, value, words):
    assert CATALOGUE[name].read(value, Setting((500,) * 10, dim=50)).words == words


def test_a_setting_survives_a_record(tmp_path):
    setting = Setting((10, 20, 20, 30), dim=16, head_rows=5, bias=True, fresh=True)
    append_record(tmp_path / "history.jsonl", {"epoch": 1, "setting": setting.to_record()})
    (record,) = read_history(tmp_path)
    assert Setting.from_record(record["setting"], {}) == setting
