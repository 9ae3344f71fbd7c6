import numpy as np
import pytest
from matplotlib.image import imread

from neuralcollapse.studies import FigureJob, run_study
from neuralcollapse.studies.gao2023 import figure3

NAMES = tuple(figure3.CASES["quick"])


def made_up(accuracy, test, nets=NAMES):
    accuracy, test = np.array(accuracy), np.array(test)
    record = {"epochs": np.arange(1.0, accuracy.shape[1] + 1)}
    for net in nets:
        record |= {f"{net}_{name}": 0.1 * test for name in figure3.METRICS}
        record |= {f"{net}_accuracy": accuracy, f"{net}_test_accuracy": test}
    return record


def test_the_data_is_fitted_from_the_epoch_after_which_all_stays_right():
    record = made_up(
        [[0.5, 1, 1, 1], [1, 0.9, 1, 1], [0.5, 0.6, 0.7, 1], [1, 1, 1, 0.9]],
        [[0.1, 0.2, 0.3, 0.5], [0.1, 0.2, 0.3, 0.5], [0.1, 0.2, 0.3, 0.5], [0.1, 0.2, 0.3, 0.5]],
    )
    np.testing.assert_array_equal(figure3.fitted_epochs(record, NAMES[0]), [2, 3, 4, np.nan])
    rises = figure3.rises_after_fit(record, NAMES[0])
    np.testing.assert_allclose(rises, [0.3, 0.2, 0, np.nan], atol=1e-12)


@pytest.mark.parametrize("fitted", [True, False])
def test_it_is_drawn_with_and_without_an_epoch_at_which_all_is_right(fitted, tmp_path):
    accuracy = [[0.5, 1.0, 1.0]] if fitted else [[0.5, 0.6, 0.7]]
    drawing = figure3.plot_margins(made_up(accuracy, [[0.5, 0.8, 0.9]]), NAMES)
    path = tmp_path / "figure.png"
    drawing.savefig(path)
    assert imread(path).shape[1] >= 900
    words = [text.get_text() for axes in drawing.axes for text in axes.texts]
    assert words.count("all training\nimages right") == (6 if fitted else 0)


@pytest.mark.parametrize(("count", "wide"), [(1, 1), (2, 2), (3, 3), (4, 2), (5, 3), (6, 3)])
def test_more_than_three_networks_come_in_blocks_that_show_what_happens_after_the_fit(count, wide):
    nets = [f"Network {number}" for number in range(count)]
    record = made_up([[0.5, 1.0, 1.0]], [[-40.0, 0.8, 0.9]], nets)
    panels = figure3.plot_margins(record, nets).axes
    assert sum(axes.get_visible() for axes in panels) == 3 * count
    titled = [axes.get_title("left") for axes in panels if axes.get_title("left")]
    assert titled == nets
    for start in range(0, len(panels), 3 * wide):
        margins, shares, accuracies = (
            [axes for axes in panels[start + row * wide :][:wide] if axes.get_visible()]
            for row in range(3)
        )
        assert all(axes.get_title("left") for axes in margins)
        for axes in (*margins, *shares):
            low, high = axes.get_ylim()
            assert -0.2 < low < 0 < 0.09 < high  # twice the last, not the -4 of the first epoch
        for axes in accuracies:
            low, high = axes.get_ylim()
            assert 0.7 < low < 0.8
            assert high > 0.9
            assert axes.get_xlabel() == "epoch"


def test_margins_of_networks_that_do_not_fit_are_shown_whole():
    record = made_up([[0.5, 0.6, 0.7]], [[-40.0, -0.2, -0.1]])
    assert figure3.plot_margins(record, NAMES).axes[0].get_ylim()[0] < -4


def test_the_record_is_that_of_the_runs(monkeypatch, tmp_path):
    monkeypatch.setitem(figure3.SEEDS, "quick", (0, 1))
    monkeypatch.setitem(figure3.CASES, "quick", {"Tiny": {"net": "mlp", "width": 0.25}})
    small = {"per_class": 5, "batch_size": 25, "epochs": 2}
    monkeypatch.setitem(figure3.COMMON, "quick", small)
    path, picture, _ = figure3.draw(FigureJob(tmp_path, workers={"workers": 1}))
    with np.load(path) as file:
        record = dict(file)
    assert record["epochs"].tolist() == [1, 2]
    names = {f"Tiny_{name}" for name in (*figure3.METRICS, "accuracy")}
    assert set(record) == names | {"epochs"}
    assert all(record[name].shape == (2, 2) for name in names)
    ratio = record["Tiny_margin_collapse_ratio"]
    assert (np.sign(ratio) == np.sign(record["Tiny_margin_min"])).all()
    assert (ratio <= 1).all()
    assert not np.array_equal(record["Tiny_margin_min"][0], record["Tiny_margin_min"][1])
    assert imread(picture).shape[0] >= 500


@pytest.mark.slow
def test_margins_grow_once_all_is_right(tmp_path):
    path, picture, _ = run_study("gao2023", FigureJob(tmp_path), 3)
    with np.load(path) as file:
        record = dict(file)
    for net in NAMES:
        first = figure3.fitted_epochs(record, net)
        assert (first < 30).all()
        for seed, epoch in enumerate(first):
            at = int(np.flatnonzero(record["epochs"] == epoch)[0])
            for name in ("margin_min", "margin_collapse_ratio"):
                curve = record[f"{net}_{name}"][seed]
                assert curve[-1] > 2 * curve[at] > 0
        assert record[f"{net}_margin_collapse_ratio"].max() < 1
    assert imread(picture).shape[1] >= 900
