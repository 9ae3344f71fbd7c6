"""Several processes measure what one does, refuse together, and wait for nobody."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import neuralcollapse as nc

SRC = Path(nc.__file__).parents[1]
SCRIPT = """
import json, os, sys, warnings
from datetime import timedelta
import torch, torch.distributed as dist
from torch import nn
import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError

torch.set_num_threads(1)
folder = sys.argv[1]
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
dist.init_process_group("gloo", timeout=timedelta(seconds=120))

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double()

def data():
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(60) % 3
    inputs = torch.randn(60, 6, generator=generator, dtype=torch.float64) + labels[:, None]
    return inputs, labels

x, y = data()
busy = world - 1 if world > 2 else world  # of three processes, the last has no data
part = [(x[rank::busy], y[rank::busy])] if rank < busy else []
model, found = network(), {}
found["measure"] = nc.measure(model, part, test_loader=part).to_dict()

def refused(name, work):
    try:
        work()
    except NeuralCollapseError as error:
        found[name] = str(error)

bad_label = [(x, torch.full_like(y, 9))] if rank == 0 else part
bad_value = [(x / 0, y)] if rank == 0 else part
refused("label", lambda: nc.measure(model, bad_label))
refused("nan", lambda: nc.measure(model, bad_value))
refused("test", lambda: nc.measure(model, part, test_loader=bad_label))
refused("rehearsal", lambda: nc.watch(model, bad_label))

def trained():
    watch = nc.watch(model, bad_label, mode="batches")
    for inputs, _ in watch.batches():
        model(inputs)
    watch.epoch_end()

refused("batches", trained)
watch = nc.watch(model, part, mode="batches")
for inputs, _ in watch.batches():
    model(inputs)
found["watch"] = watch.epoch_end()["nc1_pinv"]
if busy == world:
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.device_mesh import init_device_mesh

    mesh = init_device_mesh("cpu", (world,))
    for layer in (model[2], model):
        fully_shard(layer, mesh=mesh)
    found["sharded"] = nc.measure(model, part, test_loader=part).to_dict()
    found["rows"] = len(nc.measure(model, part).weight)
    from torch.distributed.fsdp import FullyShardedDataParallel as Sharded

    model, cpu = network(), torch.device("cpu")
    model[2] = Sharded(model[2], device_id=cpu)
    model = Sharded(model, device_id=cpu)
    found["first FSDP"] = nc.measure(model, part, test_loader=part).to_dict()
json.dump(found, open(f"{folder}/{rank}.json", "w"))
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.parametrize("world", [2, 3])
def test_processes_agree(world, tmp_path):
    script = tmp_path / "rank.py"
    script.write_text(SCRIPT)
    paths = os.pathsep.join([str(SRC), *filter(None, [os.environ.get("PYTHONPATH")])])
    run = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
         str(world), script, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(world)]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(60) % 3
    inputs = torch.randn(60, 6, generator=generator, dtype=torch.float64) + labels[:, None]
    whole = nc.measure(model, [(inputs, labels)], test_loader=[(inputs, labels)])
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
