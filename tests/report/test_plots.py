import math

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.figure_style import _spread
from neuralcollapse.report import (
    accuracy_figure,
    collapse_figure,
    interpolation_epoch,
    margin_figure,
    plot_history,
)

FIGURES = [collapse_figure, accuracy_figure, margin_figure]
NC = [
    "nc1_pinv",
    "nc1_trace_ratio",
    "nc2_equinorm",
    "nc2_equiangular",
    "nc2_etf",
    "nc2_equinorm_head",
    "nc2_equiangular_head",
    "nc2_etf_head",
    "nc3_self_duality",
    "nc3_product",
]


def history(epochs=20, fitted=8, tested=True):
    """A made-up run: all falls tenfold every ten epochs, NC4 is complete from `fitted` on."""
    records = []
    for epoch in range(1, epochs + 1):
        wrong = 0.0 if epoch >= fitted else 0.1 / epoch
        record = {name: (i + 1) * 10 ** (-epoch / 10) for i, name in enumerate(NC)}
        record |= {"nc4_agreement": 1 - wrong, "accuracy": 1 - wrong}
        record |= {"margin_min": epoch - 5.0, "margin_normalized": 1 - 1 / epoch}
        if tested:
            record |= {f"test_{name}": value for name, value in record.items()}
        records.append(record | {"epoch": epoch, "train_loss": 1 / epoch, "num_classes": 3})
    return records


def curve(axes, label):
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return np.asarray(line.get_ydata())


def test_curves_are_the_records():
    records = history()
    nc1, nc2, nc3, nc4 = collapse_figure(records).axes
    for axes, count in ((nc1, 2), (nc2, 6), (nc3, 2)):
        assert axes.get_yscale() == "log"
        assert len([line for line in axes.lines if line.get_label() != "_fitted"]) == count
    expected = [record["nc3_product"] for record in records]
    np.testing.assert_array_equal(curve(nc3, "product"), expected)
    np.testing.assert_allclose(curve(nc4, "train"), [1 - r["nc4_agreement"] for r in records])


def test_complete_agreement_is_seen_as_zero():
    axes = collapse_figure(history()).axes[3]
    low, high = axes.get_ylim()
    assert low < 0 < high  # a logarithmic axis would have dropped the zeros
    positions = axes.transData.transform([(1, 0.0), (1, 0.1 / 7), (1, 0.1)])[:, 1]
    assert (np.diff(positions) > 10).all()


@pytest.mark.parametrize("draw", FIGURES)
def test_every_panel_marks_where_the_data_is_fitted(draw):
    for axes in draw(history(fitted=8)).axes:
        assert list(curve(axes, "_fitted")) == [0, 1]
        (line,) = [line for line in axes.lines if line.get_label() == "_fitted"]
        assert list(line.get_xdata()) == [8, 8]
    for axes in draw(history(fitted=99)).axes:
        assert "_fitted" not in [line.get_label() for line in axes.lines]


def test_the_ceiling_of_margins():
    axes = margin_figure(history()).axes[1]
    assert list(curve(axes, "collapse: K/(K−1)")) == [1.5, 1.5]


@pytest.mark.parametrize("draw", FIGURES)
def test_a_run_without_test_data_has_no_test_curves(draw):
    for axes in draw(history(tested=False)).axes:
        assert not [line for line in axes.lines if line.get_label() == "test"]


@pytest.mark.parametrize("draw", FIGURES)
@pytest.mark.parametrize(
    "records",
    [
        history(),
        history(epochs=1),
        history(epochs=400, fitted=390),
        [{**record, "nc1_pinv": math.nan} for record in history()],
        [{**record, "nc4_agreement": 1.0, "test_nc4_agreement": 1.0} for record in history()],
    ],
    ids=["usual", "one epoch", "fitted late", "undefined", "always agreeing"],
)
def test_no_text_is_cut_or_upon_another(draw, records):
    drawing = draw(records)
    canvas = FigureCanvasAgg(drawing)
    canvas.draw()
    renderer = canvas.get_renderer()
    for axes in drawing.axes:
        boxes = [text.get_window_extent(renderer) for text in axes.texts if text.get_text()]
        boxes += [axes.title.get_window_extent(renderer), axes.xaxis.label.get_window_extent()]
        for i, box in enumerate(boxes):
            assert box.x0 >= 0
            assert box.x1 <= drawing.bbox.width + 1
            assert not any(box.overlaps(other) for other in boxes[:i])


def test_files_are_written_and_the_style_is_left_as_it_was(tmp_path):
    before = dict(matplotlib.rcParams)
    paths = plot_history(history(), tmp_path / "figures")
    assert [path.name for path in paths] == ["collapse.png", "accuracy.png", "margins.png"]
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == before
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(
        path.name for path in paths
    )


def test_fitted_is_the_first_time():
    assert interpolation_epoch(history(fitted=8)) == 8
    assert interpolation_epoch(history(fitted=99)) is None


def test_labels_move_apart_and_no_further():
    assert _spread([0.1, 0.5, 0.9], 0.1) == pytest.approx([0.1, 0.5, 0.9])
    assert _spread([0.5, 0.5], 0.2) == pytest.approx([0.4, 0.6])
    # The pair spreads to 0.4, 0.6, upon 0.65: the three share their mean 0.55.
    assert _spread([0.5, 0.5, 0.65], 0.2) == pytest.approx([0.35, 0.55, 0.75])


@pytest.mark.parametrize("draw", FIGURES)
def test_records_without_the_metrics_are_refused(draw):
    with pytest.raises(
        NeuralCollapseError, match="records: expected at least one record, got none"
    ):
        draw([])
    records = [*history(), {"epoch": 21, "accuracy": 1.0}]
    with pytest.raises(NeuralCollapseError, match="in every record, got 1 of 21 without"):
        draw(records)


def test_a_run_without_a_training_loss_has_no_panel_for_it(tmp_path):
    """As `watch` and the callbacks record it."""
    records = [{k: v for k, v in record.items() if k != "train_loss"} for record in history()]
    (accuracy,) = accuracy_figure(records).axes
    assert accuracy.get_title("left") == "Accuracy"
    assert [path.name for path in plot_history(records, tmp_path)] == [
        "collapse.png", "accuracy.png", "margins.png",
    ]  # fmt: skip
