"""report: one page about one or several runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from neuralcollapse.cli.app import app, tell

LOOK = 1.0  # seconds between two looks at the runs


@app.command()
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Folders of runs, with a history.jsonl; files are left out."),
    ],
    out: Annotated[Path, typer.Option(dir_okay=False, help="The page to write.")] = Path(
        "report.html"
    ),
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Write it again as the runs go on, until interrupted.")
    ] = False,
) -> None:
    """Write one self-contained page about one or several runs: verdicts, curves, geometry, theory.

    It works without a network and holds its own data. Runs on the same classes
    are overlaid. A live page reloads itself, and keeps what was chosen on it.

    Example: neuralcollapse report demo --open
    """
    import webbrowser

    from neuralcollapse.report.html import write_page
    from neuralcollapse.report.html.template import require_replaceable
    from neuralcollapse.runs import read_runs

    require_replaceable(out, "out")
    runs = [path for path in runs if not path.is_file()] or runs  # as sweep.csv of sweep/*
    written = _sizes(runs) if live else []
    path = write_page(read_runs(runs), out, live=live)
    tell(path)
    if show:
        webbrowser.open(path.resolve().as_uri())
    try:
        while live:
            time.sleep(LOOK)
            sizes = _sizes(runs)
            if sizes != written:
                write_page(read_runs(runs), out, live=True)
                written = sizes
    except KeyboardInterrupt:
        write_page(read_runs(runs), out)  # which reloads itself no more


def _sizes(runs: list[Path]) -> list[int]:
    """Return how long the histories are, whoever writes them."""
    histories = (run / "history.jsonl" for run in runs)
    return [history.stat().st_size if history.is_file() else 0 for history in histories]
