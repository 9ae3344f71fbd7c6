import dataclasses
import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.geometry import simplex_encoded_labels
from neuralcollapse.theory import LayerPeeledModel, gradient_flow, separation_value
from neuralcollapse.theory.flow import driver
from neuralcollapse.theory.flow.asymptotics import SQUARE_ROOTS

PROBLEMS = {"A": ([0, 1, 2, 3] * 5, 6), "B": ([i % 10 for i in range(100)], 16)}


def draw(labels, dim, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = (max(labels) + 1, dim), (len(labels), dim)
    return [scale * torch.randn(*s, generator=generator, dtype=torch.float64) for s in shapes]


def in_ordinary_time(W, H, labels, t):
    """Integrate the loss's own gradient in t, on flattened torch arrays."""
    model = LayerPeeledModel(labels, W.shape[1])

    def velocity(_, y):
        w, h = (torch.from_numpy(x) for x in np.split(y, [W.numel()]))
        gradient = model.gradient(w.reshape(W.shape), h.reshape(H.shape))
        return -np.concatenate([g.numpy().ravel() for g in gradient])

    start = np.concatenate([W.ravel(), H.ravel()])
    y = solve_ivp(velocity, (0, t), start, "DOP853", rtol=1e-12, atol=1e-12).y[:, -1]
    return torch.from_numpy(y[: W.numel()].reshape(W.shape)), torch.from_numpy(
        y[W.numel() :].reshape(H.shape)
    )


def distance(flow, index, W, H):
    error = (flow.W[index] - W).square().sum() + (flow.H[index] - H).square().sum()
    return float((error / (W.square().sum() + H.square().sum())).sqrt())


def least_margins(flow, labels):
    model = LayerPeeledModel(labels, flow.W.shape[2])
    return torch.stack([model.margins(W, H).min() for W, H in zip(flow.W, flow.H, strict=True)])


@pytest.fixture(scope="module")
def ordinary():
    return {
        name: (labels, *draw(labels, dim), *in_ordinary_time(*draw(labels, dim), labels, 1e4))
        for name, (labels, dim) in PROBLEMS.items()
    }


@pytest.mark.parametrize(
    ("problem", "method", "rtol", "accuracy"),
    [
        ("A", "auto", None, 1e-12),
        ("A", "explicit", None, 1e-12),
        ("A", "implicit", None, 1e-10),
        ("A", "matrix-free", None, 1e-4),
        ("B", "explicit", None, 1e-12),
        ("B", "matrix-free", None, 1e-4),
        pytest.param("A", "matrix-free", 1e-8, 1e-7, marks=pytest.mark.slow),
        pytest.param("B", "matrix-free", 1e-8, 1e-7, marks=pytest.mark.slow),
    ],
)
def test_the_state_is_that_of_ordinary_time(ordinary, problem, method, rtol, accuracy):
    labels, W0, H0, W, H = ordinary[problem]
    flow = gradient_flow(W0, H0, labels, [-40.0, -5.0, math.log(1e4)], method, rtol)
    assert flow.status == "ok"
    assert distance(flow, 2, W, H) < accuracy
    # At t = e^-40 nothing has happened yet; at e^-5 one step of Euler is 2 digits right.
    assert distance(flow, 0, W0, H0) < 1e-15
    gradient = LayerPeeledModel(labels, W.shape[1]).gradient(W0, H0)
    euler = [x - math.exp(-5) * g for x, g in zip((W0, H0), gradient, strict=True)]
    assert distance(flow, 1, *euler) < 0.01


@pytest.mark.parametrize("method", ["explicit", "implicit", "matrix-free"])
def test_log_times_do_not_disturb_each_other(method):
    labels, dim = PROBLEMS["A"]
    dense = gradient_flow(*draw(labels, dim), labels, np.linspace(-3, 30, 12), method)
    alone = gradient_flow(*draw(labels, dim), labels, 30.0, method)
    tolerance = {"explicit": 1e-11, "implicit": 1e-9, "matrix-free": 1e-4}[method]
    assert distance(alone, 0, dense.W[-1], dense.H[-1]) < tolerance
    assert dense.log_t.tolist() == np.linspace(-3, 30, 12).tolist()


@pytest.mark.parametrize("method", ["implicit", "matrix-free"])
def test_far_out_the_methods_agree_and_conserve(method):
    labels, dim = PROBLEMS["A"]
    flow = gradient_flow(*draw(labels, dim), labels, [1e2, 1e4, 1e6], method)
    assert flow.status == "ok"
    assert flow.method == method
    assert float(flow.invariant_drift.max()) < 1e-4
    assert float(flow.mean_row_drift.max()) < 1e-8
    # log t = -log L - log g^2 + O(1 / log t) with g^2 = 2 q / D, an independent clock.
    slope = 2 * least_margins(flow, labels) / separation_value([5, 5, 5, 5])
    lag = flow.log_t + flow.log_loss + slope.log()
    assert float(lag[2].abs()) < 1e-4
    gap = flow.gap.log10().diff() / 2
    assert gap.tolist() == pytest.approx([-1, -1], abs=0.1)


@given(seed=st.integers(0, 9), classes=st.integers(2, 4), extra=st.integers(0, 2))
@settings(max_examples=6)
def test_rotation_and_relabelling_commute_with_the_flow(seed, classes, extra):
    labels = [i % classes for i in range(2 * classes + 1)]
    dim = classes - 1 + extra
    W0, H0 = draw(labels, dim, seed=seed)
    flow = gradient_flow(W0, H0, labels, [0.0, 20.0])
    rotation = torch.linalg.qr(draw([1], dim, seed=seed + 1)[0].T @ draw([1], dim)[0] + 1)[0]
    swap = torch.arange(classes).flip(0)
    moved = gradient_flow(
        (W0 @ rotation)[swap], H0 @ rotation, [classes - 1 - y for y in labels], [0.0, 20.0]
    )
    assert distance(moved, 1, (flow.W[1] @ rotation)[swap], flow.H[1] @ rotation) < 1e-9
    torch.testing.assert_close(moved.log_loss, flow.log_loss, rtol=1e-9, atol=1e-9)


def test_a_balanced_start_collapses_like_a_power_of_t():
    # W0 centred and W0^T W0 = H0^T H0: no conserved quantity holds the errors at 1 / log t. The
    # within-class error is c e^{-q/2K} / sqrt(q), and the margin q = log t + log log t + O(1).
    labels, classes = PROBLEMS["A"][0], 4
    W0, _ = draw(labels, 6, scale=0.3)
    W0 = W0 - W0.mean(0)
    frame = torch.linalg.qr(draw(labels, classes, seed=1)[1])[0]
    flow = gradient_flow(W0, frame @ W0, labels, np.arange(100.0, 131.0, 10.0), "explicit")
    margin = least_margins(flow, labels)
    scaled = flow.errors.within_class.log() + margin.log() / 2
    slope = np.polyfit(margin, scaled, 1)[0]
    assert slope == pytest.approx(-1 / (2 * classes), rel=1e-5)
    assert float(flow.invariant_drift.max()) < 1e-11


def test_where_the_implicit_method_gives_up_the_matrix_free_one_takes_over():
    # d = K - 1: a sample changes sides in a collision of margins late, between 1e4 and 1e6.
    labels = [0, 1, 2, 3] * 5
    flow = gradient_flow(*draw(labels, 3), labels, [1e4, 1e6], rtol=1e-5)
    assert flow.method == "explicit + implicit + matrix-free"
    assert flow.status == "ok"
    assert float(flow.gap[1]) < 1e-4 * float(flow.gap[0])


@pytest.mark.parametrize("sizes", [(4, 2, 1), (5, 3, 2, 1)])
def test_imbalanced_classes_converge_to_simplex_encoded_labels(sizes):
    labels = [k for k, size in enumerate(sizes) for _ in range(size)]
    flow = gradient_flow(*draw(labels, len(sizes)), labels, [1e2, 1e4, 1e6])
    target = simplex_encoded_labels(labels)
    distances = []
    for W, H in zip(flow.W, flow.H, strict=True):
        logits = H @ (W - W.mean(0)).T
        distances.append(float((logits / logits.norm() - target / target.norm()).norm()))
    assert distances[2] < 1e-5
    assert distances[2] < 1e-3 * distances[0]
    assert float(flow.gap[2]) < 1e-4


def test_a_reduced_state_goes_the_same_way():
    # d = K: at log t = 1e5 not all margins have met, and the state is followed at a tenth of it.
    labels = [i % 6 for i in range(18)]
    W0, H0 = draw(labels, 6)
    flow = gradient_flow(W0, H0, labels, [1e4, 1e5], "matrix-free")
    assert flow.status == "ok"
    assert float(flow.invariant_drift.max()) < 1e-6
    assert float(flow.mean_row_drift.max()) < 1e-8
    # log t + log L + log |grad log L|^2 = O(1 / log t), whatever the margins.
    model = LayerPeeledModel(labels, 6)
    for W, H, log_t, log_loss in zip(flow.W, flow.H, flow.log_t, flow.log_loss, strict=True):
        slope = sum(float(part.square().sum()) for part in model.log_gradient(W, H))
        assert float(log_t + log_loss) + math.log(slope) == pytest.approx(0, abs=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("dim", [9, 10])
def test_ten_classes_without_room_to_the_end_of_double_precision(dim):
    labels = [i % 10 for i in range(100)]
    flow = gradient_flow(*draw(labels, dim), labels, [1e6, 1e8])
    assert flow.status == "ok"
    assert float(flow.gap[-1]) < 1e-6


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 2))])
def test_exponents_over_three_decades_of_log_t(seed):
    labels, dim = PROBLEMS["A"]
    flow = gradient_flow(*draw(labels, dim, seed=seed), labels, np.geomspace(1e3, 1e6, 13))
    expected = {name: -0.5 if name in SQUARE_ROOTS else -1.0 for name in vars(flow.errors)}
    fitted = {
        name: np.polyfit(flow.log_t.log(), error.log(), 1)[0]
        for name, error in vars(flow.errors).items()
    }
    assert fitted == pytest.approx(expected, abs=0.01)
    assert float(flow.gap[-1]) < 1e-5


@pytest.mark.slow
def test_the_gap_reaches_a_millionth():
    labels, dim = PROBLEMS["A"]
    flow = gradient_flow(*draw(labels, dim, scale=0.3), labels, [1e6])
    assert float(flow.gap[0]) < 1e-6


def test_beyond_double_precision_nothing_is_invented():
    labels, dim = PROBLEMS["A"]
    flow = gradient_flow(*draw(labels, dim), labels, [1.0, 2.0, 1e9, 1e10])
    assert flow.status == "stopped at double precision"
    assert flow.log_t.tolist() == [1.0, 2.0]
    assert flow.unreached.tolist() == [1e9, 1e10]
    assert flow.W.shape == (2, 4, 6)


def test_leaving_the_slow_manifold_is_noticed(monkeypatch):
    # Noise of one unit of margin: the primal side stays near collapse, the dual bound does not.
    labels, dim = PROBLEMS["A"]
    honest = driver.explicit_steps

    def noisy(field, start, log_times, rtol):
        rng = np.random.default_rng(0)
        for step in honest(field, start, log_times, rtol):
            noise = 0.1 * rng.normal(size=field.size) * (step.log_t > 50)
            yield dataclasses.replace(step, state=step.state + noise)

    monkeypatch.setattr(driver, "explicit_steps", noisy)
    with pytest.warns(RuntimeWarning, match="the duality gap grew"):
        flow = gradient_flow(*draw(labels, dim), labels, [40.0, 80.0], "explicit")
    assert flow.status == "left the slow manifold"
    assert float(flow.errors.self_duality[1]) < 0.1


def test_an_integrator_that_gives_up_says_so():
    labels, dim = PROBLEMS["A"]
    flow = gradient_flow(*draw(labels, dim), labels, [1e2, 1e3], "implicit", rtol=1e-3)
    assert flow.status == "step size underflow"
    assert flow.unreached.tolist() == [1e2, 1e3]
    assert flow.H.shape == (0, 20, 6)
    assert flow.errors.self_duality.shape == (0,)


def test_before_the_classes_are_separated_there_is_no_gap():
    labels, dim = PROBLEMS["A"]
    flow = gradient_flow(*draw(labels, dim), labels, [-5.0, 30.0], progress=True)
    assert flow.gap.isnan().tolist() == [True, False]


W, H, LABELS = *draw([0, 1, 2, 2], 2), [0, 1, 2, 2]
SADDLE = [[1.0], [-1.0]], [[-1.0], [1.0]], [0, 1], [100.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gradient_flow(W, H, LABELS, [2.0, 1.0]), "log_times: expected increasing"),
        (lambda: gradient_flow(W, H, LABELS, []), "log_times: expected a list of log times"),
        (lambda: gradient_flow(W, H, LABELS[1:], [1.0]), "labels: expected 4 labels, one per row"),
        (lambda: gradient_flow(W, H, [0, 1, 1, 0], [1.0]), r"of 3 classes, got none of \[2\]"),
        (lambda: gradient_flow(W, H[:, :1], LABELS, [1.0]), "H0: expected 2 columns, as W0 has"),
        (lambda: gradient_flow(W, H, LABELS, [1.0], rtol=0.5), "rtol: expected a tolerance"),
        (
            lambda: gradient_flow(0 * W, 0 * H, LABELS, [1.0]),
            "W0, H0: expected a start from which the loss can fall, got a stationary point",
        ),
        *(
            (
                lambda method=method, rtol=rtol: gradient_flow(*SADDLE, method=method, rtol=rtol),
                "separates the classes, got a flow at rest, not separating",
            )
            for method, rtol in (("explicit", None), ("implicit", None), ("matrix-free", 1e-3))
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


def test_an_unknown_method_is_refused():
    with pytest.raises(NeuralCollapseError, match=r"one of auto, .*, matrix-free, got 'euler'"):
        inspect.unwrap(gradient_flow)(W, H, LABELS, [1.0], "euler")


@pytest.mark.parametrize(
    ("start", "times", "message"),
    [(math.nan, [1.0], "W0: expected finite numbers"), (1.0, [math.inf], "log_times: expected")],
)
def test_what_is_not_finite_is_refused(start, times, message):
    with pytest.raises(NonFiniteError, match=message):
        gradient_flow(start * W, H, LABELS, times)
