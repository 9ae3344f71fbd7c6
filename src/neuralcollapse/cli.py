"""The command line: one function a command, heavy imports inside it, so that help is instant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from neuralcollapse.errors import NeuralCollapseError


class _CleanErrors(TyperGroup):
    """Every command's bad input ends the same way: one line on stderr, status 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except NeuralCollapseError as error:
            console = Console(stderr=True, soft_wrap=True, highlight=False)
            console.print("[red]error:[/red]", escape(str(error)))
            raise typer.Exit(2) from None


app = typer.Typer(cls=_CleanErrors, no_args_is_help=True, add_completion=False)


@app.callback()
def neuralcollapse() -> None:
    """Measure the neural collapse of any classifier, and explain it with its theory."""


@app.command()
def demo(
    data: Annotated[
        str, typer.Option(help="digits, fashion-mnist, or a folder with Fashion-MNIST's IDX files.")
    ] = "digits",
    net: Annotated[str, typer.Option(help="mlp or cnn.")] = "mlp",
    loss: Annotated[str, typer.Option(help="ce (cross-entropy) or mse.")] = "ce",
    epochs: Annotated[int, typer.Option(min=1)] = 400,
    weight_decay: Annotated[float, typer.Option(min=0.0)] = 0.01,
    seed: int = 0,
    out: Annotated[Path, typer.Option(help="Folder of figures and history.")] = Path("demo"),
) -> None:
    """Train a small network past 100 % training accuracy and watch it collapse.

    An earlier run in the same folder is replaced. Of Fashion-MNIST, 500 training images a class
    are used, which takes about five times as long as the digits.
    """
    import torch

    from neuralcollapse.report import plot_history, summary_table, summary_text
    from neuralcollapse.training import DATASETS, TrainConfig, train

    named = data in DATASETS
    config = TrainConfig.from_dict(
        {
            "data": data if named else "fashion-mnist",
            "data_root": None if named else data,
            "per_class": None if data == "digits" else 500,
            "net": net,
            "width": 256 if net == "mlp" else 128,
            "loss": loss,
            "epochs": epochs,
            "weight_decay": weight_decay,
            "seed": seed,
        }
    )
    if data == "digits":
        torch.set_num_threads(1)  # layers this small only wait for a second thread
    console = Console(highlight=False)
    records = train(config, out, overwrite=True)
    console.print(summary_table(records))
    console.print(summary_text(records))
    figures = plot_history(records, out)
    names = ", ".join(path.name for path in figures)
    console.print(f"Written to {out}: {names}, history.jsonl, config.json", markup=False)


@app.command()
def measure(
    file: Annotated[
        Path,
        typer.Argument(
            help="npz or safetensors with features (N, d) and labels (N,), and if wanted "
            "weight (K, d), bias (K,), test_features and test_labels."
        ),
    ],
    json: Annotated[Path | None, typer.Option(help="Write all values to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the report to this image.")] = None,
    per_class: Annotated[bool, typer.Option(help="Print one line a class, too.")] = False,
) -> None:
    """Measure the collapse of features that were saved before.

    Example: neuralcollapse measure features.npz --plot collapse.png
    """
    from neuralcollapse.measurement import measure_features, read_features

    report = measure_features(**read_features(file))
    print(report)
    if per_class:
        print(report.per_class.to_string(index=False, float_format="{:.4g}".format))
    if json is not None:
        report.to_json(json)
    if plot is not None:
        report.plot(plot)


@app.command()
def study(
    paper: Annotated[str, typer.Argument(help="Which paper: ji2022 or tirer2023.")],
    figure: Annotated[int | None, typer.Option(help="Draw this figure alone.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; studies/PAPER if omitted.")] = None,
    features: Annotated[
        Path | None,
        typer.Option(help="tirer2023: predict the collapse of the layer after these features."),
    ] = None,
    lambda_w: Annotated[float, typer.Option(help="Weight decay of the head.")] = 0.005,
    lambda_h: Annotated[float, typer.Option(help="Weight decay of the features.")] = 0.01,
    beta: Annotated[float, typer.Option(help="Pull of the features towards those given.")] = 1.0,
) -> None:
    """Redraw a paper's figures from the theory's own models, and record its claims.

    Examples: neuralcollapse study ji2022 --figure 2, or
    neuralcollapse study tirer2023 --features features.npz --beta 0.1
    """
    from neuralcollapse.studies import run_study

    if features is None:
        for path in run_study(paper, out or Path("studies", paper), figure):
            print(path)
        return
    if paper != "tirer2023":
        raise NeuralCollapseError(
            "--features", "the paper tirer2023", paper, "only its model starts from features"
        )
    from neuralcollapse.studies.tirer2023.next_layer import study_features

    Console().print(study_features(features, lambda_w, lambda_h, beta))


@app.command()
def verify(
    paper: Annotated[str | None, typer.Argument(help="Which paper; all if omitted.")] = None,
) -> None:
    """Check a paper's claims on real numbers; the exit status is 0 if all hold.

    Example: neuralcollapse verify ji2022
    """
    from neuralcollapse.studies import exit_status, verdict_table
    from neuralcollapse.studies import verify as check

    verdicts = check(paper, progress=True)
    Console().print(verdict_table(verdicts))
    raise typer.Exit(exit_status(verdicts))
