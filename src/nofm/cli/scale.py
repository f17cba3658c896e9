"""`nofm scale`: data-parallel training on many boards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nofm.cli.options import Hardware, Json, Settings, accelerator, check_folder, values
from nofm.cli.output import print_json, print_notes, print_path, print_table, progress_bar
from nofm.kernels.errors import InputError

if TYPE_CHECKING:
    from nofm.simulator.scaleout.scaling import ScaleOut

COLUMNS = {
    "boards": "boards",
    "batch": "samples\na board",
    "time": "step\n{time}",
    "forward_backward": "passes\n%",
    "update": "updates\n%",
    "exposed": "waiting\n%",
    "communication": "network\nbusy %",
    "sent": "sent by a\nboard, {sent}",
    "algorithms": "algorithm",
    "throughput": "samples\na second",
    "efficiency": "effi-\nciency %",
    "speedup": "over\ndense",
}


def scale(
    workload: Annotated[
        str, typer.Argument(help="A network's name, or a file: trace, ONNX or SCALE-Sim CSV.")
    ],
    batch: Annotated[
        int | None, typer.Option(help="Samples a step of one board, in weak scaling.")
    ] = None,
    global_batch: Annotated[
        int | None,
        typer.Option(help="Samples a step of all boards, in strong scaling; else --batch."),
    ] = None,
    boards: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Numbers of boards, as 1,8,64; else 1, 2, ... 131072."),
    ] = None,
    method: Annotated[str, typer.Option(help="N:M training method (see `nofm methods`).")] = "bdwp",
    pattern: Annotated[str, typer.Option(help="N:M, or dense.")] = "2:8",
    hardware: Hardware = "sat-32x32",
    settings: Settings = None,
    interconnect: Annotated[
        str, typer.Option(help="What joins the boards: a preset (see `nofm hardware`) or a TOML.")
    ] = "roce-100g",
    links: Annotated[
        list[str] | None,
        typer.Option("--link", metavar="NAME=VALUE", help="Change an entry, as link.latency_us=2."),
    ] = None,
    exchange: Annotated[
        str, typer.Option(help="What boards share: dense, shared-mask or sharded.")
    ] = "dense",
    algorithm: Annotated[
        str, typer.Option(help="ring, halving, doubling, hierarchical, or auto: the fastest.")
    ] = "auto",
    bucket: Annotated[
        float, typer.Option(metavar="MIB", help="Gradients of so many MiB are sent together.")
    ] = 25.0,
    overlap: Annotated[
        bool, typer.Option("--overlap/--no-overlap", help="Send while the backward pass goes on.")
    ] = True,
    json: Json = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for the table and the picture.")
    ] = None,
) -> None:
    """Weak and strong scaling of data-parallel training on up to 100,000 boards and more."""
    check_folder(output)
    counts = None if boards is None else _counts(boards)
    machine = accelerator(hardware, settings)
    from nofm import scaling
    from nofm.simulator.scaleout import interconnect as interconnects

    joined = interconnects.load(interconnect)
    if links:
        joined = joined.with_values(**values("--link", links))
    with progress_bar(json) as progress:
        result = scaling.scale_out(
            workload,
            batch=batch,
            global_batch=global_batch,
            boards=counts,
            method=method,
            pattern=pattern,
            hardware=machine,
            interconnect=joined,
            exchange=exchange,
            algorithm=algorithm,
            bucket_mib=bucket,
            overlap=overlap,
            progress=progress,
        )
    if output is not None:
        scaling.write(result, output)
    if json:
        print_json(result.to_document())
        return
    for name in result.points["scaling"].unique():
        _print(result, str(name))
    print_notes(result.notes)
    if output is not None:
        print_path(f"Wrote {output}: scale.json, .csv, .png and .svg, and interconnect.toml.")


def _counts(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--boards must look like 1,8,64, not {text!r}") from None


def _print(result: ScaleOut, scaling: str) -> None:
    from nofm.simulator.report.units import BYTES, SECONDS, scale_for

    found = result.points[result.points["scaling"] == scaling].to_dict("records")
    time = scale_for([row["seconds"] for row in found], SECONDS)
    sent = scale_for([row["sent_bytes"] for row in found], BYTES)

    def shown(row: dict[Any, Any]) -> dict[str, Any]:
        def percent(*names: str) -> float:
            return 100 * sum(row[f"{name}_cycles"] for name in names) / row["cycles"]

        return {
            "boards": row["boards"],
            "batch": row["local_batch"],
            "time": row["seconds"] / time.size,
            "forward_backward": percent("forward", "backward"),
            "update": percent("update"),
            "exposed": percent("exposed"),
            "communication": percent("communication"),
            "sent": row["sent_bytes"] / sent.size,
            "algorithms": row["algorithms"] or "–",
            "throughput": row["samples_per_second"],
            "efficiency": 100 * row["efficiency"],
            "speedup": row["speedup"],
        }

    size = {
        "weak": f"{result.batch:,} samples a board",
        "strong": f"{result.global_batch:,} samples in all",
    }[scaling]
    trained = result.method if result.method == "dense" else f"{result.method} {result.pattern}"
    columns = {
        name: header.format(time=time.unit, sent=sent.unit) for name, header in COLUMNS.items()
    }
    if result.method == "dense":
        del columns["speedup"]
    title = (
        f"{result.workload}, {trained}, on {result.accelerator.name} boards over "
        f"{result.interconnect.name}, {result.sharing.exchange}: {scaling} scaling, {size}"
    )
    print_table(title, [shown(row) for row in found], columns)
