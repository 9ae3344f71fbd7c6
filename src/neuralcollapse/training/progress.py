"""What is shown while a run goes on: a bar on a terminal, else plain lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from neuralcollapse.runs.record import Record
from neuralcollapse.runs.schedule import Schedule
from neuralcollapse.wording import accuracy

Show = Callable[[int, Sequence[Record]], None]
LINES = Schedule(every=None)  # a log of ten thousand epochs stays short


@contextmanager
def showing(epochs: int, shown: bool = True) -> Iterator[Show]:
    """Yield a function of epochs done and records so far, which tells how far a run is.

    Parameters
    ----------
    epochs
        Of the run.
    shown
        Whether to show anything.

    Examples
    --------
    >>> record = {"accuracy": 1.0, "test_accuracy": 0.5, "nc1_pinv": 0.25}
    >>> with showing(30) as show:
    ...     show(7, [record]), show(8, [record])
    epoch 8/30: train 100 %  test 50.00 %  NC1 2.5e-01
    (None, None)
    """
    console = Console(highlight=False)
    if not shown:
        yield lambda epoch, records: None
    elif not console.is_interactive:
        yield lambda epoch, records: _line(console, epoch, epochs, records)
    else:
        columns = (
            TextColumn("epoch {task.completed:>3.0f}/{task.total:.0f}"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns) as bar:
            task = bar.add_task("", total=epochs)
            yield lambda epoch, records: bar.update(
                task, completed=epoch, description=headline(records)
            )


def headline(records: Sequence[Record]) -> str:
    """Return accuracies and NC1 of the last record."""
    if not records:
        return ""
    last = records[-1]
    train, test, nc1 = last["accuracy"], last["test_accuracy"], last["nc1_pinv"]
    return f"train {accuracy(train)}  test {accuracy(test)}  NC1 {nc1:.1e}"


def _line(console: Console, epoch: int, epochs: int, records: Sequence[Record]) -> None:
    if epoch and LINES.due(epoch, epochs):
        console.print(f"epoch {epoch}/{epochs}: {headline(records)}", soft_wrap=True)
        console.file.flush()
