"""`nofm trace`: a model's training step as a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nofm.cli.options import Json, check_trace_file
from nofm.cli.output import print_json, print_notes, print_path, print_table
from nofm.kernels.errors import InputError, positive

if TYPE_CHECKING:
    from nofm.workloads.trace import Trace


def trace(
    model: Annotated[
        str, typer.Argument(help="A network's name, package.module:factory, or an ONNX file.")
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="SHAPE", help="512x3x224x224, or 8x128:int64 for ids."),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Samples a step.")] = None,
    inner: Annotated[
        bool, typer.Option("--inner", help="A part of a network: no first layer, no head.")
    ] = False,
    allow_unsupported: Annotated[
        bool,
        typer.Option("--allow-unsupported", help="Note products that cannot be lowered, go on."),
    ] = False,
    json: Json = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The trace file, *.safetensors.")
    ] = None,
) -> None:
    """Capture a model's training step from torch, forward and backward, without computing it."""
    from nofm.workloads import trace_file

    check_trace_file(output)
    if batch is not None:
        positive("batch", batch)
    found = _capture(model, inputs, batch, inner, allow_unsupported)
    if output is not None:
        trace_file.save(found, output)
    if json:
        print_json(trace_file.to_document(found))
        return
    rows = [
        {"layer": layer.name, "kind": layer.kind, "work": layer.describe()}
        for layer in found.layers
    ]
    title = f"{found.name}, batch {found.batch}: {len(rows)} layers"
    print_table(title, rows, {"layer": "layer", "kind": "kind", "work": "work"})
    print_notes(found.notes)
    if output is not None:
        print_path(f"Wrote {output}.")


def _capture(
    model: str,
    inputs: Sequence[str] | None,
    batch: int | None,
    inner: bool,
    allow_unsupported: bool,
) -> Trace:
    from nofm.workloads import networks

    if ":" in model:
        from nofm.workloads.capture import capture_from_path

        if not inputs:
            raise InputError(f"{model} needs its inputs' shapes, as --input 512x3x224x224")
        return capture_from_path(
            model, inputs, batch=batch, inner=inner, allow_unsupported=allow_unsupported
        )
    if inputs:
        raise InputError("--input goes with package.module:factory; a network has its own shapes")
    if model in networks.NETWORKS:
        found = networks.network(model)
        return networks.capture(model, found.batch if batch is None else batch)
    from nofm.workloads.resolve import resolve

    return resolve(model, batch)
