"""Several processes measure what one does, refuse together, and wait for nobody."""

import json

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError
from ranks import together


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double()


def data():
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(60) % 3
    inputs = torch.randn(60, 6, generator=generator, dtype=torch.float64) + labels[:, None]
    return inputs, labels


def refusal(work):
    with pytest.raises(NeuralCollapseError) as error:
        work()
    return str(error.value)


def _rank(rank, world, folder):
    x, y = data()
    busy = world - 1 if world > 2 else world  # of three processes, the last has no data
    part = [(x[rank::busy], y[rank::busy])] if rank < busy else []
    model = network()
    found = {"measure": nc.measure(model, part, test_loader=part).to_dict()}
    bad_label = [(x, torch.full_like(y, 9))] if rank == 0 else part
    bad_value = [(x / 0, y)] if rank == 0 else part

    def trained(loader):
        watch = nc.watch(model, loader, mode="batches")
        for inputs, _ in watch.batches():
            model(inputs)
        return watch.epoch_end()

    found["label"] = refusal(lambda: nc.measure(model, bad_label))
    found["nan"] = refusal(lambda: nc.measure(model, bad_value))
    found["test"] = refusal(lambda: nc.measure(model, part, test_loader=bad_label))
    found["rehearsal"] = refusal(lambda: nc.watch(model, bad_label))
    found["batches"] = refusal(lambda: trained(bad_label))
    unread = [(x, None)] if rank == 0 else part
    found["unread"] = refusal(lambda: trained(unread))
    found["watch"] = trained(part)["nc1_pinv"]
    if busy == world:
        mesh = init_device_mesh("cpu", (world,))
        for layer in (model[2], model):
            fully_shard(layer, mesh=mesh)
        found["sharded"] = nc.measure(model, part, test_loader=part).to_dict()
        found["rows"] = len(nc.measure(model, part).weight)
        model, cpu = network(), torch.device("cpu")
        model[2] = FullyShardedDataParallel(model[2], device_id=cpu)
        model = FullyShardedDataParallel(model, device_id=cpu)
        found["first FSDP"] = nc.measure(model, part, test_loader=part).to_dict()
    (folder / f"{rank}.json").write_text(json.dumps(found))


@pytest.mark.parametrize("world", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_processes_agree(world, tmp_path):
    together(_rank, world, tmp_path)
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(world)]
    whole = nc.measure(network(), [data()], test_loader=[data()])
    for rank in ranks:
        for kind in {"measure", "sharded", "first FSDP"} & set(rank):
            assert rank[kind] == ranks[0][kind]
            for name, value in whole.items():
                assert rank[kind][name] == pytest.approx(value, rel=1e-9, abs=1e-12), (kind, name)
        assert rank["watch"] == pytest.approx(whole["nc1_pinv"], rel=1e-9)
        assert rank.get("rows", 3) == 3
    for kind, words in {"label": "labels from 9 to 9", "nan": "NaN or infinite"}.items():
        assert words in ranks[0][kind]
        for rank in ranks[1:]:
            assert f"on process 0: {ranks[0][kind]}" in rank[kind]
    for kind in ("test", "rehearsal", "batches"):
        assert all("labels from 9 to 9" in rank[kind] for rank in ranks), kind
    assert all("labels: expected whole numbers or names" in rank["unread"] for rank in ranks)
