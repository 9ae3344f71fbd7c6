import numpy as np
import pytest
from matplotlib.image import imread

from neuralcollapse.studies import FigureJob, run_study
from neuralcollapse.studies.ji2022 import figure2
from neuralcollapse.studies.ji2022.dynamics import EXACT_EXPONENTS
from neuralcollapse.studies.ji2022.figure2_plot import PANELS, plot_dynamics


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure2, "SEEDS", (1,))
        patch.setattr(figure2, "LOG_TIMES", np.geomspace(1, 1e8, 65))
        yield run_study("ji2022", FigureJob(tmp_path_factory.mktemp("study")), 2)


@pytest.fixture(scope="module")
def record(written):
    with np.load(written[0]) as file:
        return dict(file)


def test_records_and_two_readable_pictures_are_written(written):
    names = [path.name for path in written]
    pictures = ["figure2.png", "figure2_extended.png"]
    assert names == [
        "figure2.npz",
        *(f"{p[:-4]}{end}" for p in pictures for end in (".png", ".txt")),
    ]
    assert all("K = 4, n = 5, d = 6" in path.read_text() for path in written[2::2])
    for path in written[1::2]:
        height, width = imread(path).shape[:2]
        assert width >= 900
        assert height >= 700
        assert path.stat().st_size < 200_000
    there = {path.name for path in written[0].parent.iterdir()}
    assert there == {*names, "study.json"}


def test_the_records_hold_every_curve_drawn(record):
    assert record["log_t"][0] == 1
    assert record["log_t"][-1] == 1e8
    for curves in PANELS.values():
        for name in curves:
            for kind in ("generic", "balanced", "limit"):
                assert record[f"{kind}_{name}"].shape == (1, len(record["log_t"]))
                assert np.isfinite(record[f"{kind}_{name}"]).all()


def test_the_curves_tend_to_the_closed_form_and_balanced_ones_to_rounding(record):
    late = record["log_t"] > 1e6
    for name in EXACT_EXPONENTS:
        ratio = record[f"generic_{name}"][:, late] / record[f"limit_{name}"][:, late]
        # The rows' own corrections are of relative order (log t)^-1/2, those of the others smaller.
        slack = 2 * record["log_t"][late] ** -0.5 if name.endswith("_rows") else 1e-4
        assert (np.abs(ratio - 1) <= slack).all()
        assert (record[f"balanced_{name}"][:, late] < 1e-12).all()


@pytest.mark.parametrize(("last", "exponents"), [(15.0, "0.15 to 0.8"), (1e8, "0.49 to 1.01")])
def test_each_panel_is_logarithmic_over_log_log_t(record, last, exponents):
    figure = plot_dynamics(record, EXACT_EXPONENTS, last)
    panels = [ax for ax in figure.axes if ax.get_title("left")]
    assert len(panels) == 4
    low, high = (float(bound) for bound in exponents.split(" to "))
    for ax in panels:
        assert ax.get_yscale() == "log"
        assert ax.get_xlim() == pytest.approx((0, np.log(last)))
        (text,) = ax.texts
        slopes = [w.strip(",") for w in text.get_text().split() if w.startswith("−")]
        measured = [-float(w.replace("−", "-")) for w in slopes if "." in w and w != "−0.5"]
        assert measured
        assert all(low <= slope <= high for slope in measured)
