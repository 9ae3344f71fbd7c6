"""verify: check the papers' claims."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from neuralcollapse.cli.app import app


@app.command()
def verify(
    paper: Annotated[str | None, typer.Argument(help="Paper to check; all if omitted.")] = None,
    details: Annotated[
        bool, typer.Option("--details", help="Print the statements and each piece of evidence.")
    ] = False,
) -> None:
    """Check a paper's claims on real numbers; the exit status is 0 if all hold.

    Each claim has one line, with how many numbers were compared, and the first
    that came out wrong.

    Example: neuralcollapse verify ji2022 --details
    """
    from neuralcollapse.studies import verify as check
    from neuralcollapse.studies.claims import exit_status
    from neuralcollapse.studies.verdict_table import verdict_table, verdict_tally

    verdicts = check(paper, progress=True)
    console = Console(highlight=False)
    console.print(verdict_table(verdicts, details))
    console.print(verdict_tally(verdicts), markup=False)
    raise typer.Exit(exit_status(verdicts))
