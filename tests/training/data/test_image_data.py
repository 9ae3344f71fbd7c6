import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training import ImageData, TrainConfig, load_dataset, train


def make(sizes, channels=1):
    """Images whose only pixel of channel 0 is their number, classes in a shuffled order."""
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    images = torch.arange(float(len(labels)))[:, None, None, None].repeat(1, channels, 1, 1)
    split = TensorDataset(images, labels)
    return ImageData("made", split, split, tuple(map(str, range(len(sizes)))))


def test_a_subset_has_the_first_images_of_every_class():
    data = make([5, 3, 4])
    subset = data.subset(2)
    numbers, labels = subset.train.tensors[0].flatten(), subset.train.tensors[1]
    everything = data.train.tensors[1].tolist()
    for k in range(3):
        expected = [i for i, label in enumerate(everything) if label == k][:2]
        assert numbers[labels == k].tolist() == expected
    assert numbers.tolist() == sorted(numbers.tolist())
    assert subset.test is data.test
    for per_class in (0, 4):
        with pytest.raises(NeuralCollapseError, match=f"per_class: expected 1 to 3 .*{per_class}"):
            data.subset(per_class)


def test_test_images_are_cut_apart_from_the_training_images():
    data = make([5, 3, 4])
    subset = data.subset(test_per_class=2)
    assert subset.train is data.train
    assert torch.equal(subset.test.tensors[0], data.subset(2).train.tensors[0])
    both = data.subset(3, 1)
    assert (len(both.train), len(both.test)) == (9, 3)
    with pytest.raises(NeuralCollapseError, match=r"test_per_class: expected 1 to 3 .*4"):
        data.subset(2, 4)


def test_a_subset_keeps_the_true_labels_beside_the_wrong():
    noisy = make([6, 6, 6]).with_label_noise(0.5)
    wrong = noisy.train.tensors[1]
    subset = noisy.subset(2)
    rows = subset.train.tensors[0].flatten().long()
    assert torch.equal(subset.train.tensors[1], wrong[rows])
    assert torch.equal(subset.true_labels, noisy.true_labels[rows])


def exact_sizes(counts, imbalance):
    """floor(n_0 imbalance^(-k/(K-1))) in whole numbers: the largest m with m^(K-1) rho^k <= .."""
    last = len(counts) - 1
    rho = Fraction(imbalance)

    def fits(m, k, n, j):  # m <= n rho^((j - k) / last), both sides to the power `last`
        return Fraction(m) ** last <= Fraction(n) ** last * rho ** (j - k)

    return [
        min(
            max(m for m in range(max(counts) + 1) if fits(m, k, n, j)) for j, n in enumerate(counts)
        )
        for k in range(len(counts))
    ]


@pytest.mark.parametrize("imbalance", [1, 2, 10, 25, 100])
@pytest.mark.parametrize("counts", [[100] * 5, [200] * 3, [100, 130, 100], [300, 100, 250, 120]])
def test_a_long_tail_is_the_published_profile(counts, imbalance):
    data = make(counts).long_tailed(float(imbalance))
    assert data.class_sizes.tolist() == exact_sizes(counts, imbalance)
    if len(set(counts)) == 1:
        assert data.class_sizes[0] == counts[0]
        assert data.class_sizes[-1] == counts[0] // imbalance


def test_the_published_long_tail_of_cifar10():
    # Cui et al. 2019: CIFAR-10 at imbalance 100 has 12,406 training images, at 10 it has 20,431.
    data = make([5000] * 10)
    assert len(data.long_tailed(100.0).train) == 12_406
    assert len(data.long_tailed(10.0).train) == 20_431


def test_a_tail_longer_than_the_data_is_refused():
    with pytest.raises(NeuralCollapseError, match=r"imbalance: expected at most 20, .* got 21"):
        make([20, 20]).long_tailed(21.0)
    assert make([20, 20]).long_tailed(20.0).class_sizes.tolist() == [20, 1]
    for value in (0.9, math.nan, math.inf):
        with pytest.raises(NeuralCollapseError, match="imbalance: expected a finite number of at"):
            make([20, 20]).long_tailed(value)


@given(fraction=st.floats(0, 0.999), seed=st.integers(0, 100), classes=st.integers(2, 6))
def test_label_noise_is_exact_in_number_and_never_the_true_label(fraction, seed, classes):
    data = make([7] * classes)
    noisy = data.with_label_noise(fraction, seed)
    labels, true = noisy.train.tensors[1], noisy.true_labels
    assert torch.equal(true, data.train.tensors[1])
    assert int((labels != true).sum()) == round(fraction * 7 * classes)
    assert int(labels.min()) >= 0
    assert int(labels.max()) < classes
    assert torch.equal(noisy.test.tensors[1], data.test.tensors[1])
    assert torch.equal(noisy.with_label_noise(0.5).true_labels, true)


def test_label_noise_is_uniform_over_the_other_classes():
    # Chi-squared with 11 degrees of freedom: above 31.3 with probability 0.001, at a fixed seed.
    noisy = make([3000] * 4).with_label_noise(0.5, seed=1)
    labels, true = noisy.train.tensors[1].numpy(), noisy.true_labels.numpy()
    counts = np.array([[((true == i) & (labels == j)).sum() for j in range(4)] for i in range(4)])
    wrong = counts[~np.eye(4, dtype=bool)]
    assert wrong.sum() == 6000
    assert ((wrong - 500) ** 2 / 500).sum() < 31.3


def test_a_seed_determines_the_noise():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, again, other = (make([9] * 3).with_label_noise(0.4, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.train.tensors[1], again.train.tensors[1])
    assert not torch.equal(first.train.tensors[1], other.train.tensors[1])


def test_true_labels_stay_with_their_images():
    data = make([9] * 3).with_label_noise(0.4, 1)
    before = dict(zip(data.train.tensors[0].flatten().tolist(), data.true_labels, strict=True))
    subset = data.subset(4)
    for number, true in zip(subset.train.tensors[0].flatten(), subset.true_labels, strict=True):
        assert before[float(number)] == true


def test_noise_out_of_range_is_refused():
    for fraction in (-0.1, 1.0, math.nan):
        with pytest.raises(NeuralCollapseError, match=r"label_noise: expected a number in \[0, 1"):
            make([2, 2]).with_label_noise(fraction)
    with pytest.raises(
        NeuralCollapseError, match="label_noise: expected at least 2 classes, got 1"
    ):
        make([2]).with_label_noise(0.1)


def test_standardised_channels(generator):
    pixels = 5 + 3 * torch.randn(50, 3, 4, 4, generator=generator) * torch.tensor(
        [1.0, 2.0, 0.0]
    ).reshape(3, 1, 1)
    split = TensorDataset(pixels, torch.arange(50) % 2)
    other = TensorDataset(pixels[:10] + 1, torch.arange(10) % 2)
    data = ImageData("made", split, other, ("a", "b")).standardized()
    found = data.train.tensors[0].double()
    np.testing.assert_allclose(found.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(found[:, :2].std((0, 2, 3), correction=0), 1, atol=1e-5)
    assert (found[:, 2] == 0).all()  # a constant channel is only shifted
    spread = pixels.double().std((0, 2, 3), correction=0)
    shift = data.test.tensors[0].double() - found[:10]
    np.testing.assert_allclose(shift[:, :2].mean((0, 2, 3)), 1 / spread[:2], rtol=1e-4)


def test_loading_thins_out_and_then_mislabels():
    data = load_dataset("digits", per_class=100, imbalance=4.0, label_noise=0.25, seed=3)
    sizes = torch.bincount(data.true_labels).tolist()
    assert sizes == load_dataset("digits").subset(100).long_tailed(4.0).class_sizes.tolist()
    assert int((data.train.tensors[1] != data.true_labels).sum()) == round(0.25 * sum(sizes))
    assert len(data.test) == 360


def test_a_run_trains_on_what_its_configuration_says(tmp_path):
    config = TrainConfig(width=0.1, epochs=1, per_class=20, imbalance=4.0, label_noise=0.2)
    (record,) = train(config, tmp_path, progress=False)
    expected = len(load_dataset("digits", per_class=20, imbalance=4.0).train)
    assert record["step"] == math.ceil(expected / config.batch_size)
