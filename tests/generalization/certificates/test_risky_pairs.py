import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.generalization import pair_risks
from neuralcollapse.moments import ClassMoments


def draw(seed, n=60, num_classes=4, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (n,), generator=generator)
    logits = spread * torch.randn(n, num_classes, generator=generator, dtype=torch.float64)
    logits[torch.arange(n), labels] += 2
    return logits, labels


def test_each_row_is_its_definition():
    logits, labels = draw(0)
    table = pair_risks(logits, labels)
    assert len(table) == 4 * 3
    assert table["risk"].is_monotonic_decreasing
    for row in table.to_dict(orient="records"):
        i, j = row["class"], row["rival"]
        margins = [float(s[i] - s[j]) for s, y in zip(logits, labels, strict=True) if y == i]
        mean, variance = np.mean(margins), np.var(margins)
        assert row["samples"] == len(margins)
        assert row["errors"] == sum(m <= 0 for m in margins)
        assert row["mean"] == pytest.approx(mean)
        assert row["deviation"] == pytest.approx(variance**0.5)
        assert row["cantelli"] == pytest.approx(variance / (variance + mean**2))
        assert row["risk"] == pytest.approx(len(margins) / 60 * row["cantelli"])


@given(seed=st.integers(0, 1000), spread=st.floats(0.1, 5))
def test_the_risks_bound_the_errors_of_the_sample(seed, spread):
    logits, labels = draw(seed, spread=spread)
    table = pair_risks(logits, labels)
    assert (table["cantelli"] >= table["errors"] / table["samples"] - 1e-12).all()
    rivals = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    error = float((logits.gather(1, labels[:, None])[:, 0] <= rivals).double().mean())
    assert table["risk"].sum() >= error - 1e-12


def test_of_nearest_means_it_is_the_directional_cdnv():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    centres = 3 * torch.randn(3, 5, generator=generator, dtype=torch.float64)
    features = centres[labels] + torch.randn(90, 5, generator=generator, dtype=torch.float64)
    moments = ClassMoments(3, 5, scatter="per_class").update(features, labels)
    means, scatter = moments.means, moments.state_dict()["scatter"] / 30
    table = pair_risks(features @ means.T - means.square().sum(1) / 2, labels)
    for row in table.to_dict(orient="records"):
        gap = means[row["class"]] - means[row["rival"]]
        directional = float(gap @ scatter[row["class"]] @ gap / gap.square().sum() ** 2)
        assert row["cantelli"] == pytest.approx(directional / (directional + 1 / 4))


def test_a_mean_not_above_zero_says_nothing_and_absent_classes_have_no_row():
    logits = torch.tensor([[0.0, 1.0, 5.0], [0.0, 0.0, 4.0], [0.0, 3.0, 9.0]])
    table = pair_risks(logits, [1, 1, 1], class_names=["a", "b", "c"])
    assert list(zip(table["class"], table["rival"], strict=True)) == [("b", "c"), ("b", "a")]
    assert table["cantelli"].iloc[0] == 1.0
    assert table["errors"].tolist() == [3, 1]  # a tie is an error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(3, 1), [0, 0, 0]), r"logits: expected shape \(n, K\), n >= 1, K >= 2, got"),
        ((torch.ones(0, 2), []), r"n >= 1, K >= 2, got \(0, 2\); pass one row per held-out sample"),
        ((torch.ones(2, 2), [0]), "labels: expected 2 labels, one per row"),
        ((torch.ones(2, 2), [0, 2]), "labels: expected labels of at least 0 and below"),
        ((torch.ones(2, 2), [0, 1], ["a"]), "class_names: expected 2 names, one per class, got 1"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(NeuralCollapseError, match=message):
        pair_risks(*arguments)


def test_nan_is_refused():
    with pytest.raises(NonFiniteError, match="logits: expected finite numbers"):
        pair_risks(torch.tensor([[1.0, float("nan")]]), [0])
