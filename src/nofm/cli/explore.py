"""`nofm explore`: a design space, its designs and their Pareto front."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nofm.cli.options import Json, check_folder
from nofm.cli.output import new_console, print_json, print_notes, print_path
from nofm.kernels.errors import InputError

if TYPE_CHECKING:
    from nofm.explore.run import Exploration

COMMONEST = 3
"""Errors that are shown."""


def explore(
    space: Annotated[Path, typer.Argument(help="The design space, a TOML file.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder for results; a sweep that is there goes on."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes on this machine; one for each core when not given."),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="tcp://HOST:PORT", help="A Dask scheduler to work on.")
    ] = None,
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Pictures and a page in the folder.")
    ] = True,
    json: Json = False,
) -> None:
    """Evaluate the designs of a space, and find those that none beats."""
    check_folder(output)
    if workers is not None and scheduler is not None:
        raise InputError("--workers does not go with --scheduler: give one of them")
    from nofm.explore.run import explore_space

    with _progress_bar(json) as progress:
        found = explore_space(
            space,
            output,
            workers=_cores() if workers is None else workers,
            scheduler=scheduler,
            progress=progress,
        )
    written = f"Wrote {output}: results.parquet, front.csv and space.toml"
    if output is not None and report:
        found.write_report("nofm " + shlex.join(sys.argv[1:]))
        written += "; pictures and report.html"
    if json:
        print_json(found.document)
        return
    _print(found)
    if output is not None:
        print_path(f"{written}.")


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _print(found: Exploration) -> None:
    from nofm.explore.table import front_table

    document = found.document
    if document["front"]:
        new_console().print(front_table(found.space, document))
    of = f" of {document['designs']:,}" if document["evaluated"] < document["designs"] else ""
    notes = [
        f"{document['evaluated']:,}{of} designs evaluated: {document['failed']:,} failed, "
        f"{document['feasible']:,} feasible"
    ]
    notes += [f"{e['designs']:,} failed: {e['error']}" for e in document["errors"][:COMMONEST]]
    if (more := len(document["errors"]) - COMMONEST) > 0:
        notes.append(f"{more:,} other error{'s' if more > 1 else ''}: see results.parquet")
    print_notes(notes)


@contextmanager
def _progress_bar(quiet: bool) -> Iterator[Callable[[int, int, int], None] | None]:
    """Designs done, how fast, how long still, and the front's size, on stderr; none where nobody
    looks."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    text = "{task.completed:,} of {task.total:,} designs{task.fields[told]}"
    with Progress(
        BarColumn(), TextColumn(text), console=Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task("", total=1, told="")
        began: list[Any] = []

        def report(done: int, total: int, front: int) -> None:
            if not began:  # what an earlier run did says nothing of the speed
                began[:] = [time.monotonic(), done]
            elapsed, new = time.monotonic() - began[0], done - began[1]
            told = f", front {front:,}"
            if new:
                left = timedelta(seconds=round((total - done) * elapsed / new))
                told = f", {new / elapsed:,.0f}/s, {left} left{told}"
            bar.update(task, completed=done, total=total, told=told)

        yield report
