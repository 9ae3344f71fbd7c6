import numpy as np
import pytest
import torch

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics import directional_cdnv, few_shot_bound
from neuralcollapse.moments import ClassMoments


def sample(num, dim, per_class, spread, seed=0):
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(num, dim, generator=generator, dtype=torch.float64)
    shapes = spread * torch.randn(num, dim, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(num, per_class, dim, generator=generator, dtype=torch.float64)
    return means, shapes, means[:, None] + noise @ shapes.mT


def moments_of(points):
    num, per_class, dim = points.shape
    labels = torch.arange(num).repeat_interleave(per_class)
    return ClassMoments(num, dim, scatter="per_class").update(points.flatten(0, 1), labels)


def test_against_projected_samples():
    _, _, points = sample(4, 3, 50, 0.2)
    found = directional_cdnv(moments_of(points)).numpy()
    x = points.numpy()
    for i in range(4):
        for j in range(4):
            line = x[i].mean(0) - x[j].mean(0)
            if i != j:
                variance = (x[i] @ line / np.linalg.norm(line)).var()
                assert found[i, j] == pytest.approx(variance / (line @ line), rel=1e-9)
            else:
                assert np.isnan(found[i, j])


@pytest.mark.parametrize("shots", [1, 3, 10])
@pytest.mark.parametrize(("dim", "spread"), [(3, 0.1), (40, 0.02), (40, 0.1)])
def test_bound_holds_for_simulated_few_shot_errors(shots, dim, spread):
    means, shapes, points = sample(3, dim, 4000, spread)
    bound = few_shot_bound(moments_of(points), shots)
    generator = torch.Generator().manual_seed(1)

    def draw(k, count):
        noise = torch.randn(4000, count, dim, generator=generator, dtype=torch.float64)
        return means[k] + noise @ shapes[k].T

    for i in range(3):
        for j in range(3):
            if i == j:
                continue
            x = draw(i, 1)[:, 0]
            own, other = draw(i, shots).mean(1), draw(j, shots).mean(1)
            error = ((x - own).norm(dim=1) >= (x - other).norm(dim=1)).double().mean()
            assert error <= bound[i, j] + 0.01  # the moments are estimated
            assert 0 <= bound[i, j] <= 1


def test_many_shots_leave_the_directional_cdnv():
    _, _, points = sample(3, 5, 200, 0.1)
    moments = moments_of(points)
    ratio = 4 * directional_cdnv(moments)
    expected = ratio / (1 + ratio)
    found = few_shot_bound(moments, 10**9)
    off = ~torch.eye(3, dtype=torch.bool)
    assert (found[off] >= expected[off]).all()
    torch.testing.assert_close(found[off], expected[off], rtol=0.03, atol=0)


def test_coinciding_and_absent_classes():
    points = torch.tensor([[0.0, 1], [0, -1], [1, 0], [-1, 0], [5, 5], [5, 5]])
    moments = ClassMoments(4, 2, scatter="per_class").update(points, [0, 0, 1, 1, 2, 2])
    values = directional_cdnv(moments)
    assert values[0, 1] == torch.inf
    assert values[2, 0] == 0
    assert values[3].isnan().all()
    assert few_shot_bound(moments, 5)[0, 1] == 1


def test_bad_input_is_refused():
    moments = ClassMoments(2, 1).update(torch.tensor([[0.0], [1.0]]), [0, 1])
    with pytest.raises(NeuralCollapseError, match="'per_class' for the scatter of each class"):
        directional_cdnv(moments)
    moments = ClassMoments(2, 1, scatter="per_class").update(torch.tensor([[0.0], [1.0]]), [0, 1])
    with pytest.raises(NeuralCollapseError, match="shots"):
        few_shot_bound(moments, 0)
