import json
from dataclasses import replace

import pandas as pd
import pytest
import torch

from neuralcollapse.geometry import align, orthant_margins, simplex_etf
from neuralcollapse.studies.gao2023.alignment import alignments, setting
from neuralcollapse.studies.gao2023.alignment_runs import (
    digits_split,
    from_record,
    run_alignments,
    to_record,
)
from neuralcollapse.training.perceptron import initial_means


def short(dim=12, seeds=2, orders=2, epochs=2):
    design = setting(dim, seeds, orders)
    return replace(design, config=replace(design.config, epochs=epochs))


def test_the_split_is_by_class_and_disjoint():
    train_inputs, train_labels, test_inputs, test_labels = digits_split(0)
    assert train_inputs.shape == (300, 64)
    assert test_inputs.shape == (1497, 64)
    counts = torch.bincount(train_labels)
    assert counts.min() >= 29
    assert counts.max() <= 31
    nearest = torch.cdist(train_inputs, test_inputs).amin(1)
    assert (nearest > 0).all()
    assert not torch.equal(digits_split(1)[0], train_inputs)
    assert len(test_labels) == 1497


def test_every_head_meets_every_seed_and_order():
    heads = alignments("permutations", 12, 3)
    runs = run_alignments(short(), heads, ["hungarian"])
    counts = runs.groupby(["alignment", "seed", "order"]).size()
    assert len(counts) == len(runs) == 4 * 2 * 2
    assert (counts == 1).all()
    assert runs["value"].between(0, 1).all()
    assert (runs["converged"] == (runs["train_accuracy"] == 1)).all()


def test_the_same_head_twice_gives_the_same_runs_and_rules_are_by_seed():
    head = simplex_etf(10, 12, generator=torch.Generator().manual_seed(0))
    design = short()
    inputs, labels, _, _ = digits_split(0)
    means = initial_means(1, inputs, labels, design.config)
    named = {"a": head, "b": head, "hand": align(head, means, "hungarian")}
    runs = run_alignments(design, named, ["hungarian"])
    values = runs.pivot(index=["seed", "order"], columns="alignment", values="value")
    assert values["a"].equals(values["b"])
    assert values.loc[1, "hand"].tolist() == values.loc[1, "hungarian"].tolist()
    assert not values.loc[0, "hand"].equals(values.loc[0, "hungarian"])


def test_records_are_json_and_come_back():
    runs = run_alignments(short(seeds=1), alignments("rotations", 12, 2))
    assert runs["epochs_to_fit"].isna().all()  # after two epochs
    record = json.loads(json.dumps(to_record(runs), allow_nan=False))
    pd.testing.assert_frame_equal(from_record(record), runs)


@pytest.mark.parametrize("dim", [12, 16])
def test_alignments_are_of_one_etf_or_of_many(dim):
    permuted, turned = (alignments(kind, dim, 5) for kind in ("permutations", "rotations"))
    assert orthant_margins(permuted[0]).least >= max(
        orthant_margins(head).least for head in turned.values()
    )
    for head in permuted.values():
        rows = {tuple(row) for row in head.tolist()}
        assert rows == {tuple(row) for row in permuted[0].tolist()}
    margins = {orthant_margins(head).least for head in turned.values()}
    assert len(margins) == 5
