"""Names from anywhere: no figure reads them as a formula, no terminal gets them raw."""

import math
import warnings

import pytest
import torch

import neuralcollapse as nc
from cli_runner import run
from neuralcollapse.generalization import error_certificate
from neuralcollapse.measurement import measure_features
from neuralcollapse.measurement.layer_profile import LayerProfile, LayerValues
from neuralcollapse.plain_text import plain
from neuralcollapse.report import plot_history
from neuralcollapse.runs import read_history
from neuralcollapse.runs.alarms.situation import Situation
from neuralcollapse.training import DATASETS, from_torch

NAMES = ["$\\frac$", "\x1b[31mred\x07", "\u202eexe.", "a\nb", "$x_$"]
LABELS = torch.arange(40) % 5


@pytest.fixture(scope="module")
def report():
    generator = torch.Generator().manual_seed(0)
    features = 3 * torch.eye(5)[LABELS] + torch.randn(40, 5, generator=generator)
    return measure_features(
        features, LABELS, torch.eye(5), class_names=NAMES,
        test_features=features, test_labels=LABELS,
    )  # fmt: skip


def is_plain(text):
    return text == plain(text, keep="\n")


def test_figures_show_names_as_they_are(report, tmp_path):
    margins, labels = report.test.state.margins, report.test.state.labels
    layers = tuple(LayerValues(name, 5, 1.0, 0.5, 0.5, 2.0, math.nan) for name in NAMES)
    certificate = error_certificate(margins, labels=labels, class_names=NAMES)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        for number, drawn in enumerate((report, certificate, LayerProfile(layers, 40, 5))):
            drawing = drawn.plot(tmp_path / f"{number}.png")
            texts = [text.get_text() for text in drawing.findobj(lambda a: hasattr(a, "get_text"))]
            assert any("frac" in text for text in texts)
            assert all(map(is_plain, texts))


def test_a_history_with_such_names_is_drawn(tmp_path, tetrahedron):
    assert len(plot_history(read_history(tetrahedron), tmp_path)) == 3


def test_reports_and_commands_are_plain(report, tmp_path, monkeypatch):
    assert is_plain(str(report).replace("\u2500", ""))
    images = torch.utils.data.TensorDataset(torch.randn(10, 1, 4, 4), torch.arange(10) % 5)
    data = from_torch(images, images, class_names=NAMES, name="mine")
    monkeypatch.setitem(DATASETS, "mine", lambda root: data)
    shown = run("data", "mine")
    assert shown.exit_code == 0
    assert "$\\frac$, \\x1b[31mred\\x07, \\u202eexe." in shown.output
    hostile = tmp_path / "run\x1b[31m"
    result = run("report", hostile, "--out", tmp_path / "page.html")
    assert result.exit_code == 2
    assert is_plain(result.output)
    trained = run("train", "--per-class", 2, "--width", 0.0625, "--epochs", 1, "--out", hostile)
    assert trained.exit_code == 0
    assert "\\x1b[31m" in trained.output
    assert is_plain(trained.output)


def test_absent_classes_and_heads_are_plain_and_tables_whole(tmp_path):
    names = [*NAMES, "\x1b[2Jgone"]
    rows = torch.eye(6)[:, :5] + 0.1
    report = measure_features(torch.eye(5)[LABELS] + 0.1 * torch.arange(40)[:, None], LABELS, rows,
                              class_names=names)  # fmt: skip
    assert "Absent classes, left out: \\x1b[2Jgone." in " ".join(str(report).split())
    table = report.to_latex()
    assert is_plain(table)
    rules = [line for line in table.splitlines() if not line.startswith("\\")]
    assert all(line.endswith("\\\\") for line in rules if line)
    head = nc.measure_head(torch.cat([rows[:5], rows[:1]]), class_names=names)
    assert "\\x1b[31mred" in str(nc.measure_head(torch.zeros(6, 4), class_names=names))
    assert is_plain(str(head))
    torch.save({"weight": torch.zeros(6, 4)}, tmp_path / "m.pt")
    listed = tmp_path / "names.txt"
    listed.write_text("\n".join("abcde") + "\n\x1b[2Jgone\n")
    shown = run("measure-head", tmp_path / "m.pt", "--class-names", listed)
    assert shown.exit_code == 0
    assert is_plain(shown.output)


def test_an_alarm_lists_classes_plainly():
    situation = Situation(None, [], NAMES, 1)
    assert is_plain(situation.listed(range(5)))


def test_certificates_and_profiles_are_plain(report):
    margins, tolerance = report.test.state.margins, 0.01
    certificate = error_certificate(margins, labels=LABELS, class_names=NAMES, tolerance=tolerance)
    assert is_plain(str(certificate).replace("\u2500", ""))
    layers = tuple(LayerValues(name, 5, 1.0, 0.5, 0.5, 2.0, math.nan) for name in [*NAMES, "[b]"])
    shown = str(LayerProfile(layers, 40, 5)).replace("\u2500", "")
    assert is_plain(shown)
    assert "[b]" in shown
