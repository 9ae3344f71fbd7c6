from dataclasses import replace

import numpy as np
import pytest
import torch

from made_up_run import write_run
from neuralcollapse.generalization import (
    calibration,
    clopper_pearson_upper,
    error_certificate,
)
from neuralcollapse.generalization.top_label import top_label_calibration
from neuralcollapse.measurement import measure_features
from neuralcollapse.metrics import preset
from neuralcollapse.moments import ClassMoments
from neuralcollapse.report.html.calibration import calibration_data
from neuralcollapse.report.html.certificate import certificate_data
from neuralcollapse.report.html.layer_peeled import layer_peeled_data
from neuralcollapse.report.html.margins import margin_data
from neuralcollapse.report.html.next_layer import BETAS, LAMBDA_H, LAMBDA_W, next_layer_data
from neuralcollapse.runs import read_snapshots, write_snapshot
from neuralcollapse.theory import near_features_minimizer, separation_optimum, unequal_minimizer
from neuralcollapse.wording import at_most


def shot_of(folder, *args, before=None, **kwargs):
    write_snapshot(folder, 1, measure_features(*args, **kwargs), before=before)
    return read_snapshots(folder)[0]


@pytest.fixture
def last(tetrahedron):
    return read_snapshots(tetrahedron)[-1]


@pytest.mark.parametrize("sizes", [[6, 6, 6, 6], [40, 20, 5, 5, 1]])
def test_the_optimum_is_as_predicted(tmp_path, sizes):
    """Features and head of the optimum itself, turned and scaled, agree in every row."""
    optimum = separation_optimum(sizes, 9)
    turn = torch.linalg.qr(torch.randn(9, 9, generator=torch.Generator().manual_seed(0)).double())[
        0
    ]
    shot = shot_of(tmp_path, 3 * optimum.H @ turn, optimum.labels, optimum.W @ turn / 2)
    found = layer_peeled_data(shot)
    assert found.balanced == (len(set(sizes)) == 1)
    *geometry, margin = found.rows
    for row in geometry:
        if "Gram" in row.what:
            assert float(plain(row.measured)) < 1e-6
        else:
            assert row.measured == row.predicted
    assert margin.measured == "1.5, 100 % of it"  # margin 1, times 3 / 2
    for vectors in found.norms["vectors"].values():
        np.testing.assert_allclose(vectors["measured"], vectors["predicted"], rtol=1e-4)


def test_unequal_classes_are_held_against_the_optimum_at_the_runs_own_decay(tmp_path):
    sizes = [40, 20, 5, 5]
    optimum = unequal_minimizer(sizes, 9, 0.02, 0.01)
    labels = torch.arange(4).repeat_interleave(torch.tensor(sizes))
    shot = shot_of(tmp_path, optimum.means[labels], labels, optimum.W)

    def rows(decay):
        found = layer_peeled_data(shot, decay).rows
        return [float(plain(row.measured)) for row in found if "this run" in row.what]

    assert rows(0.02) == pytest.approx([0, 0], abs=1e-4)
    assert min(rows(0.08)) > 0.01
    assert rows(None) == []
    (weak, _) = [
        float(plain(row.measured))
        for row in layer_peeled_data(shot).rows
        if "distance of the Gram" in row.what
    ]
    assert weak > 0.1


def plain(text):
    return text.replace("·10", "e").translate(RAISED)


RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻−", "0123456789--")


def test_no_margin_is_above_the_ceiling_of_its_norms(tmp_path):
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        labels = torch.cat([torch.arange(3), torch.randint(3, (20,), generator=generator)])
        centers = torch.randn(3, 4, generator=generator)
        features = centers[labels] + 0.1 * torch.randn(23, 4, generator=generator)
        bias = torch.randn(3, generator=generator)
        shot = shot_of(tmp_path / str(seed), features, labels, centers, bias)
        row = layer_peeled_data(shot).rows[-1]
        assert float(row.measured.split(", ")[1].split(" %")[0].replace("−", "-")) <= 100


def test_too_few_dimensions_have_no_prediction(tmp_path):
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(40, 3, generator=generator), torch.arange(40) % 8
    assert "softmax code" in layer_peeled_data(shot_of(tmp_path, features, labels)).missing


def test_the_next_layer_is_that_of_the_features_themselves(tmp_path):
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(40) % 4
    features = 2 * torch.eye(4, 6)[labels] + 0.5 * torch.randn(40, 6, generator=generator)
    earlier = ClassMoments(4, 6).update(features, labels)
    shot = shot_of(tmp_path, 0.5 * features, labels, before=earlier)
    found = next_layer_data(shot)
    before = preset("tirer2023", earlier)["nc1_trace_ratio"]
    assert found.before == pytest.approx(before, rel=1e-4)
    assert found.after == pytest.approx(before, rel=1e-4)  # a scale changes nothing
    middle = len(BETAS) // 2
    H = near_features_minimizer(features, labels, LAMBDA_W, LAMBDA_H, BETAS[middle]).H
    moments = ClassMoments(4, 6).update(H, labels)
    expected = preset("tirer2023", moments)["nc1_trace_ratio"]
    assert found.predicted[middle] == pytest.approx(expected, rel=1e-4)
    # The stronger the pull, the more it stays as it was.
    assert found.predicted == sorted(found.predicted)
    assert found.predicted[-1] == pytest.approx(before, rel=0.05)


def test_one_layer_has_no_next(sibling):
    assert next_layer_data(read_snapshots(sibling)[-1]) is None


def test_the_certificate_is_that_of_the_test_margins(last):
    found = certificate_data(last)
    expected = error_certificate(last.held_out_margins, train_margins=[last.margin_median])
    assert found.upper == at_most(expected.upper)
    assert found.sentence.startswith(expected.sentence)
    assert found.picked == ""
    assert (found.errors, found.n) == (str(expected.errors), str(expected.n))
    assert [row["name"] for row in found.methods] == list(expected.table.index)


def test_the_best_of_several_runs_is_certified_at_a_shared_level(last):
    found = certificate_data(last, runs=3)
    k, n = (int(text.replace(",", "")) for text in (found.errors, found.n))
    assert f"at most {at_most(clopper_pearson_upper(k, n, 1 - 0.05 / 3))} at 95 %" in found.picked
    assert "best of the 3 here" in found.picked


def test_a_class_without_test_samples_has_no_count(last):
    few = replace(last, held_out_labels=last.held_out_labels.clamp(max=2))
    rows = {row["name"]: row for row in certificate_data(few).classes}
    assert rows[last.class_names[3]] == {
        "name": last.class_names[3], "n": "none", "errors": "", "upper": "nothing known"
    }  # fmt: skip


def test_the_calibration_is_that_of_the_logits_as_far_as_confidences_tell(tmp_path):
    rows = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)).double()
    labels, head = torch.arange(200) % 3, torch.eye(3, 4).double()
    rows += head[labels]
    expected = calibration(rows @ head.T, labels)
    tested = {"test_features": rows, "test_labels": labels}
    shot = shot_of(tmp_path, rows, labels, head, **tested)
    found = top_label_calibration(shot.held_out_confidences, shot.held_out_margins)
    for name in ("ece", "lower", "upper", "mean_confidence", "accuracy", "reliability", "nll"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-5), name
    told = calibration_data(shot)
    assert told.sentence in expected.sentence
    assert sum(row["n"] for row in told.points) == 200


def test_no_test_data_no_certificate(tmp_path):
    run = write_run(tmp_path / "run", tested=False, epochs=1, snapshots=2)
    assert certificate_data(read_snapshots(run)[-1]) is None


def test_pairs_come_worst_first_and_bars_lie_in_their_track(last):
    found = margin_data(last)
    gamma = last.pair_margins.numpy()
    best = np.unravel_index(np.nanargmin(gamma), gamma.shape)
    assert (found.pairs[0]["i"], found.pairs[0]["j"]) == best
    values = [gamma[pair["i"], pair["j"]] for pair in found.pairs]
    assert values == sorted(values)
    assert len(values) == 12  # all ordered pairs of four classes
    for row in found.classes:
        bar = row["bar"]
        assert 0 <= bar["left"] <= bar["few"] <= bar["right"] <= 100
        assert 0 <= bar["test"] <= 100


def test_without_a_head_pairs_go_by_distance(tmp_path):
    run = write_run(tmp_path / "run", headed=False, epochs=1, snapshots=2)
    found = margin_data(read_snapshots(run)[-1])
    assert (found.by, found.classes, found.picture) == ("CDNV", [], None)
    assert found.pairs[0]["margin"] is None
