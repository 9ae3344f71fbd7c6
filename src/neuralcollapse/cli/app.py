"""The application that the commands register with; bad input ends with one line."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from neuralcollapse import __version__
from neuralcollapse.cli.outputs import check_outputs
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.plain_text import plain

UsageError: Any = typer.BadParameter.__bases__[0]  # of click, or of typer's own copy of it
Made = TypeVar("Made", bound=Callable[..., Any])
# Arguments inside, and what commands call them.
ALSO = {
    "path": ("file", "what", "runs", "features"),
    "run": ("runs",),
    "name": ("preset",),
    "data": ("name",),
    "sweep": ("file",),
    "seed": ("seeds",),
    "config": ("settings",),
    "class_names": ("names",),
}


class _Command(TyperCommand):
    """Every command looks first at what it would write; bad input is one line, and status 2."""

    def make_context(self, *arguments: Any, **extra: Any) -> Any:
        with _unusable_is_one_line():
            return super().make_context(*arguments, **extra)

    def invoke(self, ctx: Any) -> Any:
        try:
            check_outputs(ctx.params)
            with _warnings_are_one_line():
                return super().invoke(ctx)
        except NeuralCollapseError as error:
            named = ", ".join(_as_given(part, ctx) for part in error.argument.split(", "))
            _fail(NeuralCollapseError(named, error.expected, error.got, error.remedy))
        except BrokenPipeError:  # whoever read the output has had enough
            raise
        except OSError as error:
            path = error.filename and _as_given(str(error.filename), ctx)
            _fail(f"{path}: {error.strerror}" if path else error)


class _Group(TyperGroup):
    """A command that is not there is one line, too."""

    def make_context(self, *arguments: Any, **extra: Any) -> Any:
        with _unusable_is_one_line():
            return super().make_context(*arguments, **extra)

    def resolve_command(self, *arguments: Any) -> Any:
        with _unusable_is_one_line():
            return super().resolve_command(*arguments)


class _Commands(typer.Typer):
    """Where every command is such a command."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Made], Made]:
        return super().command(name, cls=_Command, **options)


@contextmanager
def _unusable_is_one_line() -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        if not error.format_message():  # help was shown instead
            raise
        _fail(error.format_message())


@contextmanager
def _warnings_are_one_line() -> Iterator[None]:
    """Say what the library warns of, without the place in its source."""
    usual = warnings.formatwarning

    def one_line(message: Any, category: type[Warning], *where: Any, **more: Any) -> str:
        own = category.__module__.startswith("neuralcollapse")
        return (
            f"warning: {plain(str(message))}\n" if own else usual(message, category, *where, **more)
        )

    warnings.formatwarning = one_line
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _as_given(argument: str, ctx: Any) -> str:
    """Return what the user knows the argument at fault by: the option, and the file or key."""
    known = (argument, *ALSO.get(argument, ()))
    for parameter in ctx.command.params:
        value = ctx.params.get(parameter.name)
        values = map(str, value if isinstance(value, list) else [value])
        detail = any(argument in (each, each.partition("=")[0]) for each in values)
        if detail or parameter.name in known:
            option = parameter.param_type_name == "option"
            name = parameter.opts[0] if option else str(parameter.name).upper()
            return f"{name} {argument}" if detail else name
    return argument


def _fail(error: object) -> NoReturn:
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print("[red]error:[/red]", escape(plain(error)))
    raise typer.Exit(2) from None


@contextmanager
def interruptible(how_to_go_on: str) -> Iterator[None]:
    """Stop as ctrl-C does when the process is asked to end, and say how to go on."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        tell(f"Stopped. The same command {how_to_go_on}.")
        raise typer.Exit(130) from None


def tell(text: object) -> None:
    """Print lines that may hold names and paths from anywhere, never raw and never as markup."""
    Console(highlight=False).print(plain(text, keep="\n"), markup=False, soft_wrap=True)


# Options that several commands have.
ClassNames = Annotated[Path | None, typer.Option(help="A text file with one class name per line.")]
ToJson = Annotated[Path | None, typer.Option(help="Write all values to this file.")]
ToHtml = Annotated[Path | None, typer.Option(help="Write a page for the browser to this file.")]

EXIT_CODES = (
    "Exit codes: 0, done; 1, done, and a claim was refuted, or an unforeseen error; 2, input that "
    "cannot be used, with one line that says why; 130, interrupted."
)

app = _Commands(cls=_Group, no_args_is_help=True, add_completion=False, epilog=EXIT_CODES)


def _tell_version(asked: bool) -> bool:
    if asked:
        print(__version__)
        raise typer.Exit
    return asked


@app.callback()
def neuralcollapse(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_tell_version)
    ] = False,
) -> None:
    """Measure the neural collapse of any classifier, and explain it with its theory."""
