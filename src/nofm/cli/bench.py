"""`nofm bench`: dense and N:M products measured on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nofm.cli.options import Json
from nofm.cli.output import print_json, print_notes, print_path, print_table, progress_bar
from nofm.kernels.errors import InputError, positive

COLUMNS = {
    "product": "m x k x n",
    "stage": "stage",
    "pattern": "N:M",
    "mask_sharing": "rows a mask",
    "dense_kernel": "best dense",
    "dense_ms": "dense, ms",
    "sparse_ms": "N:M, ms",
    "speedup": "speedup",
    "spread": "of half the pairs",
    "of_ideal": "of M/N, %",
}

COUNTED_COLUMNS = {
    "product": "m x k x n",
    "pattern": "N:M",
    "mask_sharing": "rows a mask",
    "instructions": "instructions",
    "per_mac": "per kept MAC",
    "ratio": "dense / N:M",
}


def bench(
    gemms: Annotated[
        list[str] | None, typer.Option("--gemm", metavar="MxKxN", help="A product.")
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(help="resnet50, bert, llama, any network or trace, or a CSV of m, n, k."),
    ] = None,
    patterns: Annotated[
        list[str] | None, typer.Option("--pattern", help="N:M; 2:4, 2:8 and 1:8 when none is.")
    ] = None,
    sharings: Annotated[
        list[int] | None, typer.Option("--sharing", help="Rows that share a mask; 4 when none is.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, arm or cuda.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32 or float16, of what is stored.")] = "float32",
    layout: Annotated[
        str, typer.Option(help="Of activations: rows of samples, or columns.")
    ] = "rows",
    threads: Annotated[int, typer.Option(help="Threads of both products.")] = 1,
    batch: Annotated[int, typer.Option(help="Samples of a suite's products.")] = 1,
    seconds: Annotated[float, typer.Option(help="About, for each product.")] = 2.0,
    json: Json = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Results file, .json or .parquet.")
    ] = None,
) -> None:
    """Measure N:M products beside the best dense ones, in turns, each result checked.

    Where there is no ARM machine, --device arm counts instructions and estimates cycles.
    """
    import os

    from nofm.kernels import results_file
    from nofm.kernels.pattern import Pattern

    positive("--threads", threads, at_most=os.cpu_count() or 1)
    positive("--batch", batch)
    if not 0 < seconds <= 3600:
        raise InputError(f"--seconds must be above 0 and at most 3600, not {seconds:g}")
    if not gemms and suite is None:
        raise InputError("a --gemm or a --suite is needed, not neither")
    if output is not None:
        results_file.check(output)
    chosen = [Pattern.parse(text) for text in patterns or ("2:4", "2:8", "1:8")]
    from nofm import benchmark
    from nofm.api import gemm_sizes

    shapes = benchmark.shapes_of_gemms(gemm_sizes(gemm) for gemm in gemms or ())
    if suite is not None:
        shapes += benchmark.shapes_of_suite(suite, batch)
    with progress_bar(json) as progress:
        document = benchmark.bench(
            shapes,
            chosen,
            sharings or [4],
            on=device,
            dtype=dtype,
            layout=layout,
            threads=threads,
            seconds=seconds,
            progress=progress,
        )
    if output is not None:
        results_file.write(document, output)
    if json:
        print_json(document)
    else:
        if document.get("estimated"):
            _print_counted(document, dtype)
        else:
            _print_measured(document, dtype)
        print_notes(document["notes"])
        if output is not None:
            print_path(f"Wrote {output}.")
    if not benchmark.correct(document):
        raise typer.Exit(1)


def _print_measured(document: dict[str, Any], dtype: str) -> None:
    rows = [
        row
        | {
            "product": _product(row),
            "dense_ms": round(row["dense_seconds"] * 1e3, 3),
            "sparse_ms": round(row["sparse_seconds"] * 1e3, 3),
            "speedup": round(row["speedup"], 2),
            "spread": f"{row['speedup_low']:.2f} to {row['speedup_high']:.2f}",
            "of_ideal": round(100 * row["speedup"] / row["ideal"]),
        }
        for row in document["results"]
    ]
    threads, machine = document["threads"], document["machine"]
    name = f"{machine['cpu']}, {threads} thread{'s' if threads > 1 else ''}"
    columns = COLUMNS
    if document["device"] == "cuda":  # with several kernels
        name, columns = machine["gpu"], COLUMNS | {"kernel": "kernel"}
    print_table(f"{document['device']}: {name}, {dtype}", rows, columns)


def _print_counted(document: dict[str, Any], dtype: str) -> None:
    rows = []
    for row in document["results"]:
        speedups = row["estimated_speedup"] or {}
        rows.append(
            row
            | {
                "product": _product(row),
                "instructions": f"{row['instructions']:,}",
                "per_mac": f"{row['instructions_per_mac']:.3f}",
                "ratio": round(row["instruction_ratio"], 2),
            }
            | {core: round(speedup, 2) for core, speedup in speedups.items()}
        )
    columns = COUNTED_COLUMNS | {core: f"{core}*" for core in document["cores"]}
    star = "; * speedup, an estimate" if document["cores"] else ""
    print_table(f"arm, emulated, {dtype}{star}", rows, columns)


def _product(row: dict[str, Any]) -> str:
    return f"{row['m']} x {row['k']} x {row['n']}"
