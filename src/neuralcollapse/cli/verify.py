"""verify: check the papers' claims."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from neuralcollapse.cli.app import app


@app.command()
def verify(
    paper: Annotated[str | None, typer.Argument(help="Which paper; all if omitted.")] = None,
) -> None:
    """Check a paper's claims on real numbers; the exit status is 0 if all hold.

    Example: neuralcollapse verify ji2022
    """
    from neuralcollapse.studies import exit_status, verdict_table, verdict_tally
    from neuralcollapse.studies import verify as check

    verdicts = check(paper, progress=True)
    console = Console(highlight=False)
    console.print(verdict_table(verdicts))
    console.print(verdict_tally(verdicts), markup=False)
    raise typer.Exit(exit_status(verdicts))
