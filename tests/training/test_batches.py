import pytest
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training.batches import Batches, on_device


class Ranks(Fabric):
    """A Fabric that is told its place among the processes."""

    def __init__(self, rank, world):
        super().__init__(accelerator="cpu", devices=1)
        self.place = rank, world

    global_rank = property(lambda self: self.place[0])
    world_size = property(lambda self: self.place[1])


class Rows(Dataset):
    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, row):
        return self.data[row]


def batches(data, batch_size, rank=0, world=1, seed=0):
    return Batches(data, batch_size, seed, Ranks(rank, world))


DATA = TensorDataset(torch.arange(10.0)[:, None], torch.arange(10))


@pytest.mark.parametrize("wrap", [lambda data: data, Rows])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_processes_share_the_batches_of_one(wrap, world):
    whole = [labels.tolist() for _, labels, _ in batches(DATA, 3).epoch(5)]
    parts = [list(batches(wrap(DATA), 3, rank, world).epoch(5)) for rank in range(world)]
    for step, expected in enumerate(whole):
        shares = [(labels.tolist(), weight) for _, labels, weight in (p[step] for p in parts)]
        together = [label for labels, weight in shares if weight for label in labels]
        assert sorted(together) == sorted(expected)
        # The mean over processes of weight x mean loss is the mean loss of the batch.
        mean = sum(weight * sum(labels) / len(labels) for labels, weight in shares) / world
        assert mean == pytest.approx(sum(expected) / len(expected))


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(epoch, seed=0, batch_size=3):
        return torch.cat([y for _, y, _ in batches(DATA, batch_size, seed=seed).epoch(epoch)])

    assert torch.equal(order(1), order(1))
    assert torch.equal(order(1), order(1, batch_size=4))
    assert not torch.equal(order(1), order(2))
    assert not torch.equal(order(1), order(1, seed=1))
    assert not torch.equal(order(1, seed=2), order(2, seed=1))
    assert torch.equal(order(3).sort().values, torch.arange(10))


def test_sizes_of_the_steps():
    assert batches(DATA, 4).sizes.tolist() == [4, 4, 2]
    assert batches(DATA, 5).sizes.tolist() == [5, 5]
    assert batches(DATA, 50).sizes.tolist() == [10]


def test_tensors_that_are_there_already_are_not_copied():
    placed = on_device(DATA, torch.device("cpu"))
    assert placed.tensors[0].data_ptr() == DATA.tensors[0].data_ptr()


@pytest.mark.parametrize("wrap", [lambda data: data, Rows])
@pytest.mark.parametrize(
    ("batch_size", "world", "refused"), [(3, 1, True), (4, 1, False), (5, 2, False), (4, 2, True)]
)
def test_a_process_with_one_sample_to_normalise_by_is_refused(wrap, batch_size, world, refused):
    # 10 samples: steps of 3, 3, 3, 1; of 4, 4, 2; of 5, 5, which two processes share as 3 and 2.
    steps, model = batches(wrap(DATA), batch_size, world=world), nn.BatchNorm1d(1)
    if not refused:
        steps.require_normalizable(model)
        return
    with pytest.raises(NeuralCollapseError, match="batch_size: expected batches of which every"):
        steps.require_normalizable(model)
    assert int(model.num_batches_tracked) == 0
    steps.require_normalizable(nn.Linear(1, 2))
    frozen = nn.BatchNorm1d(1)
    frozen.train = lambda mode=True: frozen  # as those do that keep their statistics
    frozen.training = False
    steps.require_normalizable(frozen)
