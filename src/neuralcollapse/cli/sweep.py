"""sweep: many trainings at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from neuralcollapse.cli.app import app, interruptible, tell


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(help="JSON: base values, a grid, a list of runs.")],
    out: Annotated[
        Path, typer.Option(file_okay=False, help="Folder for the runs and sweep.csv.")
    ] = Path("sweep"),
    engine: Annotated[
        str, typer.Option(help="What trains the networks: processes, or ray.")
    ] = "processes",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of runs at once; as many as cores if omitted.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster; auto finds one started by ray start --head."),
    ] = None,
    gpus_per_run: Annotated[float, typer.Option(min=0.0, help="GPUs of each run, with ray.")] = 0.0,
    retry: Annotated[bool, typer.Option(help="Run failed runs again.")] = False,
) -> None:
    """Train every configuration of a grid or a list, several at once.

    Call it again to continue after a stop: finished runs are skipped, others
    continue from their last checkpoint. The exit status is 1 if a run failed.

    A file that trains two networks with three seeds each:

    {"base": {"epochs": 200}, "grid": {"net": ["mlp", "cnn"], "seed": [0, 1, 2]}}

    Examples: neuralcollapse sweep grid.json --out runs, or
    neuralcollapse sweep grid.json --engine ray --address auto --gpus-per-run 1
    """
    from neuralcollapse.files import require_ours, write_whole
    from neuralcollapse.studies.sweep import sweep as train_all
    from neuralcollapse.studies.sweep.configs import read_sweep
    from neuralcollapse.studies.sweep.progress_table import progress_table

    require_ours(out / "sweep.csv", b"run,", "the table of an earlier sweep", "out")
    with interruptible("continues"):
        report = train_all(
            read_sweep(file),
            out,
            engine=engine,
            workers=workers,
            address=address,
            gpus_per_run=gpus_per_run,
            retry=retry,
        )
    write_whole(out / "sweep.csv", report.to_frame().to_csv(index=False))
    Console().print(progress_table(report.runs))
    tell(f"Written to {out}/sweep.csv")
    if report.failed:
        tell("Run again with --retry, once the cause is corrected.")
        raise typer.Exit(1)
