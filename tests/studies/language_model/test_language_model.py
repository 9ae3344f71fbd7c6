import json
import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
from matplotlib.image import imread

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement import measure_features
from neuralcollapse.metrics import frequency_thirds, pairwise_collapse
from neuralcollapse.moments import ClassMoments
from neuralcollapse.studies import FigureJob, load_study, run_study
from neuralcollapse.studies.language_model import runs
from neuralcollapse.studies.language_model.collapse_by_frequency import (
    by_frequency,
    least_interference,
)
from neuralcollapse.studies.language_model.text import Corpus, documentation, documents

WORDS = ("house", "value", "name", "list", "dict", "set")


@pytest.fixture
def text(tmp_path):
    lines = [
        f"The {WORDS[i % 6]} of {i} gives {WORDS[i * 5 % 7 % 6]} {i * 7 % 13}." for i in range(300)
    ]
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(lines))
    return path


def test_the_study_runs_goes_on_and_refuses_other_settings(text, tmp_path, monkeypatch):
    job = FigureJob(tmp_path, dry=True, text=text, seeds=(0,))
    table, picture = run_study("language-model", job)
    assert imread(picture).std() > 0.05
    rows = pd.read_csv(table)
    assert set(rows["head"]) == {"tied", "untied"}
    kept = json.loads((tmp_path / "runs" / "tied_seed0.json").read_text())
    first, *_, last = kept["records"]
    assert first["step"] == 0
    assert last["step"] == 4
    assert last["loss"] < first["loss"]
    assert 0 < last["unigram_entropy"] < math.log(kept["settings"]["vocabulary"])
    assert last["rho_lower"] <= last["rho_upper"] <= last["rho_bound"]

    monkeypatch.setattr(runs, "learning", lambda *a: pytest.fail("a finished run is trained again"))
    assert run_study("language-model", replace(job, training=False)) == [table, picture]
    elsewhere = replace(job, folder=tmp_path / "elsewhere", training=False)
    with pytest.raises(NeuralCollapseError, match=r"runs: .* got no .*untied_seed0\.json"):
        run_study("language-model", elsewhere)
    other = tmp_path / "other.txt"
    other.write_text(text.read_text() + "\n\nOne more.")
    with pytest.raises(NeuralCollapseError, match="out: expected runs of these settings"):
        run_study("language-model", FigureJob(tmp_path, dry=True, text=other, seeds=(0,)))
    with pytest.raises(
        NeuralCollapseError, match="scale: expected one of quick, small, got 'paper'"
    ):
        run_study("language-model", FigureJob(tmp_path, "paper", text=text))
    with pytest.raises(NeuralCollapseError, match=r"settings: expected none .* got epochs"):
        run_study("language-model", replace(job, settings={"epochs": 2}))
    assert not load_study("language-model").claims


def test_thirds_are_measured_by_their_words_alone():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(12).repeat_interleave(torch.arange(5, 17))
    features = torch.randn(len(labels), 4, generator=generator) + labels[:, None].sin()
    weight = torch.randn(12, 4, generator=generator)
    report = measure_features(
        features, labels, weight, test_features=features, test_labels=labels, scatter=False
    )
    found = by_frequency(report, weight.double())
    thirds = frequency_thirds(report.train.moments.counts)
    for third, name in enumerate(("rare", "middling", "frequent")):
        chosen = thirds[labels] == third
        alone = ClassMoments(12, 4, False).update(features[chosen], labels[chosen])
        assert found[f"cdnv_{name}"] == pytest.approx(pairwise_collapse(alone).cdnv_mean)
        right = (features @ weight.T).argmax(1) == labels
        assert found[f"test_accuracy_{name}"] == pytest.approx(float(right[chosen].double().mean()))


def test_no_vectors_interfere_less_than_welch_allows():
    generator = torch.Generator().manual_seed(0)
    for num, dim in ((5, 3), (40, 7)):
        rows = torch.nn.functional.normalize(torch.randn(num, dim, generator=generator), dim=1)
        cosines = (rows @ rows.T)[~torch.eye(num, dtype=torch.bool)]
        assert float(cosines.square().mean().sqrt()) > least_interference(num, dim)
    simplex = least_interference(5, 4)
    assert simplex == pytest.approx(1 / 4)
    assert least_interference(4, 4) == 0


def test_the_entropy_of_single_words_is_that_of_their_shares():
    text = Corpus(torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 1, 2, 3]]), 4, 8)
    assert runs.unigram_entropy(text) == pytest.approx(1.5 * math.log(2))


def test_bad_text_is_refused(tmp_path):
    with pytest.raises(NeuralCollapseError, match="--text: expected a text file in UTF-8"):
        documents(tmp_path / "nothing.txt")
    short = tmp_path / "short.txt"
    short.write_text("One paragraph.")
    with pytest.raises(
        NeuralCollapseError,
        match="--text: expected paragraphs with empty lines between them, got 1",
    ):
        documents(short)
    short.write_text("One.\n\nTwo.")
    with pytest.raises(NeuralCollapseError, match="enough text for sequences of 16 tokens"):
        run_study("language-model", FigureJob(tmp_path, dry=True, text=short))


@pytest.mark.slow
def test_documentation_is_there_on_every_machine():
    found = documentation()
    assert len(found) > 1000
    assert len(set(found)) == len(found)
    assert all(found)
