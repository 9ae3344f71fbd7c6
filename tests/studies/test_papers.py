import json
import math

import pytest

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.studies import (
    Evidence,
    FigureJob,
    Study,
    load_study,
    papers,
    run_study,
    verify,
)


@pytest.fixture
def toy(monkeypatch):
    study = Study("toy2022", "A toy paper")

    @study.claim("thm1", "One is one.", correction="it was two")
    def _check():
        yield Evidence("one", 1.0, 1.0)
        yield Evidence("not a number", math.nan, 1.0)

    for number in (3, 1):

        @study.figure(number)
        def _draw(job, number=number):
            path = job.folder / f"figure{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"progress {job.progress}")
            return [path]

    monkeypatch.setattr(papers, "load_study", lambda paper: study)
    return study


def test_the_whole_study_is_figures_then_verdicts(toy, tmp_path):
    written = run_study("toy2022", FigureJob(tmp_path / "new"))
    assert [path.name for path in written] == ["figure1.txt", "figure3.txt", "claims.jsonl"]
    assert written[0].read_text() == "progress False"
    (line,) = written[-1].read_text().splitlines()
    record = json.loads(line)
    assert record["claim"] == "toy2022.thm1"
    assert record["outcome"] == "fails"
    assert record["correction"] == "it was two"
    assert [piece["measured"] for piece in record["evidence"]] == [1.0, None]
    assert [piece["holds"] for piece in record["evidence"]] == [True, False]


def test_one_figure_alone_checks_no_claim(toy, tmp_path):
    toy.claims.clear()
    assert run_study("toy2022", FigureJob(tmp_path), 3) == [tmp_path / "figure3.txt"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda out: load_study("ji2023"), "paper: expected one of ji2022.*, got 'ji2023'; choose"),
        (lambda out: verify("ji2023"), "paper: expected one of ji2022"),
        (lambda out: run_study("ji2023", FigureJob(out)), "paper: expected one of ji2022"),
        (
            lambda out: run_study("ji2022", FigureJob(out), 99),
            "one of the figures 1, 2, 3, 4, 5, 6, 7, 8 of ji2022, got 99; choose",
        ),
    ],
)
def test_the_unknown_is_refused_with_what_is_known(call, message, tmp_path):
    with pytest.raises(NeuralCollapseError, match=message):
        call(tmp_path)
    assert not list(tmp_path.iterdir())


def test_each_paper_names_its_own_claims():
    for paper in papers.PAPERS:
        study = load_study(paper)
        assert study.paper == paper
        assert study.claims
        assert all(claim.paper == paper for claim in study.claims)


def test_a_folder_of_others_is_left_alone(toy, tmp_path):
    mine = tmp_path / "figure1.txt"
    mine.write_text("drawn by hand")
    with pytest.raises(NeuralCollapseError, match=r"out: expected a new folder.*figure1\.txt"):
        run_study("toy2022", FigureJob(tmp_path))
    assert mine.read_text() == "drawn by hand"
    run_study("toy2022", FigureJob(tmp_path / "new"))
    run_study("toy2022", FigureJob(tmp_path / "new"), 1)  # its own is drawn again
    with pytest.raises(NeuralCollapseError, match="the folder of toy2022"):
        run_study("toy2023", FigureJob(tmp_path / "new"), 1)
