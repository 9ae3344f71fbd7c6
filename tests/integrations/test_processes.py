"""What several processes measure together: the same as one, and the same on each."""

import warnings

import pytest
import torch
from torch import nn

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement import measure
from ranks import together

K, D, SAMPLES = 4, 6, 90
WIDE, NARROW = torch.float64, torch.float32
# Of each process: its share of the samples, and the precision that it runs in.
SHARES = {
    2: {
        "both wide": [(0, 31, WIDE), (31, SAMPLES, WIDE)],
        "one without samples": [(0, 0, WIDE), (0, SAMPLES, WIDE)],
        "one narrow": [(0, 31, NARROW), (31, SAMPLES, WIDE)],
    },
    3: {
        "the middle one without samples": [(0, 40, WIDE), (40, 40, WIDE), (40, SAMPLES, WIDE)],
        "one narrow, the last without": [(0, 60, NARROW), (60, SAMPLES, WIDE), (0, 0, NARROW)],
    },
}


def data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(K, (SAMPLES,), generator=generator)
    means = 2 * torch.randn(K, 5, generator=generator)
    return means[labels] + torch.randn(SAMPLES, 5, generator=generator), labels


def network(dtype):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, D), nn.Tanh(), nn.Linear(D, K)).to(dtype)


def batches(start, stop, dtype, size=16):
    inputs, labels = data()
    rows = slice(start, stop)
    return list(zip(inputs[rows].to(dtype).split(size), labels[rows].split(size), strict=True))[
        : (stop - start + size - 1) // size
    ]


def found(report):
    """What must be the same on each process: values, and all that is kept."""
    states = [report.train.state, report.test.state]
    return {
        "values": report.to_dict(),
        "by class": [column for state in states for column in state.per_class().values()],
        "kept": [part for state in states for part in (state.labels, state.margins)],
        "pairs": [state.pair_margins for state in states],
        "head": [report.weight.double(), report.bias.double()],
    }


def _rank(rank, world, folder):
    results = {}
    for name, shares in SHARES[world].items():
        start, stop, dtype = shares[rank]
        own = batches(start, stop, dtype)
        for budget in (0, 2**30):
            results[name, budget] = found(
                measure(network(dtype), own, test_loader=own[::-1], feature_budget=budget)
            )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        watched = nc.watch(network(dtype), own, test_loader=own)
        results["watched"] = {k: v for k, v in watched.epoch_end().items() if k != "seconds"}
        options = {"schedule": 3, "history": f"{folder}/run"}
        with nc.watch(network(dtype), own, **options) as earlier:
            earlier.epoch_end(epoch=3)
        with nc.watch(network(dtype), own, **options, resume=True) as resumed:
            begun = resumed.epoch
            resumed.epoch_end(epoch=5)
            resumed.epoch_end()
        results["resumed"] = begun, [record["epoch"] for record in resumed.records]
    try:
        measure(network(WIDE), [])
    except NeuralCollapseError as error:
        results["refused"] = str(error)
    torch.save(results, f"{folder}/{rank}.pt")


@pytest.mark.parametrize("world", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_processes_measure_what_one_does(tmp_path, world):
    together(_rank, world, tmp_path)
    results = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(world)]
    whole = batches(0, SAMPLES, WIDE)
    expected = found(nc.measure(network(WIDE), whole, test_loader=whole, progress=False))
    for name, shares in SHARES[world].items():
        narrow = any(stop > start and dtype == NARROW for start, stop, dtype in shares)
        tolerance = 1e-6 if narrow else 1e-12
        for budget in (0, 2**30):
            first, *others = [result[name, budget] for result in results]
            assert first["values"] == pytest.approx(expected["values"], rel=tolerance, abs=1e-12)
            for what in ("by class", "pairs", "head"):
                for mine, theirs in zip(first[what], expected[what], strict=True):
                    torch.testing.assert_close(
                        mine, theirs, rtol=tolerance, atol=tolerance, equal_nan=True
                    )
            labels, margins = first["kept"][:2]
            assert labels.bincount().tolist() == data()[1].bincount().tolist()
            torch.testing.assert_close(
                margins.double().sort().values,
                expected["kept"][1].sort().values,
                rtol=tolerance,
                atol=tolerance,
            )
            for other in others:  # to the bit
                assert other["values"] == first["values"]
                for what in ("by class", "kept", "pairs"):
                    for mine, theirs in zip(other[what], first[what], strict=True):
                        assert torch.equal(mine.nan_to_num(), theirs.nan_to_num())
    assert all(result["watched"] == results[0]["watched"] for result in results)
    assert all("at least one batch with samples" in result["refused"] for result in results)
    assert all(result["resumed"] == (3, [3, 6]) for result in results)
