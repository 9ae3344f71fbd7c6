"""The application that the commands register with; bad input ends with one line."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from neuralcollapse import __version__
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.plain_text import plain

# Arguments inside, and what commands call them.
ALSO = {"path": ("file", "what"), "name": ("preset",)}


class _CleanErrors(TyperGroup):
    """Every command's bad input ends the same way: one line on stderr, status 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except NeuralCollapseError as error:
            console = Console(stderr=True, soft_wrap=True, highlight=False)
            console.print("[red]error:[/red]", escape(self._with_option(ctx, error)))
            raise typer.Exit(2) from None
        except BrokenPipeError:  # whoever read the output has had enough
            raise
        except OSError as error:
            Console(stderr=True, soft_wrap=True).print("[red]error:[/red]", escape(plain(error)))
            raise typer.Exit(2) from None

    def _with_option(self, ctx: Any, error: NeuralCollapseError) -> str:
        """Return the message, which names the option where the argument at fault is one."""
        command = self.get_command(ctx, ctx.invoked_subcommand or "")
        for parameter in [] if command is None else command.params:
            if parameter.name in (error.argument, *ALSO.get(error.argument, ())):
                option = parameter.param_type_name == "option"
                name = parameter.opts[0] if option else str(parameter.name).upper()
                return str(error).replace(error.argument, name, 1)
        return str(error)


def tell(text: object) -> None:
    """Print lines that may hold names and paths from anywhere, never raw and never as markup."""
    Console(highlight=False).print(plain(text, keep="\n"), markup=False, soft_wrap=True)


EXIT_CODES = (
    "Exit codes: 0, done; 1, done, and a claim was refuted, or an unforeseen error; 2, input that "
    "cannot be used, with one line that says why; 130, interrupted."
)

app = typer.Typer(cls=_CleanErrors, no_args_is_help=True, add_completion=False, epilog=EXIT_CODES)


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
