"""The commands together. What is slow to import is imported by the command that needs it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from nofm.cli.bench import bench
from nofm.cli.codesign import codesign
from nofm.cli.compare import compare
from nofm.cli.explore import explore
from nofm.cli.listings import hardware, methods, networks
from nofm.cli.reproduce import reproduce
from nofm.cli.rtl import rtl
from nofm.cli.scale import scale
from nofm.cli.simulate import simulate
from nofm.cli.trace import trace
from nofm.cli.train import train
from nofm.cli.verify import verify
from nofm.kernels.errors import InputError

# As `nofm --help` lists them.
COMMANDS = (
    simulate,
    explore,
    scale,
    rtl,
    verify,
    trace,
    reproduce,
    train,
    codesign,
    bench,
    compare,
    networks,
    methods,
    hardware,
)

app = typer.Typer(
    name="nofm",
    help="Co-design of N:M sparse training accelerators.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(asked: bool) -> None:
    if asked:
        from nofm import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


for command in COMMANDS:
    app.command()(command)


def main() -> None:
    """Run the command line; bad input is one line on stderr and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except InputError as error:
        code = _refuse(str(error))
    except TyperException as error:
        code = _refuse(error.format_message())
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:
        # The reader has gone; nothing more can be said to it.
        sys.stderr.close()
        code = 141
    except OSError as error:
        code = _refuse(
            f"cannot use {error.filename}: {error.strerror}" if error.filename else str(error)
        )
    sys.exit(code if isinstance(code, int) else 0)


def _refuse(reason: str) -> int:
    if reason:  # there is none when a group of commands was named without one: that prints help
        typer.echo("nofm: " + " ".join(reason.split()), err=True)
    return 2
