from typer.testing import CliRunner

from neuralcollapse.cli import app


def run(*arguments):
    """Run a command of the command line in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])
