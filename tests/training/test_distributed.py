"""Two processes on the CPU train and measure what one does, to round-off.

The network has no batch norm: on CPUs, unlike on GPUs, it would see each process's part of a batch.
"""

import json

import pytest
import torch

from neuralcollapse.training import TrainConfig, build_network
from training_runs import TINY, apart, quiet, running, wait_for

PLAIN = TrainConfig(
    **TINY.to_dict() | {"net": "training_runs:plain_network", "width": 1.0, "batch_size": 51}
)
TWO = {"devices": 2, "strategy": "ddp_fork"}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return apart(PLAIN, tmp_path_factory.mktemp("alone"))


def near(value, slack):
    """Return what equals a value up to rounding, however deep its numbers are nested."""
    if isinstance(value, dict):
        return {name: near(inner, slack) for name, inner in value.items()}
    if isinstance(value, (int, float)):
        return pytest.approx(value, rel=slack, abs=1e-6, nan_ok=True)
    return value


def assert_close(records, expected):
    assert len(records) == len(expected)
    for record, reference in zip(records, expected, strict=True):
        assert record.keys() == reference.keys()
        for name in record.keys() - {"seconds", "alarms"}:
            # A rank hangs on the small singular values, which the order of sums moves most.
            slack = 1e-3 if name == "means_rank" else 1e-6
            assert record[name] == near(reference[name], slack), name
        assert record["alarms"].keys() == reference["alarms"].keys()


def test_two_processes_give_the_metrics_of_one(tmp_path, alone):
    # 200 samples in steps of 51: odd shares, and a last step of another size.
    records = apart(PLAIN, tmp_path, **TWO)
    assert_close(records, alone)
    hardware = json.loads((tmp_path / "config.json").read_text())["hardware"]
    assert hardware["processes"] == 2
    assert hardware["strategy"] == "DDPStrategy"


@pytest.mark.slow
def test_spawned_processes_do_not_train_the_memory_of_a_given_network(tmp_path, alone):
    network = build_network(PLAIN.net, (1, 8, 8), 10, seed=PLAIN.seed)
    before = network[1].weight.detach().clone()
    records = quiet(PLAIN, tmp_path, model=network, devices=2, strategy="ddp_spawn")
    assert_close(records, alone)
    assert torch.equal(network[1].weight, before)


def test_two_processes_go_on_where_one_was_killed(tmp_path, alone):
    history = tmp_path / "history.jsonl"
    with running(quiet, PLAIN, tmp_path, checkpoint_every=1) as process:
        wait_for(lambda: history.exists() and history.read_text().count("\n") == 2, process)
    assert_close(apart(PLAIN, tmp_path, resume=True, **TWO), alone)
