"""report: one page about one or several runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuralcollapse.cli.app import app, tell


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, with a history.jsonl.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write one self-contained page about one or several runs: verdicts, curves, geometry, theory.

    It works without a network and holds its own data. Runs on the same classes are overlaid.

    Example: neuralcollapse report demo --open
    """
    import webbrowser

    from neuralcollapse.report.html import write_page
    from neuralcollapse.runs import read_runs

    path = write_page(read_runs(runs), out)
    tell(path)
    if show:
        webbrowser.open(path.resolve().as_uri())
