"""train: a network of your choice, its collapse measured on the way."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from rich.console import Console

from neuralcollapse.cli.app import app, interruptible, tell
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.plain_text import plain
from neuralcollapse.training.config import RENAMED, TrainConfig
from neuralcollapse.training.config_field import RECIPE, ConfigField

MEASURE, MACHINE = "Measuring", "Machine and folder"


def _option(help: str, heading: str, default: str | bool = False, *names: str) -> Any:
    """Declare an option; `default` is what its absence means, as text."""
    return typer.Option(*names, help=help, rich_help_panel=heading, show_default=default)


def _flag(name: str, help: str, heading: str) -> Any:
    """Declare an option that is given or not, without a --no- of its own."""
    return _option(help, heading, False, name)


def _settings() -> Iterator[inspect.Parameter]:
    """One option a field of `TrainConfig`; what is not given is that of --config or its default."""
    hints = get_type_hints(TrainConfig)
    for field in fields(TrainConfig):
        said: ConfigField = field.metadata["field"]
        choices = (
            f": {', '.join(said.constraint.choices)}"
            if said.constraint and said.constraint.choices
            else ""
        )
        value = field.default
        default = "yes" if value is True else f"{value:g}" if type(value) is float else str(value)
        name = "--" + field.name.replace("_", "-")
        names = [f"{name}/--no-{name[2:]}"] if value is True else [name]
        names += [f"--{once}" for once, now in RENAMED.items() if now == field.name]
        kind = list[int] | None if field.name == "milestones" else hints[field.name] | None
        option = _option(
            f"{said.help}{choices}.",
            said.heading,
            said.absent or (False if value is None else default),
            *names,
        )
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[kind, option],
        )


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `TrainConfig` in place of its last parameter, `settings`."""
    signature = inspect.signature(command, eval_str=True)
    *own, _ = signature.parameters.values()
    command.__signature__ = signature.replace(parameters=[*_settings(), *own])  # type: ignore[attr-defined] # read by inspect
    return command


@app.command()
@_with_settings
def train(
    *,
    config: Annotated[
        Path | None,
        _option(
            "JSON file of these settings; options on the command line take precedence.", RECIPE
        ),
    ] = None,
    trust_code: Annotated[
        bool, _flag("--trust-code", "Run code that the file of --config names.", RECIPE)
    ] = False,
    layers: Annotated[
        list[str] | None,
        _option("Name of a module to measure as well; may be given several times.", MEASURE),
    ] = None,
    measure_every: Annotated[
        int | None,
        _option("Epochs between measurements.", MEASURE, "dense at first, then sparser"),
    ] = None,
    out: Annotated[
        Path, typer.Option(file_okay=False, help="Folder of the run.", rich_help_panel=MACHINE)
    ] = Path("run"),
    resume: Annotated[
        bool,
        _flag("--resume", "Continue the run in the folder; start one if there is none.", MACHINE),
    ] = False,
    overwrite: Annotated[
        bool, _flag("--overwrite", "Replace the run in the folder.", MACHINE)
    ] = False,
    checkpoint_seconds: Annotated[
        float, typer.Option(help="Seconds between checkpoints.", min=0.0, rich_help_panel=MACHINE)
    ] = 60.0,
    accelerator: Annotated[
        str, typer.Option(help="Accelerator: cpu, cuda, mps or auto.", rich_help_panel=MACHINE)
    ] = "auto",
    devices: Annotated[
        int,
        typer.Option(
            min=1,
            help="Number of accelerators, with one process each.",
            rich_help_panel=MACHINE,
        ),
    ] = 1,
    workers: Annotated[
        int,
        typer.Option(min=0, help="Number of processes that read data.", rich_help_panel=MACHINE),
    ] = 0,
    compile: Annotated[bool, _flag("--compile", "Train through torch.compile.", MACHINE)] = False,
    channels_last: Annotated[
        bool,
        _flag(
            "--channels-last",
            "Keep the channels of images last in memory, which is faster on GPUs.",
            MACHINE,
        ),
    ] = False,
    **settings: Any,
) -> None:
    r"""Train a classifier, and measure its collapse on training and test data.

    For instance:

    neuralcollapse train --net cnn --epochs 100 --out runs/digits

    neuralcollapse train --data cifar10 --net resnet18 --epochs 120 \
        --lr-schedule step --milestones 40 --milestones 80 --batch-size 128 \
        --weight-decay 5e-4 --layers features.stage1 --out runs/base

    neuralcollapse train --config runs/base/config.json --seed 1 --out runs/second

    neuralcollapse train --net cnn --head etf --no-head-bias --out runs/fixed

    With --resume, the same command continues a run that was stopped.
    """
    from neuralcollapse.report import summary_table, summary_text
    from neuralcollapse.training import train as run
    from neuralcollapse.training.data.registry import EMBEDDED

    given = {name: value for name, value in settings.items() if value not in (None, [])}
    kept = _read(config)
    named = {key: value for key, value in kept.items() if key in ("net", "data")}
    _require_trust(named, given, trust_code)
    trained = TrainConfig.from_dict(kept | given)
    if "data_root" in given and trained.data in EMBEDDED:
        expected = f"none for {trained.data}, which no file is read for"
        remedy = "leave it out, or name the data in the folder with --data"
        raise NeuralCollapseError("data_root", expected, given["data_root"], remedy)
    console = Console(highlight=False)
    with interruptible(f"with --resume continues {out}"):
        records = run(
            trained,
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
    console.print(summary_table(records))
    console.print(summary_text(records))
    tell(f"Written to {out}: config.json, history.jsonl, checkpoint.pt, model.safetensors")


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
    remedy = "pass --trust-code if you know whose code that is"
    raise NeuralCollapseError("--config", "settings without code", ", ".join(code), remedy)
