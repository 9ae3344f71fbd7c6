import pytest
import torch
from torch import nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization import jacobian_norm, lipschitz_bound
from neuralcollapse.training import MLP
from neuralcollapse.training.networks.small_cnn import SmallCNN


class Residual(nn.Module):
    def __init__(self, branch):
        super().__init__()
        self.branch = branch

    def forward(self, inputs):
        return inputs + self.branch(inputs)


@lipschitz_bound.register
def _residual(module: Residual, shape: tuple) -> float:
    return 1 + lipschitz_bound(module.branch, shape)


def trained_norms(network, inputs):
    """Give batch norms statistics and weights that are not those of a new layer."""
    for _ in range(3):
        network(inputs)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return network.eval()


NETWORKS = {
    "mlp": (lambda: MLP(16, [12, 8], 3), (16,)),
    "cnn": (lambda: SmallCNN(1, 3, 4), (1, 6, 6)),
    "overlapping pool": (
        lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.MaxPool2d(3, 1), nn.Flatten()),
        (1, 6, 6),
    ),
    "plain pool": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 3, 3, 2, 1, dilation=2), nn.MaxPool2d(2), nn.LeakyReLU(2.0), nn.Flatten()
        ),
        (1, 8, 8),
    ),
    "residual": (
        lambda: nn.Sequential(
            Residual(nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Dropout(0.5))), nn.Softplus()
        ),
        (5,),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_certified_constant_is_above_every_jacobian_and_difference(name, seed):
    torch.manual_seed(seed)
    build, shape = NETWORKS[name]
    network = trained_norms(build(), torch.randn(20, *shape)).double()
    bound = lipschitz_bound(network, shape)
    points = 3 * torch.randn(40, *shape, dtype=torch.float64)
    estimate = jacobian_norm(network, points)
    assert 0 < estimate <= bound
    steps = torch.randn(40, *shape, dtype=torch.float64)
    for size in (1e-3, 1.0, 10.0):
        with torch.no_grad():
            change = (network(points + size * steps) - network(points)).flatten(1).norm(dim=1)
        assert bool((change <= bound * size * steps.flatten(1).norm(dim=1)).all())


def test_a_linear_network_is_the_product_of_its_norms_when_they_align():
    network = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)).eval()
    for layer, scale in zip(network, (2.0, 5.0), strict=True):
        layer.weight.data.copy_(scale * torch.eye(3))
    assert lipschitz_bound(network, (3,)) == pytest.approx(10)
    assert jacobian_norm(network, torch.zeros(1, 3)) == pytest.approx(10)


def test_batch_norm_is_its_scale_at_evaluation():
    layer = nn.BatchNorm1d(2, eps=0.0).eval()
    layer.running_var.copy_(torch.tensor([4.0, 0.25]))
    layer.weight.data.copy_(torch.tensor([6.0, -1.0]))
    assert lipschitz_bound(layer, (2,)) == pytest.approx(3)
    plain = nn.BatchNorm2d(1, affine=False, eps=0.0).eval()
    plain.running_var.fill_(0.25)
    assert lipschitz_bound(plain, (1, 2, 2)) == pytest.approx(2)


def test_the_mean_of_an_image_contracts():
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert lipschitz_bound(pool, (3, 4, 4)) == pytest.approx(0.25)
    points = torch.randn(3, 3, 4, 4)
    assert jacobian_norm(pool.eval(), points) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.GELU(), "module: expected a layer whose Lipschitz constant is known, got GELU"),
        (nn.BatchNorm1d(3), "got batch norm with running statistics in training mode"),
        (nn.Dropout(), "got dropout in training mode; call .eval"),
        (nn.AdaptiveAvgPool2d(2), "output_size: expected 1, got 2"),
        (nn.MaxPool2d(2, dilation=2), "dilation: expected 1, got 2"),
    ],
)
def test_what_has_no_known_constant_is_refused(module, message):
    with pytest.raises(NeuralCollapseError, match=message):
        lipschitz_bound(module, (3, 4, 4))


def test_a_jacobian_in_training_mode_is_refused():
    with pytest.raises(NeuralCollapseError, match="got the network in training mode"):
        jacobian_norm(nn.Linear(2, 2).train(), torch.zeros(1, 2))
