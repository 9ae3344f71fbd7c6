"""compare: how two measurements differ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from neuralcollapse.cli.app import app, tell
from neuralcollapse.errors import NeuralCollapseError


@app.command()
def compare(
    first: Annotated[
        Path, typer.Argument(help="A report that measure --save wrote, or a file of features.")
    ],
    second: Annotated[
        Path, typer.Argument(help="Another report or file, of the same samples if possible.")
    ],
    csv: Annotated[Path | None, typer.Option(help="Write the table to this file.")] = None,
) -> None:
    """Compare two measurements: differences with intervals, paired where the samples are the same.

    Example: neuralcollapse compare before.npz after.npz
    """
    from neuralcollapse import compare as compared
    from neuralcollapse.files import write_whole

    found = compared(_report("first", first), _report("second", second))
    tell(found)
    if csv is not None:
        write_whole(csv, found.table.to_csv(index_label="metric"))


def _report(argument: str, path: Path) -> Any:
    """Return the report of a file; what is wrong with it tells which of the two it is."""
    from neuralcollapse.measurement import load_report, measure_features, read_features
    from neuralcollapse.measurement.report_file import is_report

    try:
        return load_report(path) if is_report(path) else measure_features(**read_features(path))
    except NeuralCollapseError as error:
        of_file = error.argument in ("path", str(path))
        name = argument if of_file else f"{error.argument} in {path}"
        raise type(error)(name, error.expected, error.got, error.remedy) from error
