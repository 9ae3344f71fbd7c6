"""Each score against the paper's formula on all training features, in numpy and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax
from sklearn.covariance import EmpiricalCovariance
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from torch import nn

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.geometry import simplex_etf
from neuralcollapse.moments import ClassMoments
from neuralcollapse.ood import (
    METHODS,
    NCI,
    NECO,
    Energy,
    Mahalanobis,
    MaxSoftmax,
    NearestMean,
    ViM,
    auroc,
    ood_scores,
    score,
)

K, D, N = 4, 7, 60


@pytest.fixture
def data(generator):
    """Unbalanced training features away from the origin, a head with a bias, and new features."""
    labels = torch.cat([torch.arange(K), torch.randint(K, (N - K,), generator=generator) ** 2 % K])
    centers = 3 * torch.randn(K, D, generator=generator).double() + 2
    spread = torch.randn(D, D, generator=generator).double()
    train = centers[labels] + torch.randn(N, D, generator=generator).double() @ spread
    weight = torch.randn(K, D, generator=generator).double()
    bias = torch.randn(K, generator=generator).double()
    new = 4 * torch.randn(25, D, generator=generator).double()
    return ClassMoments(K, D).update(train, labels), train, labels, weight, bias, new


def close(scores, reference):
    assert scores.dtype == torch.float64
    np.testing.assert_allclose(scores.numpy(), reference, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("count", [None, 1, 5])
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("max_logit", [True, False])
def test_neco_is_the_share_of_principal_components(data, count, standardize, max_logit):
    moments, train, _, weight, bias, new = data
    scaler = StandardScaler(with_std=standardize).fit(train)
    full = scaler.transform(new)
    reduced = PCA().fit(scaler.transform(train)).transform(full)[:, : count or K - 1]
    reference = np.linalg.norm(reduced, axis=1) / np.linalg.norm(full, axis=1)
    if max_logit:
        reference *= (new @ weight.T + bias).numpy().max(1)
    options = {"num_components": count, "standardize": standardize, "max_logit": max_logit}
    close(NECO(moments, weight, bias, **options)(new), reference)


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_nci_is_the_proximity_to_the_predicted_row(data, alpha):
    moments, train, _, weight, bias, new = data
    reference = []
    for x in new.numpy():
        row = weight.numpy()[np.argmax(weight.numpy() @ x + bias.numpy())]
        centered = x - train.numpy().mean(0)
        reference.append(row @ centered / np.linalg.norm(centered) + alpha * np.abs(x).sum())
    close(NCI(moments, weight, bias, alpha=alpha)(new), reference)


@pytest.mark.parametrize("with_bias", [True, False])
def test_vim_ranks_as_the_probability_of_the_virtual_class(data, with_bias):
    moments, train, _, weight, bias, new = data
    offset = bias.numpy() if with_bias else np.zeros(K)
    origin = -np.linalg.pinv(weight.numpy()) @ offset
    covariance = EmpiricalCovariance(assume_centered=True).fit(train.numpy() - origin).covariance_
    values, vectors = np.linalg.eigh(covariance)
    residual = vectors[:, np.argsort(-values)[3:]]
    train_logits = train.numpy() @ weight.numpy().T + offset
    norms = np.linalg.norm((train.numpy() - origin) @ residual, axis=1)
    alpha = train_logits.max(1).mean() / norms.mean()
    logits = new.numpy() @ weight.numpy().T + offset
    virtual = alpha * np.linalg.norm((new.numpy() - origin) @ residual, axis=1)
    vim = ViM(
        moments,
        weight,
        bias if with_bias else None,
        num_components=3,
        train_features=train,
    )
    assert vim.alpha == pytest.approx(alpha)
    close(vim(new), logsumexp(logits, axis=1) - virtual)
    # The paper's score is a softmax probability, which falls as ours rises.
    probability = softmax(np.column_stack([logits, virtual]), axis=1)[:, -1]
    np.testing.assert_array_equal(np.argsort(probability), np.argsort(-vim(new).numpy()))


def test_mahalanobis_shares_one_covariance_among_the_classes(data):
    moments, train, labels, _, _, new = data
    means = np.stack([train[labels == k].numpy().mean(0) for k in range(K)])
    precision = (
        EmpiricalCovariance(assume_centered=True)
        .fit((train - torch.from_numpy(means)[labels]).numpy())
        .precision_
    )
    reference = [-min((x - m) @ precision @ (x - m) for m in means) for x in new.numpy()]
    close(Mahalanobis(moments)(new), reference)


def test_nearest_mean_and_the_baselines(data):
    moments, train, labels, weight, bias, new = data
    means = torch.stack([train[labels == k].mean(0) for k in range(K)])
    close(NearestMean(moments)(new), [-min(math.dist(x, m) for m in means) for x in new])
    logits = (new @ weight.T + bias).numpy()
    close(MaxSoftmax(moments, weight, bias)(new), softmax(logits, axis=1).max(1))
    energy = 2 * np.log(np.exp(logits / 2).sum(1))
    close(Energy(moments, weight, bias, temperature=2.0)(new), energy)


def test_collapse_gives_the_values_known_in_closed_form(generator):
    vertices = simplex_etf(K, D, generator=generator)
    labels = torch.arange(K).repeat(5)
    mean = torch.randn(D, generator=generator).double()
    features = (mean + 2 * vertices)[labels]
    moments = ClassMoments(K, D).update(features, labels)
    weight, bias = 3 * vertices, -3 * vertices @ mean
    ones = torch.ones(len(labels)).double()
    for standardize in (True, False):
        neco = NECO(moments, standardize=standardize)
        torch.testing.assert_close(neco(features), ones)
    # A direction off the class means: nothing of it is familiar.
    foreign = torch.linalg.svd(vertices).Vh[-1]
    neco = NECO(moments, standardize=False)
    assert float(neco(mean[None] + foreign)) == pytest.approx(0, abs=1e-7)
    torch.testing.assert_close(NCI(moments, weight, bias)(features), 3 * ones)  # the row's norm
    assert float(NCI(moments, weight, bias)(mean[None] + foreign)) == pytest.approx(0, abs=1e-7)
    torch.testing.assert_close(NearestMean(moments)(features), 0 * ones, atol=1e-7, rtol=0)


# Options with which every score is blind to a rotation of features and head.
ROTATION = {
    "neco": {"standardize": False},
    "nci": {},
    "vim": {"num_components": 3},
    "nearest_mean": {},
    "mahalanobis": {},
    "msp": {},
    "energy": {},
}


def options(method, features):
    return ROTATION[method] | ({"train_features": features} if method == "vim" else {})


@pytest.mark.parametrize("method", ROTATION)
def test_a_rotation_changes_nothing(data, method, generator):
    moments, train, labels, weight, bias, new = data
    rotation = torch.linalg.qr(torch.randn(D, D, generator=generator).double()).Q
    turned = ClassMoments(K, D).update(train @ rotation, labels)
    before = ood_scores(moments, weight, bias, new, method, **options(method, train))
    after = ood_scores(
        turned,
        weight @ rotation,
        bias,
        new @ rotation,
        method,
        **options(method, train @ rotation),
    )
    torch.testing.assert_close(after, before)


@pytest.mark.parametrize("method", ["neco", "vim", "mahalanobis", "msp", "energy"])
def test_the_unit_of_the_features_does_not_matter(data, method):
    moments, train, labels, weight, bias, new = data
    scaled = ClassMoments(K, D).update(10 * train, labels)
    before = ood_scores(moments, weight, bias, new, method, **options(method, train))
    after = ood_scores(scaled, weight / 10, bias, 10 * new, method, **options(method, 10 * train))
    torch.testing.assert_close(after, before)


@pytest.mark.parametrize("dim", [3, 5, 7])
def test_neco_by_default_is_never_constant(dim):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(160) % 8  # K - 1 = 7 components of 3, 5 or 7 features
    features = torch.randn(160, dim, generator=generator)
    scores = NECO(ClassMoments(8, dim).update(features, labels))(features)
    assert float(scores.std()) > 0.01
    with pytest.raises(NeuralCollapseError, match=f"1 to d - 1 = {dim - 1}, got {dim}"):
        NECO(ClassMoments(8, dim).update(features, labels), num_components=dim)


def test_neco_standardized_does_not_see_the_units_of_coordinates(data):
    moments, train, labels, _, _, new = data
    units = torch.logspace(-2, 2, D).double()
    rescaled = ClassMoments(K, D).update(train * units, labels)
    torch.testing.assert_close(NECO(rescaled)(new * units), NECO(moments)(new))


@pytest.mark.parametrize("method", METHODS)
def test_foreign_features_score_lower(method, generator):
    """Classes far out in a subspace; foreign samples near 0 and off it.

    NECO does not standardise here: that would blow up the coordinates that hold noise alone.
    """
    labels = torch.arange(K).repeat(50)
    vertices = simplex_etf(K, D, "axis")
    noise = 0.3 * torch.randn(2 * len(labels), D, generator=generator).double()
    inside = 8 * vertices[labels].repeat(2, 1) + noise
    train, test = inside[: len(labels)], inside[len(labels) :]
    foreign = torch.randn(200, D, generator=generator).double() * torch.tensor([0.3] * K + [2] * 3)
    moments = ClassMoments(K, D).update(train, labels)
    score = METHODS[method](moments, vertices, None, **options(method, train))
    assert auroc(score(test), score(foreign)) > 0.99


def test_classes_without_samples_are_left_out():
    moments = ClassMoments(3, 2).update(torch.tensor([[0.0, 1.0], [4.0, 0.0]]), [0, 2])
    new = torch.tensor([[4.0, 1.0]])
    for method in ("neco", "nearest_mean"):
        assert torch.isfinite(ood_scores(moments, None, None, new, method)).all()


def test_zero_vectors_and_no_samples_have_a_defined_answer(data):
    moments, train, _, weight, bias, _ = data
    mean = train.mean(0, keepdim=True)
    assert abs(float(NECO(moments)(mean))) <= 1
    centred = ClassMoments(2, 2).update(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), [0, 1])
    zero = torch.zeros(1, 2)
    assert float(NECO(centred)(zero)) == float(NCI(centred, torch.eye(2))(zero)) == 0
    for method in METHODS:
        assert ood_scores(
            moments, weight, bias, train[:0], method, **options(method, train)
        ).shape == (0,)


def test_the_order_of_classes_that_tie_does_not_matter_to_nci():
    moments = ClassMoments(2, 2).update(torch.tensor([[0.0, 0.0], [2.0, 0.0]]), [0, 1])
    for weight in (torch.eye(2), torch.eye(2).flip(0)):
        # From the mean (1, 0) to (2, 2): 1 along one row, 2 along the other.
        score = NCI(moments, weight)(torch.tensor([[2.0, 2.0]]))
        assert float(score) == pytest.approx(1 / 5**0.5)


def test_many_rows_are_scored_in_chunks(data):
    moments, _, _, weight, bias, new = data
    many = new.repeat(400, 1)
    scores = NCI(moments, weight, bias)(many)
    torch.testing.assert_close(scores, NCI(moments, weight, bias)(new).repeat(400))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, w, x: ood_scores(m, w, None, x, "odin"), NeuralCollapseError, "one of neco, n"),
        (lambda m, w, x: NCI(m), NeuralCollapseError, "the head, which NCI needs, got none"),
        (lambda m, w, x: NECO(m, max_logit=True), NeuralCollapseError, "which NECO needs"),
        (lambda m, w, x: NECO(m, num_components=8), NeuralCollapseError, "1 to d - 1 = 6, got 8"),
        (
            lambda m, w, x: ViM(m, w),
            NeuralCollapseError,
            "or alpha, which class moments do not give",
        ),
        (lambda m, w, x: ViM(m, w, num_components=7), NeuralCollapseError, "1 to d - 1 = 6"),
        (lambda m, w, x: NECO(m)(x[:, 1:]), NeuralCollapseError, r"shape \(n, 7\), got \(25, 6\)"),
        (lambda m, w, x: NECO(m)(x / 0), NonFiniteError, "finite numbers"),
        (lambda m, w, x: NCI(m, w[1:]), NeuralCollapseError, r"shape \(4, 7\), got \(3, 7\)"),
        (lambda m, w, x: Energy(m, w, temperature=0.0), NeuralCollapseError, "temperature"),
    ],
)
def test_bad_input_is_refused(data, call, error, message):
    moments, _, _, weight, _, new = data
    with pytest.raises(error, match=message):
        call(moments, weight, new)


def test_exact_collapse_is_refused_where_there_is_no_scale():
    vertices = simplex_etf(3, 4, "axis")
    labels = torch.arange(3).repeat(4)
    moments = ClassMoments(3, 4).update(vertices[labels], labels)
    with pytest.raises(NeuralCollapseError, match="some variance within the classes, got none"):
        Mahalanobis(moments)
    with pytest.raises(NeuralCollapseError, match="leaves a residual of the training features"):
        ViM(moments, vertices, num_components=3, train_features=vertices)


@pytest.mark.parametrize("shrinkage", [0.0, 0.3, 1.0])
def test_mahalanobis_with_shrinkage_is_that_of_the_shrunk_scatter(shrinkage):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 4, generator=generator).double(), torch.arange(60) % 3
    moments = ClassMoments(3, 4).update(x, y)
    within = moments.within
    shrunk = (1 - shrinkage) * within + shrinkage * within.trace() / 4 * torch.eye(4)
    inverse = torch.linalg.inv(shrunk)
    steps = x[:, None] - moments.means
    expected = -torch.einsum("nki,ij,nkj->nk", steps, inverse, steps).amin(1)
    found = ood_scores(moments, None, None, x, "mahalanobis", shrinkage=shrinkage)
    torch.testing.assert_close(found, expected)


def test_oas_is_that_of_scikit_learn_and_helps_where_samples_are_few():
    from sklearn.covariance import OAS

    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 30, generator=generator).double(), torch.arange(40) % 2
    moments = ClassMoments(2, 30).update(x, y)
    centred = x - moments.means[y]
    fitted = OAS(assume_centered=True).fit(centred.numpy())
    inverse = torch.tensor(fitted.get_precision())
    steps = x[:, None] - moments.means
    expected = -torch.einsum("nki,ij,nkj->nk", steps, inverse, steps).amin(1)
    found = ood_scores(moments, None, None, x, "mahalanobis", shrinkage="oas")
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("shrinkage", [-0.1, 1.5, "ledoit"])
def test_a_shrinkage_that_is_no_share_is_refused(shrinkage):
    moments = ClassMoments(2, 1).update(torch.tensor([[0.0], [1.0], [4.0]]), [0, 0, 1])
    with pytest.raises(NeuralCollapseError, match=r"shrinkage: expected a share in \[0, 1\]"):
        ood_scores(moments, None, None, torch.ones(1, 1), "mahalanobis", shrinkage=shrinkage)


def test_a_loader_is_scored_in_one_call():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    batches = [(torch.randn(30, 2), torch.arange(30) % 3) for _ in range(3)]
    report = nc.measure(model, batches)
    arrays = nc.extract_features(model, batches[:1])
    for method in ("nci", "msp"):
        expected = ood_scores(
            report.train.moments, report.weight, report.bias, arrays["features"], method
        )
        for train in (report, report.train.moments, batches):
            found = nc.ood.score(model, batches[:1], method, train=train)
            torch.testing.assert_close(found, expected)
    torch.testing.assert_close(nc.ood.score(model, batches[:1], "msp"), expected)
    with pytest.raises(NeuralCollapseError, match="train: expected the training data, which 'nci'"):
        nc.ood.score(model, batches)
    with pytest.raises(NeuralCollapseError, match="method: expected one of"):
        nc.ood.score(model, batches, "magic")


@pytest.mark.parametrize(
    ("method", "known"), [("energy", "temperature"), ("msp", "it has none"), ("nci", "alpha")]
)
def test_an_option_that_a_method_does_not_have_is_refused_by_name(method, known):
    expected = f"options: expected options of '{method}': {known}, got 'temprature'"
    with pytest.raises(NeuralCollapseError, match=expected):
        score(None, [], method, train=[], temprature=2.0)
    with pytest.raises(NeuralCollapseError, match=expected):
        ood_scores(ClassMoments(2, 1), None, None, torch.ones(1, 1), method, temprature=2.0)


@pytest.mark.parametrize("method", METHODS)
def test_one_call_scores_by_every_method(method, generator):
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    rows = torch.randn(2, 30, 2, generator=generator).double()
    batches = [(part, torch.arange(30) % 3) for part in rows]
    found = score(model, batches, method, train=iter(batches))
    arrays = nc.extract_features(model, batches)
    moments = nc.measure_features(**arrays).train.moments
    options = {"train_features": arrays["features"]} if method == "vim" else {}
    head = (arrays["weight"], arrays.get("bias"))
    close(found, ood_scores(moments, *head, arrays["features"], method, **options).numpy())


@pytest.mark.parametrize("method", [NECO, ViM])
def test_one_dimension_leaves_no_component_out(method):
    moments = ClassMoments(2, 1).update(torch.tensor([[0.0], [4.0]]), [0, 1])
    expected = f"features: expected at least 2 dimensions, of which {method.__name__} leaves some"
    with pytest.raises(NeuralCollapseError, match=expected):
        method(moments, torch.ones(2, 1))
