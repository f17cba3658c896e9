"""`nofm simulate`: a training step or one product, what the scheduler considered, or a peer."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nofm.cli.options import Hardware, Json, Settings, accelerator, check_folder, check_together
from nofm.cli.output import new_console, print_json, print_notes, print_path, print_table
from nofm.kernels.errors import InputError, unknown

if TYPE_CHECKING:
    from nofm.dataflow.accelerator import Accelerator


def simulate(
    context: typer.Context,
    workload: Annotated[
        str | None,
        typer.Argument(help="A network's name, or a file: trace, ONNX or SCALE-Sim CSV."),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Samples a step.")] = None,
    method: Annotated[str, typer.Option(help="N:M training method (see `nofm methods`).")] = "bdwp",
    pattern: Annotated[str, typer.Option(help="N:M, or dense.")] = "2:8",
    hardware: Hardware = "sat-32x32",
    settings: Settings = None,
    gemm: Annotated[
        str | None, typer.Option(metavar="MxKxN", help="One product in place of a workload.")
    ] = None,
    stage: Annotated[str, typer.Option(help="Stage of the product: ff, bp or wu.")] = "ff",
    dataflow: Annotated[
        str | None, typer.Option(help="Only this dataflow: ws or os (with --peer, also is).")
    ] = None,
    schedule: Annotated[
        str, typer.Option(help="How dataflows are chosen: offline, fixed, ws or os.")
    ] = "offline",
    interleave: Annotated[
        bool, typer.Option("--interleave/--no-interleave", help="Interleave mapping.")
    ] = True,
    pregeneration: Annotated[
        bool, typer.Option("--pregeneration/--no-pregeneration", help="Generate N:M weights ahead.")
    ] = True,
    peer: Annotated[
        str | None, typer.Option(help="Time the workload as another simulator does: scalesim.")
    ] = None,
    array: Annotated[str, typer.Option(metavar="RxC", help="The peer's array.")] = "32x32",
    explain: Annotated[
        str | None,
        typer.Option(metavar="LAYER", help="Show what the scheduler considered for this layer."),
    ] = None,
    all_rows: Annotated[bool, typer.Option("--all", help="Print every row.")] = False,
    json: Json = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for tables, figures, report.")
    ] = None,
) -> None:
    """Simulate a network's N:M training step, or one matrix product."""
    check_together(context)
    check_folder(output)
    machine = accelerator(hardware, settings)
    if peer is not None:
        if workload is None:
            raise InputError("--peer needs a SCALE-Sim topology CSV, not nothing")
        from nofm.peers import simulate_peer

        _print_peer(simulate_peer(workload, peer, array, dataflow or "ws", machine), json)
        return
    if explain is not None:
        options = (interleave, pregeneration, _policy(dataflow, schedule))
        _explain(explain, workload, batch, method, pattern, machine, options, json)
        return
    from nofm.api import simulate as run
    from nofm.workloads.resolve import resolve

    found = None if workload is None else resolve(workload, batch)
    result = run(
        found,
        method=method,
        pattern=pattern,
        hardware=machine,
        gemm=gemm,
        stage=stage,
        interleave=interleave,
        pregeneration=pregeneration,
        schedule=_policy(dataflow, schedule),
    )
    from nofm.simulator.report import export, tables

    if output is not None:
        from nofm.simulator.reproduce import ablate

        command = "nofm " + shlex.join(sys.argv[1:])
        ablation = () if found is None or result.dense is None else tuple(ablate(found, result))
        export.write(result, output, ablation=ablation, command=command)
    if json:
        print_json(export.to_json(result))
        return
    console = new_console()
    console.print(tables.step_tables(result, width=console.width, all_rows=all_rows))
    if output is not None:
        print_path(f"Wrote {output}/report.html and the tables, figures and timeline beside it.")


def _explain(
    layer: str,
    workload: str | None,
    batch: int | None,
    method: str,
    pattern: str,
    machine: Accelerator,
    options: tuple[bool, bool, str],
    json: bool,
) -> None:
    from nofm.dataflow.methods import method as find_method
    from nofm.kernels.pattern import Pattern
    from nofm.simulator.explain import considered
    from nofm.simulator.step import Options
    from nofm.workloads.resolve import resolve

    if workload is None:
        raise InputError("--explain needs a workload, not nothing")
    interleave, pregeneration, schedule = options
    rows = considered(
        resolve(workload, batch),
        machine,
        find_method(method),
        Pattern.parse(pattern),
        Options(interleave=interleave, pregeneration=pregeneration, schedule=schedule),
        layer,
    )
    if json:
        print_json({"schema": "nofm.considered/1", "layer": layer, "considered": rows})
        return
    shown = [
        row
        | {
            "product": f"{row['m']} x {row['k']} x {row['n']}",
            "share": 100 * row["compute_cycles"] / row["cycles"],
            "mark": "chosen" if row["chosen"] else "",
        }
        for row in rows
    ]
    columns = {
        "stage": "stage",
        "product": "product",
        "pattern": "N:M",
        "dataflow": "on",
        "interleave": "sums",
        "tile": "tile",
        "cycles": "cycles",
        "share": "compute\n%",
        "dram_bytes": "DRAM\nbytes",
        "mark": "",
    }
    print_table(f"{layer}: mappings considered", shown, columns)


def _policy(dataflow: str | None, schedule: str) -> str:
    if dataflow is None:
        return schedule
    from nofm.dataflow.accelerator import DATAFLOWS

    if dataflow not in DATAFLOWS:
        raise unknown("dataflow", dataflow, DATAFLOWS)
    return dataflow


def _print_peer(document: dict[str, Any], json: bool) -> None:
    if json:
        print_json(document)
        return
    shape = f"{document['array']['rows']} x {document['array']['columns']}"
    percent = [
        row | {name: 100 * row[name] for name in ("mapping_efficiency", "compute_utilization")}
        for row in document["layers"]
    ]
    columns = {
        "layer": "layer",
        "m": "M",
        "k": "K",
        "n": "N",
        "pattern": "N:M",
        "cycles": "cycles",
        "mapping_efficiency": "mapping\n%",
        "compute_utilization": "util\n%",
        "sat_cycles": "SAT\ncycles",
    }
    title = f"{document['workload']}, {document['peer']}, {shape}, {document['dataflow']}"
    print_table(title, [*percent, {"layer": "total", **document["total"]}], columns)
    print_notes(document["notes"])
