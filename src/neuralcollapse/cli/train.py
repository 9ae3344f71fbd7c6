"""train: a network of your choice, its collapse measured on the way."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from neuralcollapse.cli.app import app, tell
from neuralcollapse.plain_text import plain

# What is not given on the command line comes from --config, and else from TrainConfig.
MODEL, RECIPE, MEASURE, MACHINE = "Network and data", "Recipe", "Measuring", "Machine and folder"


def _option(help: str, panel: str, default: str | bool = False, *names: str) -> Any:
    """Declare an option; `default` is what its absence means, as text."""
    return typer.Option(*names, help=help, rich_help_panel=panel, show_default=default)


@app.command()
def train(
    data: Annotated[
        str | None,
        _option("digits, fashion-mnist, ..., or package.module:callable.", MODEL, "digits"),
    ] = None,
    data_root: Annotated[str | None, _option("Folder of the data's files.", MODEL)] = None,
    per_class: Annotated[int | None, _option("Training images a class.", MODEL, "all")] = None,
    test_per_class: Annotated[int | None, _option("Test images a class.", MODEL, "all")] = None,
    imbalance: Annotated[float | None, _option("Largest over smallest class.", MODEL, "1")] = None,
    label_noise: Annotated[
        float | None, _option("Share of wrong training labels.", MODEL, "0")
    ] = None,
    net: Annotated[
        str | None,
        _option("mlp, cnn, vgg11, resnet18, ..., or package.module:callable.", MODEL, "mlp"),
    ] = None,
    width: Annotated[float | None, _option("Multiplies all widths.", MODEL, "1")] = None,
    head_bias: Annotated[
        bool | None,
        _option("Of the head.", MODEL, "yes", "--head-bias/--no-head-bias"),
    ] = None,
    head: Annotated[
        str | None, _option("linear, or etf: fixed, with --no-head-bias.", MODEL, "linear")
    ] = None,
    head_scale: Annotated[float | None, _option("Norm of a fixed head's rows.", MODEL, "1")] = None,
    head_orientation: Annotated[
        str | None, _option("Of a fixed head: haar, axis or block.", MODEL, "haar")
    ] = None,
    head_seed: Annotated[int | None, _option("Of the Haar orientation.", MODEL, "0")] = None,
    head_permutation: Annotated[
        int | None, _option("Seed of a permutation of its rows.", MODEL, "none")
    ] = None,
    loss: Annotated[
        str | None, _option("ce, mse, focal; dot-regression of a fixed head.", RECIPE, "ce")
    ] = None,
    label_smoothing: Annotated[float | None, _option("Of cross-entropy.", RECIPE, "0")] = None,
    focal_gamma: Annotated[float | None, _option("Of the focal loss.", RECIPE, "2")] = None,
    epochs: Annotated[int | None, _option("Passes over the data.", RECIPE, "400")] = None,
    batch_size: Annotated[int | None, _option("Of all processes together.", RECIPE, "256")] = None,
    optimizer: Annotated[str | None, _option("sgd or adamw.", RECIPE, "sgd")] = None,
    lr: Annotated[float | None, _option("Learning rate.", RECIPE, "0.05")] = None,
    momentum: Annotated[float | None, _option("Of the gradient.", RECIPE, "0.9")] = None,
    lr_schedule: Annotated[
        str | None,
        _option("cosine, step or constant.", RECIPE, "cosine", "--lr-schedule", "--schedule"),
    ] = None,
    milestones: Annotated[
        list[int] | None,
        _option("Epoch at which a step falls; repeat it.", RECIPE, "one and two thirds"),
    ] = None,
    lr_factor: Annotated[float | None, _option("What a step multiplies by.", RECIPE, "0.1")] = None,
    warmup_epochs: Annotated[int | None, _option("Of rising learning rate.", RECIPE, "0")] = None,
    weight_decay: Annotated[float | None, _option("On all weights.", RECIPE, "0.01")] = None,
    head_weight_decay: Annotated[
        float | None, _option("Of the head alone.", RECIPE, "as the others")
    ] = None,
    precision: Annotated[str | None, _option("32, bf16 or auto.", RECIPE, "32")] = None,
    seed: Annotated[int | None, _option("Of weights and order.", RECIPE, "0")] = None,
    config: Annotated[
        Path | None,
        _option("JSON file of these settings; options given besides win.", RECIPE),
    ] = None,
    trust_code: Annotated[
        bool,
        _option("Run code that the file of --config names.", RECIPE, False, "--trust-code"),
    ] = False,
    layers: Annotated[
        list[str] | None, _option("A module to measure too, by its name; repeat it.", MEASURE)
    ] = None,
    measure_every: Annotated[
        int | None,
        _option("Epochs between measurements.", MEASURE, "dense at first, then sparser"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the run.", rich_help_panel=MACHINE)] = Path(
        "run"
    ),
    resume: Annotated[
        bool,
        _option(
            "Go on with the run in the folder, begin if there is none.", MACHINE, False, "--resume"
        ),
    ] = False,
    overwrite: Annotated[
        bool, _option("Replace the run in the folder.", MACHINE, False, "--overwrite")
    ] = False,
    checkpoint_seconds: Annotated[
        float, typer.Option(help="Between checkpoints.", min=0.0, rich_help_panel=MACHINE)
    ] = 60.0,
    accelerator: Annotated[
        str, typer.Option(help="cpu, cuda, mps or auto.", rich_help_panel=MACHINE)
    ] = "auto",
    devices: Annotated[
        int, typer.Option(min=1, help="Processes, each with one.", rich_help_panel=MACHINE)
    ] = 1,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that read data.", rich_help_panel=MACHINE)
    ] = 0,
    compile: Annotated[
        bool, _option("Train through torch.compile.", MACHINE, False, "--compile")
    ] = False,
    channels_last: Annotated[
        bool, _option("Lay images out as GPUs like them.", MACHINE, False, "--channels-last")
    ] = False,
) -> None:
    """Train a classifier, and measure its collapse on training and test data.

    For instance:

    neuralcollapse train --net cnn --epochs 100 --out runs/digits

    neuralcollapse train --data cifar10 --net resnet18 --epochs 120 --lr-schedule step
    --milestones 40 --milestones 80 --weight-decay 5e-4 --batch-size 128 --layers features.stage1
    --out runs/base

    neuralcollapse train --config runs/base/config.json --seed 1 --out runs/second

    neuralcollapse train --net cnn --head etf --no-head-bias --head-permutation 3 --out runs/fixed

    The same command with --resume goes on with a run that was stopped, by whatever.
    """
    given = {
        name: value
        for name, value in locals().items()
        if name in CONFIG_OPTIONS and value is not None and value != []
    }
    from neuralcollapse.report import summary_table, summary_text
    from neuralcollapse.training import TrainConfig
    from neuralcollapse.training import train as run

    kept = _read(config)
    named = {key: value for key, value in kept.items() if key in ("net", "data")}
    _require_trust(named, given, trust_code)
    settings = TrainConfig.from_dict(kept | given)
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to stop as ctrl-C does
    try:
        records = run(
            settings,
            out,
            accelerator=accelerator,
            devices=devices,
            strategy="ddp_spawn" if devices > 1 else "auto",
            compile=compile,
            channels_last=channels_last,
            workers=workers,
            measure_every=measure_every,
            layers=layers or (),
            checkpoint_seconds=checkpoint_seconds,
            resume=resume,
            overwrite=overwrite,
        )
    except KeyboardInterrupt:
        tell(f"Stopped. The same command with --resume goes on with {out}.")
        raise typer.Exit(130) from None
    console.print(summary_table(records))
    console.print(summary_text(records))
    tell(f"Written to {out}: config.json, history.jsonl, checkpoint.pt, model.safetensors")


CONFIG_OPTIONS = (
    "data", "data_root", "per_class", "test_per_class", "imbalance", "label_noise", "net", "width",
    "head_bias", "head", "head_scale", "head_orientation", "head_seed", "head_permutation",
    "loss", "label_smoothing", "focal_gamma", "epochs", "batch_size", "optimizer", "lr", "momentum",
    "lr_schedule", "milestones", "lr_factor", "warmup_epochs", "weight_decay", "head_weight_decay",
    "precision", "seed",
)  # fmt: skip


def _read(file: Path | None) -> dict[str, Any]:
    """Read settings from a JSON object, or from the config.json of a run."""
    from neuralcollapse.files import read_json, reading

    if file is None:
        return {}
    content = read_json(file)
    with reading(file, "settings by name under config, or alone", "correct the file"):
        return dict(content.get("config", content))


def _require_trust(named: dict[str, Any], given: dict[str, Any], trusted: bool) -> None:
    """Ask before code runs that a file names by import path; refuse where nobody can answer."""
    from neuralcollapse.errors import NeuralCollapseError

    code = [str(path) for key, path in named.items() if key not in given and ":" in str(path)]
    if not code or trusted:
        return
    if sys.stdin.isatty():
        typer.confirm(f"The file names code to run: {plain(', '.join(code))}. Run it?", abort=True)
        return
    raise NeuralCollapseError(
        "--config",
        "settings without code",
        ", ".join(code),
        "pass --trust-code if you know whose code that is",
    )
