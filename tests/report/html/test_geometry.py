import base64
import math

import numpy as np
import pytest
import torch

from made_up_run import write_run
from neuralcollapse.geometry import standard_simplex
from neuralcollapse.report.html.geometry import GRAM_STEPS, even_shadow, geometry_data
from neuralcollapse.runs import read_run


def unpack(text, dtype="<f4"):
    return np.frombuffer(base64.b64decode(text), dtype).astype(float)


def points(text):
    return unpack(text).reshape(-1, 3)


def distances(rows):
    return np.linalg.norm(rows[:, None] - rows[None], axis=-1)


def test_the_gram_matrix_travels_whole(tetrahedron):
    run = read_run(tetrahedron)
    gram = geometry_data(run)["gram"]
    for shot, text in zip(run.snapshots, gram["frames"], strict=True):
        rows = shot.rows.numpy()
        upper = iter(unpack(text, "<i2") / GRAM_STEPS)
        for i in range(4):
            for j in range(i + 1, 4):
                cosine = rows[i] @ rows[j] / np.linalg.norm(rows[i]) / np.linalg.norm(rows[j])
                assert next(upper) == pytest.approx(cosine, abs=1 / GRAM_STEPS)
    assert gram["target"] == pytest.approx(-1 / 3, rel=1e-4)


def test_four_classes_are_drawn_as_they_are(tetrahedron):
    """Up to rotation and one scale for all: distances keep their ratios."""
    run = read_run(tetrahedron)
    (view,) = geometry_data(run)["views"]
    assert "not a projection" in view["note"]
    for shot, text in zip(run.snapshots, view["points"], strict=True):
        true, drawn = distances(shot.rows.numpy()), distances(points(text))
        ratio = drawn[true > 0] / true[true > 0]
        np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-5)
    # The targets are a regular tetrahedron around the origin, with vertices of length 1.
    target = points(view["targets"])
    np.testing.assert_allclose(target @ target.T, 4 / 3 * np.eye(4) - 1 / 3, atol=1e-6)


def test_the_means_arrive_at_the_simplex(tetrahedron):
    (view,) = geometry_data(read_run(tetrahedron))["views"]
    target = points(view["targets"])
    away = [np.linalg.norm(points(text) - target) for text in view["points"]]
    assert away == sorted(away, reverse=True)
    assert away[-1] < 0.15 < away[0]


@pytest.mark.parametrize("num_classes", [5, 10, 100, 1000])
def test_the_shadow_is_an_orthogonal_projection_around_the_centre(num_classes):
    shadow = even_shadow(num_classes)
    torch.testing.assert_close(shadow.T @ shadow, torch.eye(3).double())
    vertices = standard_simplex(num_classes) @ shadow
    torch.testing.assert_close(vertices.sum(0), torch.zeros(3).double(), atol=1e-10, rtol=0)
    lengths = vertices.norm(dim=1) * math.sqrt((num_classes - 1) / 3)
    assert (lengths - 1).abs().max() < 0.45  # near one sphere: none in the middle
    closest = torch.cdist(vertices, vertices).fill_diagonal_(math.inf).min()
    assert closest > 0.5 * math.sqrt(4 * math.pi / num_classes) * math.sqrt(3 / num_classes)


@pytest.mark.parametrize("num_classes", [2, 3, 4])
def test_few_classes_need_no_projection(num_classes):
    shadow = even_shadow(num_classes)
    torch.testing.assert_close(shadow @ shadow.T, torch.eye(num_classes - 1).double())


def test_the_closest_four_of_many_are_a_tetrahedron(tmp_path):
    run = read_run(write_run(tmp_path / "six", num_classes=6, epochs=4, snapshots=3))
    every, four = geometry_data(run)["views"]
    assert "span 5 dimensions" in every["note"]
    shot = run.snapshots[-1]
    assert {int(k) for k in shot.closest_pairs[0, :2]} <= set(four["classes"])
    true = distances(shot.rows[four["classes"]].numpy())
    ratio = distances(points(four["points"][-1]))[true > 0] / true[true > 0]
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-5)


def test_more_classes_than_dimensions_are_projected_and_said_to_be(tmp_path):
    run = read_run(write_run(tmp_path / "flat", num_classes=6, dim=3, epochs=2, snapshots=2))
    view = geometry_data(run)["views"][0]
    assert view["targets"] is None
    assert "have no simplex ETF" in view["note"]
    true = distances(run.snapshots[-1].rows.numpy())
    ratio = distances(points(view["points"][-1]))[true > 0] / true[true > 0]
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-5)  # three dimensions are all there


def test_no_snapshots_no_geometry(tmp_path):
    assert geometry_data(read_run(write_run(tmp_path / "r", epochs=2, snapshots=0))) is None
