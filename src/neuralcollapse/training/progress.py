"""What the terminal shows while a run goes on."""

from __future__ import annotations

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from neuralcollapse.runs.record import Record


def progress_bar(shown: bool) -> Progress:
    """Return the bar of a run, which counts epochs."""
    return Progress(
        TextColumn("epoch {task.completed:>3.0f}/{task.total:.0f}"),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        disable=not shown,
    )


def headline(records: list[Record]) -> str:
    """Return accuracies and NC1 of the last record, for the bar."""
    if not records:
        return ""
    last = records[-1]
    train, test, nc1 = last["accuracy"], last["test_accuracy"], last["nc1_pinv"]
    return f"train {train:.2%}  test {test:.2%}  NC1 {nc1:.1e}"
