"""`nofm compare`: measured speedups beside what is predicted for a processor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nofm.cli.options import Json, check_folder
from nofm.cli.output import print_json, print_notes, print_path, print_table

COLUMNS = {
    "product": "m x k x n",
    "pattern": "N:M",
    "mask_sharing": "rows a\nmask",
    "threads": "threads",
    "speedup": "measured",
    "predicted_speedup": "predicted",
    "off": "off\n%",
    "sparse_bound": "most of its\ntime goes to",
}
MOST_ROWS = 40


def compare(
    results: Annotated[Path, typer.Argument(help="What `nofm bench -o` wrote.")],
    hardware: Annotated[
        str, typer.Option("--hardware", help="A processor (see `nofm hardware`) or a TOML file.")
    ],
    calibrate: Annotated[
        Path | None,
        typer.Option(
            metavar="RESULTS",
            help="Fit the model to these results first: of the same machine, other products.",
        ),
    ] = None,
    all_rows: Annotated[bool, typer.Option("--all", help="Print every row.")] = False,
    json: Json = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder for the picture, the table and the processor."),
    ] = None,
) -> None:
    """Predict what was measured, and tell how far the prediction is off."""
    from nofm import comparison

    check_folder(output)
    document, processor = comparison.compare(results, hardware, calibrate)
    if output is not None:
        comparison.write(document, processor, output)
    if json:
        print_json(document)
        return
    rows = [_row(row) for row in document["results"]]
    shown = rows if all_rows else rows[:MOST_ROWS]
    print_table(f"{results.name} on {document['processor']}", shown, COLUMNS)
    if len(shown) < len(rows):
        print_notes([f"{len(rows) - len(shown)} more rows: --all prints them"])
    print_table(
        "Errors of the prediction",
        [
            {
                "what": name.replace("_", " "),
                "mean": 100 * error["mean_absolute"],
                "largest": 100 * error["largest"],
                "rank": "-"
                if error["rank_correlation"] is None
                else f"{error['rank_correlation']:.3f}",
            }
            for name, error in document["errors"].items()
        ],
        {"what": "of", "mean": "mean\n%", "largest": "largest\n%", "rank": "rank\ncorrelation"},
    )
    print_notes(document["notes"])
    if output is not None:
        print_path(f"Wrote {output}: compare.json, .csv, .png, .svg and processor.toml.")


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return row | {
        "product": f"{row['m']} x {row['k']} x {row['n']}",
        "speedup": round(row["speedup"], 2),
        "predicted_speedup": round(row["predicted_speedup"], 2),
        "off": 100 * (row["predicted_speedup"] / row["speedup"] - 1),
    }
