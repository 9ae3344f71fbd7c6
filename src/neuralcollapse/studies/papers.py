"""The papers studied: their claims verified and their figures redrawn, by name."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable
from pathlib import Path

from rich.progress import track

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.files import atomic_path, read_json, without_nan, write_json
from neuralcollapse.studies.claims import Study, Verdict, judge
from neuralcollapse.studies.figure_job import FigureJob
from neuralcollapse.validation import check_choice

PAPERS = ("ji2022", "tirer2023", "gao2023")
MARK = "study.json"  # says of which study the files in a folder are
WRITTEN = ("figure*.*", "claims.jsonl", "atlas_*", "correlations_*", "language_model_*")
STUDIES = (*PAPERS, "atlas", "language-model")  # the last two are of no paper, and claim nothing


def load_study(paper: str) -> Study:
    """Return the study of a paper.

    Parameters
    ----------
    paper
        Short name, one of `PAPERS`, ``"atlas"`` or ``"language-model"``.

    Returns
    -------
    Study
        Its claims and figures.

    Raises
    ------
    NeuralCollapseError
        If the paper is unknown.

    Examples
    --------
    >>> from neuralcollapse.studies import load_study
    >>> load_study("ji2022").claims[0].id
    'ji2022.def2.1'
    """
    check_choice("paper", paper, STUDIES)
    study: Study = importlib.import_module(
        f"neuralcollapse.studies.{paper.replace('-', '_')}"
    ).study
    return study


def verify(paper: str | None = None, progress: bool = False) -> list[Verdict]:
    """Check every claim of a paper on real numbers.

    Parameters
    ----------
    paper
        Short name; every paper if omitted.
    progress
        Show a progress bar.

    Returns
    -------
    list of Verdict
        One for each claim, in the order of the papers. See `verdict_table` and `exit_status`.

    Raises
    ------
    NeuralCollapseError
        If the paper is unknown. An error inside a check is that claim's verdict instead.

    Examples
    --------
    >>> from neuralcollapse.studies import judge, load_study
    >>> first, *others = load_study("ji2022").claims  # verify("ji2022") checks them all: minutes
    >>> judge(first).outcome
    'holds'
    """
    names = PAPERS if paper is None else (paper,)
    claims = [claim for name in names for claim in load_study(name).claims]
    shown = track(claims, "verifying claims", disable=not progress, transient=True)
    return [judge(claim) for claim in shown]


def run_study(paper: str, job: FigureJob, figure: int | None = None) -> list[Path]:
    """Redraw a paper's figures, and record the verdict of each of its claims.

    Parameters
    ----------
    paper
        Short name, one of `PAPERS`, ``"atlas"`` or ``"language-model"``.
    job
        The folder to write to, made if it is not there, and the scale. Records lie beside the
        figures they feed.
    figure
        Number of the only figure to draw; all figures and the claims if omitted.

    Returns
    -------
    list of Path
        The files written: figures, their records, and ``claims.jsonl``, one claim per line.

    Raises
    ------
    NeuralCollapseError
        If the paper, or the figure in it, is unknown, the folder has files of another study or of
        others, a network could not be trained, or seeds or settings are given for one figure that
        has its own.

    Examples
    --------
    >>> from neuralcollapse.studies import load_study
    >>> sorted(load_study("tirer2023").figures)  # then run_study("tirer2023", job, figure=1)
    [1, 2, 3]
    """
    study = load_study(paper)
    if figure is not None and figure not in study.figures:
        expected = f"one of the figures {', '.join(map(str, sorted(study.figures)))} of {paper}"
        remedy = "choose a known figure or omit it for all"
        raise NeuralCollapseError("figure", expected, str(figure), remedy)
    if figure is not None and job.scale in study.fixed[figure]:
        for argument, changes in (("seeds", job.seeds), ("settings", job.settings)):
            if changes:
                expected = (
                    f"none for figure {figure} of {paper} at the scale {job.scale!r}, which has "
                    "its own"
                )
                got = ", ".join(map(str, changes))
                raise NeuralCollapseError(argument, expected, got, "leave them out")
    numbers = sorted(study.figures) if figure is None else [figure]
    _claim_folder(job.folder, paper)
    written = [path for number in numbers for path in study.figures[number](job)]
    if figure is None and study.claims:
        written.append(_record(verify(paper, job.progress), job.folder / "claims.jsonl"))
    return written


def _claim_folder(folder: Path, paper: str) -> None:
    """Make the folder that of a study; refuse that of another, or foreign files of our names."""
    mark, foreign = folder / MARK, [path for name in WRITTEN for path in folder.glob(name)]
    if mark.is_file():
        other = read_json(mark).get("paper")
        if other == paper:
            return
        got = f"{folder}, the folder of {other}"
    elif not foreign:
        write_json(mark, {"paper": paper})
        return
    else:
        got = f"{folder}, in which is {min(foreign).name}"
    expected = f"a new folder, or that of {paper}"
    raise NeuralCollapseError("out", expected, got, "choose another, so that nothing is lost")


def _record(verdicts: Iterable[Verdict], path: Path) -> Path:
    """Write one JSON line per verdict."""
    with atomic_path(path) as temporary, temporary.open("w") as file:
        for verdict in verdicts:
            record = {
                "claim": verdict.claim.id,
                "statement": verdict.claim.statement,
                "correction": verdict.claim.correction,
                "outcome": verdict.outcome,
                "error": verdict.error,
                "evidence": [vars(piece) | {"holds": piece.holds} for piece in verdict.evidence],
            }
            file.write(json.dumps(without_nan(record)) + "\n")
    return path
