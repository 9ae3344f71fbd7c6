import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neuralcollapse.figure_style import save
from neuralcollapse.geometry import ALIGNMENT_RULES, orthant_margins
from neuralcollapse.studies import FigureJob
from neuralcollapse.studies.gao2023 import alignment, figure4, rotation_figure, rotation_replication
from neuralcollapse.studies.gao2023.rotation_replication import (
    CONFIG,
    ORDERS,
    ROTATIONS,
    SCALE,
    SEEDS,
    SPLIT_SEED,
    Setting,
    decide,
    rotations,
)

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
    path, picture = figure4.draw(FigureJob(tmp_path))
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


def test_the_replication_is_drawn_from_its_record(monkeypatch, tmp_path):
    monkeypatch.setattr(rotation_replication, "PERMUTATIONS", 99)
    monkeypatch.setattr(
        rotation_figure, "replicate", lambda progress: json.loads(RECORD.read_text())
    )
    path, picture = rotation_figure.record_replication(tmp_path)
    assert json.loads(path.read_text()) == json.loads(RECORD.read_text())
    assert picture.stat().st_size > 20000
    assert save(rotation_figure.plot_replication(json.loads(path.read_text())), tmp_path / "a.svg")


def test_the_published_record_is_of_the_design():
    record = json.loads(RECORD.read_text())
    asked = json.loads(json.dumps(Setting(CONFIG, SCALE, SEEDS, ORDERS, SPLIT_SEED).to_dict()))
    for name in ("config", "scale", "seeds", "orders", "split_seed", "train_images"):
        assert record["setting"][name] == asked[name]
    margins = [orthant_margins(head).least for head in rotations().values()]
    np.testing.assert_allclose(record["margins"], margins, atol=1e-9)
    runs = record["runs"]
    cells = set(zip(runs["alignment"], runs["seed"], runs["order"], strict=True))
    assert len(cells) == len(runs["value"]) == ROTATIONS * len(SEEDS) * ORDERS
    assert decide(record)["rotations"].tolist()[:2] == [ROTATIONS, ROTATIONS]
