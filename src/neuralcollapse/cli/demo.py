"""demo: train a small network, and watch it collapse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from neuralcollapse.cli.app import app, tell


@app.command()
def demo(
    data: Annotated[
        str,
        typer.Option(
            help="A data set, see: neuralcollapse data; or a folder with Fashion-MNIST's IDX files."
        ),
    ] = "digits",
    net: Annotated[str, typer.Option(help="Network: mlp, cnn, resnet18 ...")] = "mlp",
    loss: Annotated[str, typer.Option(help="Loss: ce (cross-entropy) or mse.")] = "ce",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training data.")] = 400,
    weight_decay: Annotated[
        float, typer.Option(min=0.0, help="Weight decay on all weights.")
    ] = 0.01,
    seed: Annotated[int, typer.Option(help="Seed for weights and batch order.")] = 0,
    out: Annotated[
        Path,
        typer.Option(file_okay=False, help="Folder for the report, the figures and the history."),
    ] = Path("demo"),
) -> None:
    """Train a small network past 100 % training accuracy and watch it collapse.

    An earlier demo in the same folder is replaced, another run or file never. Of
    Fashion-MNIST, 500 training images a class are used, which takes about five
    times as long as the digits.
    """
    import torch

    from neuralcollapse.report import plot_history, summary_table, summary_text
    from neuralcollapse.report.html import write_page
    from neuralcollapse.report.html.template import require_replaceable
    from neuralcollapse.runs import read_runs
    from neuralcollapse.training import DATASETS, TrainConfig, train
    from neuralcollapse.training.run_folder import TrainingFolder

    named = data in DATASETS
    config = TrainConfig.from_dict(
        {
            "data": data if named else "fashion-mnist",
            "data_root": None if named else data,
            "per_class": None if data == "digits" else 500,
            "net": net,
            "loss": loss,
            "epochs": epochs,
            "weight_decay": weight_decay,
            "seed": seed,
        }
    )
    if data == "digits":
        torch.set_num_threads(1)  # layers this small only wait for a second thread
    console = Console(highlight=False)
    require_replaceable(out / "report.html")
    folder = TrainingFolder(out)
    folder.require_ours()
    if "report.html" not in folder.files:  # no earlier demo
        folder.require_unused()
    folder.claim("report.html", "collapse.png", "accuracy.png", "margins.png")
    records = train(config, out, measure_every=1, overwrite=True)
    console.print(summary_table(records))
    console.print(summary_text(records))
    figures = plot_history(records, out)
    names = ", ".join(path.name for path in figures)
    page = write_page(read_runs([out]), out / "report.html")
    tell(f"Written to {out}: {names}, history.jsonl, config.json\nOpen in a browser: {page}")
