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
    """
    with tempfile.TemporaryDirectory() as folder:
        append_record(
            Path(folder, "history.jsonl"),
            {"epoch": 0, "cautions": report.cautions, **report.to_record()},
        )
        write_snapshot(folder, 0, report)
        return write_page([read_run(folder, title)], path)
