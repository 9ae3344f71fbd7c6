"""The page of one measurement: that of a run which measured once."""

from __future__ import annotations

import tempfile
from pathlib import Path

from neuralcollapse.measurement.collapse_report import CollapseReport
from neuralcollapse.report.html.page import write_page
from neuralcollapse.runs.history import append_record
from neuralcollapse.runs.run import read_run
from neuralcollapse.runs.snapshot_files import write_snapshot


def write_report(report: CollapseReport, path: str | Path, title: str = "measurement") -> Path:
    """Write the page of one measurement, whole or not at all.

    Parameters
    ----------
    report
        Of `measure` or `measure_features`.
    path
        The HTML file.
    title
        Any text.

    Raises
    ------
    NeuralCollapseError
        If the file is there and is no page of this library.

    Examples
    --------
    >>> import tempfile
    >>> import torch
    >>> import neuralcollapse as nc
    >>> from neuralcollapse.report.html import write_report
    >>> report = nc.measure_features(torch.tensor([[-3.0], [-1.0], [1.0], [3.0]]), [0, 0, 1, 1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(report, f"{folder}/report.html", title="two classes").name
    'report.html'
    """
    with tempfile.TemporaryDirectory() as folder:
        append_record(
            Path(folder, "history.jsonl"),
            {"epoch": 0, "cautions": report.cautions, **report.to_record()},
        )
        write_snapshot(folder, 0, report)
        return write_page([read_run(folder, title)], path)
