"""`nofm reproduce`: the SAT paper's experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nofm.cli.options import Hardware, Json, Settings, accelerator, check_folder
from nofm.cli.output import new_console, print_json, progress_bar


def reproduce(
    networks: Annotated[
        list[str] | None, typer.Option("--network", help="Only this network (repeat for more).")
    ] = None,
    batch: Annotated[int, typer.Option(help="Samples a step.")] = 512,
    hardware: Hardware = "sat-32x32",
    settings: Settings = None,
    json: Json = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for tables and figures.")
    ] = None,
) -> None:
    """Run the SAT paper's experiment: networks, methods, patterns, ablation, sensitivity."""
    from nofm.simulator import reproduce as experiment
    from nofm.workloads.resolve import resolve

    check_folder(output)
    traces = [resolve(name, batch) for name in networks or experiment.NETWORKS]
    machine = accelerator(hardware, settings)
    with progress_bar(json) as progress:
        found = experiment.reproduce(traces, machine, progress)
    from nofm.simulator.report import reproduction

    if output is not None:
        reproduction.write(found, output)
    if json:
        print_json(reproduction.to_json(found))
        return
    reproduction.print_tables(found, new_console())
