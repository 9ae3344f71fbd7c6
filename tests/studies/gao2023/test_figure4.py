import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.figure_style import save
from neuralcollapse.generalization.alignment_figure import sorted_by_chance
from neuralcollapse.geometry import orthant_margins
from neuralcollapse.geometry.alignment import ALIGNMENT_RULES
from neuralcollapse.studies import FigureJob
from neuralcollapse.studies.gao2023 import (
    alignment,
    alignment_networks,
    figure4,
    rotation_figure,
    rotation_replication,
)
from neuralcollapse.studies.gao2023.alignment_networks import alignment_configs, alignment_table
from neuralcollapse.studies.gao2023.rotation_replication import (
    CONFIG,
    ORDERS,
    ROTATIONS,
    SCALE,
    SEEDS,
    SPLIT_SEED,
    AlignmentSetting,
    decide,
    rotations,
)
from neuralcollapse.training import TrainConfig

RECORD = Path(__file__).parents[3] / "docs/results" / f"{rotation_figure.NAME}.json"


@pytest.fixture
def small(monkeypatch):
    """Figure 4 at three alignments, two seeds, two orders and two epochs."""
    full, heads = alignment.setting, alignment.alignments

    def short(dim, *args, **kwargs):
        design = full(dim, seeds=2)
        return replace(design, config=replace(design.config, epochs=2))

    monkeypatch.setattr(alignment, "setting", short)
    monkeypatch.setattr(figure4, "setting", short)
    for module in (alignment, figure4):
        monkeypatch.setattr(module, "alignments", lambda kind, dim: heads(kind, dim, 3))


def test_figure_4_is_drawn_with_its_record(small, tmp_path, monkeypatch):
    monkeypatch.setattr(figure4, "record_replication", lambda folder, progress: [])
    path, picture, caption = figure4.draw(FigureJob(tmp_path))
    assert "3 alignments × 2 seeds" in caption.read_text()
    assert picture.stat().st_size > 20000
    record = json.loads(path.read_text())
    assert len(record) == 4
    for name, panel in record.items():
        rules = panel["effects"]["rules"]
        assert (sorted(rules) == sorted(ALIGNMENT_RULES)) if "perm" in name else rules is None
        assert panel["effects"]["alignments"] == 3
        assert len(panel["runs"]["value"]) == (6 if rules else 3) * 4
        assert panel["setting"]["config"]["epochs"] == 2
        assert panel["setting"]["versions"]["torch"]


@pytest.mark.parametrize("kind", alignment_networks.KINDS)
@pytest.mark.parametrize("scale", ["medium", "paper"])
def test_networks_differ_in_head_and_seed_alone(kind, scale):
    case = next(iter(alignment_networks.CASES[scale]))
    configs = alignment_configs(kind, scale, case)
    seeds = alignment_networks.SEEDS[scale]
    assert len(set(configs)) == len(configs) == alignment_networks.ALIGNMENTS[scale] * len(seeds)
    first = configs[0]
    names = {"permutations": "head_permutation", "rotations": "head_seed"}
    for number, config in enumerate(configs):
        head = {names[kind]: getattr(config, names[kind])}
        assert config == replace(first, seed=seeds[number % len(seeds)], **head)
    assert first == alignment_configs("rotations", scale, case)[0]
    assert (first.head, first.net, first.loss) == ("etf", "resnet18", "ce")


def test_the_table_has_the_ends_of_the_runs_in_their_order(monkeypatch):
    monkeypatch.setitem(alignment_networks.ALIGNMENTS, "medium", 2)
    monkeypatch.setitem(alignment_networks.SEEDS, "medium", (3, 5))
    begin = {"test_accuracy": 0.0, "accuracy": 0.0}
    ends = [(0.1, 1.0), (0.2, 0.9), (0.3, 1.0), (0.4, 1.0)]
    histories = [[begin, {"test_accuracy": test, "accuracy": seen}] for test, seen in ends]
    table = alignment_table("medium", histories)
    assert table[["alignment", "seed", "order"]].to_numpy().tolist() == [
        [0, 3, 0], [0, 5, 0], [1, 3, 0], [1, 5, 0],
    ]  # fmt: skip
    assert table["value"].tolist() == [0.1, 0.2, 0.3, 0.4]
    assert table["converged"].tolist() == [True, False, True, True]
    assert table["train_accuracy"].tolist() == [1.0, 0.9, 1.0, 1.0]


@pytest.fixture
def tiny(monkeypatch):
    """Networks of the scale medium, as small as they can be."""
    shared = {"net": "mlp", "width": 0.25, "head": "etf", "head_bias": False, "batch_size": 25}
    monkeypatch.setattr(alignment_networks, "SHARED", shared)
    monkeypatch.setitem(alignment_networks.ALIGNMENTS, "medium", 2)
    monkeypatch.setitem(alignment_networks.SEEDS, "medium", (0, 1))
    monkeypatch.setitem(alignment_networks.COMMON, "medium", {"per_class": 5, "epochs": 2})
    monkeypatch.setitem(alignment_networks.CASES, "medium", {"Digits": {"data": "digits"}})


def test_networks_are_trained_and_drawn_with_their_record(tiny, tmp_path):
    job = FigureJob(
        tmp_path, "medium", workers={"workers": 1}, seeds=(3, 4), settings={"momentum": 0.5}
    )
    path, picture, caption = figure4.draw(job)
    assert "momentum 0.5" in caption.read_text()
    assert (path.name, picture.name) == ("figure4_medium.json", "figure4_medium.png")
    assert "2 alignments × 2 seeds, crossed" in caption.read_text()
    assert picture.stat().st_size > 20000
    record = json.loads(path.read_text())
    # The first rotation is the ETF that is permuted, and trained once.
    assert len(list((tmp_path / "runs").iterdir())) == 6
    permuted, rotated = (record.pop(f"{kind}, Digits") for kind in alignment_networks.KINDS)
    assert not record
    for panel in (permuted, rotated):
        assert panel["effects"]["alignments"] == panel["effects"]["seeds"] == 2
        assert [c["seed"] for c in panel["configs"]] == panel["runs"]["seed"] == [3, 4, 3, 4]
        assert {c["momentum"] for c in panel["configs"]} == {0.5}
    values = permuted["runs"]["value"], rotated["runs"]["value"]
    assert values[0][:2] == values[1][:2]
    assert values[0][2:] != values[1][2:]
    assert values[0][2:] != values[0][:2]


def test_every_panel_of_the_paper_gets_its_own_runs(monkeypatch, tmp_path):
    def outcome(config):
        values = (config.seed, config.head_seed, config.head_permutation or 0, len(config.data))
        return sum(value / 100 ** (i + 1) for i, value in enumerate(values))

    def train(job, configs, measure_every):
        assert len(set(configs)) == len(configs) == 2 * (10 + 10 - 1) * 5
        assert {config.epochs for config in configs} == {measure_every}
        return [[{"test_accuracy": outcome(config), "accuracy": 1.0}] for config in configs]

    monkeypatch.setattr(FigureJob, "train", train)
    path, picture, _ = figure4.draw(FigureJob(tmp_path, "paper", data_root=str(tmp_path)))
    assert picture.stat().st_size > 20000
    record = json.loads(path.read_text())
    assert list(record) == [
        f"{kind}, {case}" for case in ("CIFAR-10", "CIFAR-100") for kind in alignment_networks.KINDS
    ]
    for panel in record.values():
        configs = [TrainConfig.from_dict(config) for config in panel["configs"]]
        assert panel["runs"]["value"] == [outcome(config) for config in configs]
        assert {config.data_root for config in configs} == {None}


def test_the_replication_is_drawn_from_its_record(monkeypatch, tmp_path):
    monkeypatch.setattr(rotation_replication, "PERMUTATIONS", 99)
    monkeypatch.setattr(
        rotation_figure, "replicate", lambda progress: json.loads(RECORD.read_text())
    )
    path, picture, caption = rotation_figure.record_replication(tmp_path)
    assert json.loads(path.read_text()) == json.loads(RECORD.read_text())
    assert picture.stat().st_size > 20000
    assert "H1, a main effect of rotation" in caption.read_text()
    assert save(rotation_figure.plot_replication(json.loads(path.read_text())), tmp_path / "a.svg")


def test_the_published_record_is_of_the_design():
    record = json.loads(RECORD.read_text())
    asked = json.loads(
        json.dumps(AlignmentSetting(CONFIG, SCALE, SEEDS, ORDERS, SPLIT_SEED).to_dict())
    )
    for name in ("config", "scale", "seeds", "orders", "split_seed", "train_images"):
        assert record["setting"][name] == asked[name]
    margins = [orthant_margins(head).least for head in rotations().values()]
    np.testing.assert_allclose(record["margins"], margins, atol=1e-9)
    runs = record["runs"]
    cells = set(zip(runs["alignment"], runs["seed"], runs["order"], strict=True))
    assert len(cells) == len(runs["value"]) == ROTATIONS * len(SEEDS) * ORDERS
    assert decide(record)["rotations"].tolist()[:2] == [ROTATIONS, ROTATIONS]


def test_sorting_alone_makes_means_rise_within_the_band():
    rng = np.random.default_rng(5)
    inside = []
    for _ in range(20):
        cells = rng.normal(size=(12, 10)) + 5 * rng.normal(size=10)
        low, high = sorted_by_chance(cells)
        assert (np.diff(low) >= 0).all()
        means = np.sort(cells.mean(1))
        inside.append(((low <= means) & (means <= high)).mean())
    assert 0.85 < np.mean(inside) < 1
    cells += 3 * np.arange(12)[:, None]  # alignments that do something
    low, high = sorted_by_chance(cells)
    assert np.sort(cells.mean(1))[0] < low[0]
    assert np.sort(cells.mean(1))[-1] > high[-1]


def test_without_training_perceptrons_are_not_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(figure4, "run_figure4", lambda *a: pytest.fail("trained"))
    with pytest.raises(NeuralCollapseError, match="runs: expected networks that are trained"):
        figure4.draw(FigureJob(tmp_path, training=False))
