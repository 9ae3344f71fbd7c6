"""Verdicts as a table to read in a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.markup import escape
from rich.table import Table

from neuralcollapse.studies.claims import Evidence, Outcome, Verdict

STYLES: dict[Outcome, str] = {
    "holds": "green",
    "holds as corrected": "yellow",
    "fails": "bold red",
    "error": "bold red",
}


def verdict_table(verdicts: Iterable[Verdict]) -> Table:
    """Lay out verdicts: each claim with its statement, then a line for each piece of evidence.

    Parameters
    ----------
    verdicts
        From `verify`.

    Returns
    -------
    rich.table.Table
        To print with ``rich.print``.
    """
    table = Table("claim", "evidence", title="Claims and what the numbers say")
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("expected", no_wrap=True)
    table.add_column("verdict")
    for verdict in verdicts:
        claim, style = verdict.claim, STYLES[verdict.outcome]
        lines = [f"[bold]{escape(claim.statement)}[/bold]"]
        if claim.correction is not None:
            lines.append(f"[yellow]Correction: {escape(claim.correction)}[/yellow]")
        if verdict.error is not None:
            lines.append(f"[red]{escape(verdict.error)}[/red]")
        table.add_row(claim.id, "\n".join(lines), "", "", f"[{style}]{verdict.outcome}[/{style}]")
        for piece in verdict.evidence:
            note = f" [dim]({escape(piece.note)})[/dim]" if piece.note else ""
            mark = "" if piece.holds else "[bold red]fails[/bold red]"
            words = f"  {escape(piece.comparison)}{note}"
            table.add_row("", words, f"{piece.measured:.6g}", _expectation(piece), mark)
        table.add_section()
    return table


def _expectation(piece: Evidence) -> str:
    tolerance = f" ± {piece.tolerance:.1g}" if piece.tolerance else ""
    return f"{piece.relation} {piece.expected:.6g}{tolerance}"
