"""`nofm rtl`: Verilog of the engines, their synthesis, or an estimate of what any size takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nofm.cli.options import (
    Hardware,
    Json,
    Settings,
    accelerator,
    check_folder,
    check_seed,
    check_together,
)
from nofm.cli.output import (
    new_console,
    print_json,
    print_notes,
    print_path,
    print_table,
    progress_bar,
)
from nofm.kernels.errors import InputError

if TYPE_CHECKING:
    from nofm.dataflow.accelerator import Accelerator


def rtl(
    context: typer.Context,
    hardware: Hardware = "sat-4x4",
    settings: Settings = None,
    engines: Annotated[
        list[str] | None,
        typer.Option(
            "--engine",
            help="Only this engine (repeat for more), or the whole chip; else all other engines "
            "that can be built.",
        ),
    ] = None,
    synth: Annotated[
        str | None,
        typer.Option(
            metavar="FAMILY",
            help="Synthesize instead, for xcup, ecp5 (placed and routed as well) or ice40.",
        ),
    ] = None,
    route: Annotated[
        bool, typer.Option("--route/--no-route", help="Place and route what can be.")
    ] = True,
    placer_seed: Annotated[int, typer.Option(help="Of the placer's random numbers.")] = 1,
    estimate: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE",
            help="Instead, estimate what it takes of xcvu9p, part by part, whatever its size.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder of its own for the Verilog, or the reports."),
    ] = None,
    json: Json = False,
) -> None:
    """Write the accelerator's engines as Verilog, with what other tools need to use them; or tell
    what they take of an FPGA, and their clock."""
    check_together(context)
    if output is None and synth is None and estimate is None:
        raise InputError("nofm rtl needs a folder to write to, as -o build/")
    check_folder(output)
    machine = accelerator(hardware, settings)
    if estimate is not None:
        _estimate(machine, estimate, json)
    elif synth is not None:
        _synthesize(machine, synth, engines or (), route, placer_seed, output, json)
    else:
        assert output is not None
        _emit(machine, engines or (), output, json)


def _emit(machine: Accelerator, engines: Sequence[str], output: Path, json: bool) -> None:
    from nofm.rtl.engines import require_amaranth

    require_amaranth()
    from nofm.rtl.emit.folder import emit
    from nofm.samples import cases

    with progress_bar(json) as progress:
        document = emit(machine, output, engines, lambda name: cases(name, machine), progress)
    if json:
        print_json(document)
        return
    _print_engines(document, output)


def _synthesize(
    machine: Accelerator,
    family: str,
    engines: Sequence[str],
    route: bool,
    placer_seed: int,
    output: Path | None,
    json: bool,
) -> None:
    check_seed("--placer-seed", placer_seed)
    from nofm.rtl.engines import require_amaranth

    require_amaranth()
    from nofm.rtl.synthesis import report
    from nofm.rtl.synthesis.engines import measure_engines

    with progress_bar(json) as progress, report.work_folder() as work:
        rows, left_out = measure_engines(
            machine, family, work, engines, route=route, seed=placer_seed, progress=progress
        )
        document = report.to_json(machine, rows, left_out)
        if output is not None:
            report.write(rows, document, work, output)
    if json:
        print_json(document)
        return
    new_console().print(report.table(rows))
    print_notes([f"{name} is left out: {reason}" for name, reason in left_out.items()])
    if output is not None:
        print_path(f"Wrote {output}/synthesis.json and .csv, and the tools' logs.")


def _estimate(machine: Accelerator, device: str, json: bool) -> None:
    from nofm.explore import estimate

    found = estimate.estimate(machine, device)
    if json:
        print_json(estimate.to_json(machine, found))
        return
    title = f"{machine.name} on {device.upper()}, estimated"
    print_table(title, estimate.records(found), {"part": "part", **estimate.TITLES})
    print_notes(estimate.notes(found))


def _print_engines(document: dict[str, Any], output: Path) -> None:
    lines = {module["file"]: module["lines"] for module in document["modules"]}
    rows = [
        {
            **{key: engine[key] for key in ("engine", "title", "top")},
            "modules": len(engine["files"]),
            "lines": sum(lines[path] for path in engine["files"]),
            "ports": len(engine["ports"]),
            "job": sum(field["width"] for field in engine["job"]),
        }
        for engine in document["engines"]
    ]
    columns = {
        "engine": "engine",
        "title": "what it is",
        "top": "top module",
        "modules": "modules",
        "lines": "lines",
        "ports": "ports",
        "job": "job\nbits",
    }
    print_table(f"RTL of {document['hardware']['name']}", rows, columns)
    print_notes(
        [f"{each['engine']} is left out: {each['reason']}" for each in document["left_out"]]
    )
    files = len(document["files"])
    print_path(f"Wrote {output}: {files} files; README.md says what they are.")
