"""Verdicts as a table to read in a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.box import HORIZONTALS
from rich.console import Group
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from neuralcollapse.studies.claims import Evidence, Outcome, Verdict

STYLES: dict[Outcome, str] = {
    "holds": "green",
    "holds as corrected": "yellow",
    "fails": "bold red",
    "error": "bold red",
}


def verdict_table(verdicts: Iterable[Verdict], details: bool = True) -> Table:
    """Lay out verdicts: each claim with its statement, and a line for each piece of evidence.

    Parameters
    ----------
    verdicts
        From `verify`.
    details
        Whether to list the evidence. Otherwise each claim has one line: its id, its verdict, how
        many numbers were compared, and the first that fails.

    Returns
    -------
    rich.table.Table
        To print with ``rich.print``.

    Examples
    --------
    >>> import rich
    >>> from neuralcollapse.studies import Claim, Evidence, judge, verdict_table
    >>> claim = Claim("toy2022.thm1", "1 + 1 = 2", lambda: iter([Evidence("the sum", 1 + 1, 2)]))
    >>> rich.print(verdict_table([judge(claim)], details=False))
    toy2022.thm1  holds  1
    """
    if not details:
        return _lines(verdicts)
    table = Table(
        Column(_grid(["claims, and what the numbers say", "measured", "expected", ""]), ratio=1),
        show_lines=True,
        expand=True,
        box=HORIZONTALS,
    )
    for verdict in verdicts:
        lines = [
            [
                f"{escape(piece.comparison)}{_note(piece)}",
                f"{piece.measured:.6g}",
                _expectation(piece),
                "" if piece.holds else "[bold red]fails[/bold red]",
            ]
            for piece in verdict.evidence
        ]
        table.add_row(Group(*_heading(verdict), _grid(*lines)))
    return table


def verdict_tally(verdicts: Sequence[Verdict]) -> str:
    """Say in one line how many claims came out how.

    Parameters
    ----------
    verdicts
        From `verify`.

    Examples
    --------
    >>> from neuralcollapse.studies import Claim
    >>> verdict_tally([Verdict(Claim("a.b", "1 = 1", lambda: iter(())), ())])
    '1 claim: 1 holds'
    """
    counts = Counter(verdict.outcome for verdict in verdicts)
    told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in STYLES if counts[outcome])
    return f"{len(verdicts)} claim{'s' if len(verdicts) != 1 else ''}: {told}"


def _lines(verdicts: Iterable[Verdict]) -> Table:
    table = Table.grid(
        Column(no_wrap=True), Column(no_wrap=True), Column(justify="right"), Column(ratio=1),
        padding=(0, 2, 0, 0),
    )  # fmt: skip
    for verdict in verdicts:
        style = STYLES[verdict.outcome]
        wrong = next((piece for piece in verdict.evidence if not piece.holds), None)
        said = verdict.error or ""
        if wrong is not None:
            said = f"{wrong.comparison}: {wrong.measured:.6g}, not {_expectation(wrong)}"
        table.add_row(
            escape(verdict.claim.id),
            f"[{style}]{verdict.outcome}[/{style}]",
            str(len(verdict.evidence)),
            Text(said, style="red"),
        )
    return table


def _heading(verdict: Verdict) -> list[str]:
    claim, style = verdict.claim, STYLES[verdict.outcome]
    lines = [
        f"[bold]{escape(claim.id)}[/bold]  [{style}]{verdict.outcome}[/{style}]",
        escape(claim.statement),
    ]
    if claim.correction is not None:
        lines.append(f"[yellow]Correction: {escape(claim.correction)}[/yellow]")
    if verdict.error is not None:
        lines.append(f"[red]{escape(verdict.error)}[/red]")
    return lines


def _grid(*lines: list[str]) -> Table:
    """Lay out lines of evidence; the fixed widths keep the claims' columns below each other."""
    grid = Table.grid(
        Column(ratio=1),
        Column(width=12, justify="right"),
        Column(width=19),
        Column(width=5),
        padding=(0, 1),
        expand=True,
    )
    for line in lines:
        grid.add_row(*line)
    return grid


def _note(piece: Evidence) -> str:
    return f" [dim]({escape(piece.note)})[/dim]" if piece.note else ""


def _expectation(piece: Evidence) -> str:
    tolerance = f" ± {piece.tolerance:.1g}" if piece.tolerance else ""
    return f"{piece.relation} {piece.expected:.6g}{tolerance}"
