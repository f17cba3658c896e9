"""What commands print: tables, notes, paths, JSON and a progress bar."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer


def new_console() -> Any:
    """Standard output, as rich prints to it."""
    from rich.console import Console

    # Piped output has no width of its own; tables need one that they were designed for.
    return Console(width=None if sys.stdout.isatty() else 120)


def print_table(title: str, rows: Sequence[dict[str, Any]], columns: dict[str, str]) -> None:
    """Print rows as a table; `columns` are the names of what is shown, with their headings."""
    from nofm.simulator.report.tables import records_table

    new_console().print(records_table(title, rows, columns))


def print_notes(notes: Sequence[str]) -> None:
    """Print lines of a list, wrapped."""
    for note in notes:
        new_console().print(f"- {note}", markup=False)


def print_path(text: str) -> None:
    """Print a line that holds a path: never broken, so that the path can be copied."""
    new_console().print(text, markup=False, highlight=False, soft_wrap=True)


def print_json(document: Any) -> None:
    """Print one JSON document in a line."""
    typer.echo(json_module.dumps(document, allow_nan=False))


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on stderr; none where nobody looks."""
    if quiet or not sys.stderr.isatty():
        yield lambda what, done, of: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, of: bar.update(task, description=what, completed=done, total=of)
