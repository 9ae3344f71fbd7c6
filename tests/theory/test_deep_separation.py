import pytest
import torch
from scipy.optimize import minimize

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.theory import deep_separation, separation_value

# K, M, the least cost known without the factor M, and its configuration.
KNOWN = [
    *[(4, M, cost, name) for M, cost, name in ((2, 3, "simplex"), (4, 2.828427, "pairs"))],
    *[(5, M, cost, name) for M, cost, name in ((3, 4, "simplex"), (4, 3.774173, "pairs"))],
    *[(5, 6, 3.07035, "polygon"), (6, 2, 5, "simplex"), (6, 3, 4.762203, "pairs")],
    *[(6, 5, 3.958517, "pairs"), (6, 6, 3.63424, "polygon"), (6, 8, 3.13017, "polygon")],
    (7, 3, 5.7121, "pairs"),
]
SEARCHED = [
    *[(10, 3, 7.93701, "pairs"), (10, 4, 6.9282, "code in 4 dimensions")],
    *[(10, 5, 5.959, "code in 3 dimensions"), (10, 8, 4.52401, "polygon")],
]


@pytest.mark.parametrize(
    ("classes", "factors", "cost", "name"),
    [*KNOWN, *(pytest.param(*case, marks=pytest.mark.slow) for case in SEARCHED)],
)
def test_the_least_costs_that_are_known(classes, factors, cost, name):
    found = deep_separation(classes, factors)
    assert found.cost / factors <= cost * (1 + 2e-5)
    assert found.cost / factors == pytest.approx(cost, rel=2e-4)
    assert found.name == name
    assert found.status == ("optimal" if factors == 2 else "best known")
    assert found.rivals[name] == found.cost == min(found.rivals.values())
    for k in range(classes):
        for j in range(classes):
            if j != k:
                assert float(found.logits[k, k] - found.logits[k, j]) >= 1 - 1e-9
    powers = found.singular_values ** (2 / factors)
    assert factors * float(powers.sum()) == pytest.approx(found.cost)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_head_and_features_alone_are_minimum_norm_separation(classes):
    # The least of (||W||^2 + ||H||^2) / 2, twice.
    for n in (1, 4):
        best = deep_separation(classes, 2, n)
        assert best.cost / 2 == pytest.approx(separation_value([n] * classes))
    assert deep_separation(classes, 1).name == "simplex"


def test_samples_change_the_cost_and_not_the_order():
    one, many = deep_separation(6, 4), deep_separation(6, 4, samples_per_class=9)
    assert list(one.rivals) == list(many.rivals)
    assert many.cost == pytest.approx(one.cost * 9 ** (1 / 4))


@pytest.mark.parametrize(("classes", "factors"), [(4, 3), (4, 5)])
def test_no_start_of_a_soft_search_goes_below(classes, factors):
    # Another way: penalise margins below 1, all of the K x K logits free.
    own = torch.eye(classes, dtype=torch.bool)

    def penalised(flat, weight):
        x = torch.from_numpy(flat).requires_grad_()
        logits = x.view(classes, classes)
        lack = (1 - logits.diagonal()[:, None] + logits)[~own].clamp(min=0)
        singular = torch.linalg.svdvals(logits)
        value = ((singular**2 + 1e-8) ** (1 / factors)).sum() + weight * lack.square().sum()
        return float(value.detach()), torch.autograd.grad(value, x)[0].numpy()

    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        flat = torch.randn(classes**2, generator=generator, dtype=torch.float64).numpy()
        for weight in (1.0, 10.0, 1e3):
            options = {"maxiter": 150}
            flat = minimize(penalised, flat, weight, jac=True, method="L-BFGS-B", options=options).x
        logits = torch.from_numpy(flat).view(classes, classes)
        least = float((logits.diagonal()[:, None] - logits)[~own].min())
        cost = float((torch.linalg.svdvals(logits / least) ** (2 / factors)).sum())
        assert cost > deep_separation(classes, factors).cost / factors * (1 - 1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: deep_separation(1, 2), "num_classes: expected at least 2, got 1"),
        (lambda: deep_separation(4, 0), "factors: expected at least 1, got 0"),
        (lambda: deep_separation(4, 2, 0), "samples_per_class: expected at least 1, got 0"),
    ],
)
def test_refuses_numbers_that_make_no_sense(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()
