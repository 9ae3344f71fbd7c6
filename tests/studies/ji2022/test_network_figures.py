import numpy as np
import pytest
from matplotlib.image import imread

from neuralcollapse.studies import FigureJob
from neuralcollapse.studies.ji2022 import network_figures, network_runs
from neuralcollapse.studies.ji2022.network_runs import (
    ERRORS,
    collapse_slope,
    configs,
    error_curve,
    theory_clock,
)


def made_up(exponent, records=30):
    """Records whose errors are powers of -log L, the trace ratio that of a squared distance."""
    clocks = np.geomspace(0.5, 9, records)
    return [
        {
            "epoch": i + 1,
            "step": 10 * (i + 1),
            "train_loss": float(np.exp(-clock)),
            "accuracy": float(i >= 5),
            **{key: float(clock**exponent) for key in ERRORS},
            "nc1_trace_ratio": float(clock ** (2 * exponent)),
        }
        for i, clock in enumerate(clocks)
    ]


@pytest.mark.parametrize("exponent", [-1, -0.5, 0])
@pytest.mark.parametrize("key", ERRORS)
def test_a_power_of_the_clock_has_its_exponent_as_slope(exponent, key):
    assert collapse_slope(made_up(exponent), key) == pytest.approx(exponent, abs=1e-9)


def test_the_slope_waits_until_all_training_images_were_right_and_passes_over_jumps_of_the_loss():
    records = made_up(-1)
    for record in records[:5]:
        record["nc3_self_duality"] = 1.0  # not right yet
    jump = {"train_loss": 0.5, "accuracy": 0.9, "nc3_self_duality": 1.0}
    assert collapse_slope([*records, jump], "nc3_self_duality") == pytest.approx(-1)


def test_no_slope_where_the_clock_hardly_moves_or_images_stay_wrong():
    records = made_up(-1)
    assert np.isnan(collapse_slope(records[:7], "nc3_self_duality"))  # two that are right
    late = [record | {"train_loss": np.exp(-10 - i / 100)} for i, record in enumerate(records[5:])]
    assert np.isnan(collapse_slope(late, "nc3_self_duality"))
    wrong = [record | {"accuracy": 0.999} for record in records]
    assert np.isnan(collapse_slope(wrong, "nc3_self_duality"))


def test_the_clock_never_goes_back():
    records = [{"train_loss": loss} for loss in (0.5, 0.25, 0.4, 0.125)]
    np.testing.assert_allclose(theory_clock(records) / np.log(2), [1, 2, 2, 3])


def test_within_classes_a_distance_is_drawn():
    assert error_curve([{"nc1_trace_ratio": 0.25}], "nc1_trace_ratio").tolist() == [0.5]
    assert error_curve([{"nc2_equinorm": 0.25}], "nc2_equinorm").tolist() == [0.25]


@pytest.mark.parametrize("number", network_runs.FIGURES)
def test_networks_have_no_weight_decay_and_every_seed(number):
    for scale, seeds in network_runs.SEEDS.items():
        found = configs(number, scale)
        assert all(config.weight_decay == 0 for config in found)
        assert len(set(found)) == len(found)
        assert {config.seed for config in found} == set(seeds)
    small = configs(number, "small", seeds=[4])
    assert {config.data for config in small} <= {"mnist-5k", "fashion-mnist"}
    assert {(config.per_class, config.width, config.seed) for config in small} == {(200, 0.25, 4)}


def test_figure_1_is_drawn_and_drawn_again_from_kept_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(network_runs, "FIGURES", {1: (("cnn", "mnist"), ("cnn", "cifar10"))})
    tiny = {"width": 0.125, "per_class": 10, "epochs": 8, "lr": 0.02, "batch_size": 50}
    monkeypatch.setitem(network_runs.SCALES, "quick", tiny)
    kept = tmp_path / "kept"
    common = {"seeds": (0, 1), "kept": kept, "settings": {"momentum": 0.5}}
    first = FigureJob(tmp_path / "a", workers={"workers": 1}, **common)
    picture, caption = network_figures.draw(1, first)
    assert "width × 0.125, 10 training images" in caption.read_text()
    assert "momentum 0.5" in caption.read_text()
    height, width = imread(picture).shape[:2]
    assert width >= 900
    assert height >= 500
    assert len(list(kept.iterdir())) == 2  # one data set stands for both
    again = FigureJob(tmp_path / "b", training=False, **common)
    copy, _ = network_figures.draw(1, again)
    assert np.array_equal(imread(copy), imread(picture))
    assert not (tmp_path / "b/runs").exists()


def test_bands_reach_from_the_least_to_the_largest_seed():
    seeds = [made_up(-1), made_up(-0.5)]
    drawing = network_figures.plot_networks({"net": seeds})
    assert len(drawing.axes) == 8
    below = drawing.axes[7]
    (median,) = [line for line in below.lines if line.get_label() == "distance"]
    clock, values = np.array(median.get_xydata()).T
    np.testing.assert_allclose(values, (clock**-1 + clock**-0.5) / 2, rtol=2e-2)
    assert "slope −1.00 to −0.50, theory −1" in below.texts[0].get_text()
