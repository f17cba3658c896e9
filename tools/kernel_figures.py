"""Draw the figure of docs/kernels.md from stored results, and fill in its tables.

    python tools/kernel_figures.py

Writes docs/images/kernels-roofline.svg and .png, and between the marks of docs/kernels.md the table
of the results file that they name.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nofm.kernels import results_file
from nofm.kernels.spmm import VECTORS
from nofm.simulator.report.figures import TEXT_INCHES

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "kernels/results"
ESTIMATES = RESULTS / "estimates"
IMAGES = ROOT / "docs/images"
PAGE = ROOT / "docs/kernels.md"
COLOURS = {1: "#0072B2", 2: "#E69F00", 4: "#009E73", 8: "#CC79A7", 32: "#D55E00"}
MARKERS = {"2:4": "o", "2:8": "s", "1:8": "^"}


def intensity(sharing: int, lanes: int) -> float:
    """Operations for each byte that the loop of a tile loads: activations, weights and a row."""
    rows = math.gcd(sharing, 4)
    vectors = VECTORS[rows]
    return 2 * rows * vectors * lanes / (4 * (vectors * lanes + rows + 1))


def roofline(document: dict[str, Any], size: int) -> Figure:
    """The kernel's speeds at one size below what this machine's core allows."""
    machine = document["machine"]
    peak, loads = machine["peak_gflops"], machine["load_gbytes_per_second"]
    figure = Figure(figsize=(TEXT_INCHES, 3.4), layout="constrained")
    axes = figure.add_subplot()
    xs = [0.1 * 2 ** (i / 8) for i in range(50)]
    for level, bandwidth in loads.items():
        axes.plot(xs, [min(peak, bandwidth * x) for x in xs], color="0.55", lw=1)
        left = max(0.2, 10 / bandwidth)
        axes.annotate(
            f"{level}, {bandwidth:.0f} GB/s",
            (left, bandwidth * left),
            # Below the line where the next one is near.
            xytext=(0, -9) if level == "L3" else (0, 3),
            textcoords="offset points",
            rotation=26,
            rotation_mode="anchor",
            fontsize=7,
            color="0.35",
        )
    axes.axhline(peak, color="0.2", lw=1)
    axes.text(4.6, peak * 1.03, f"multiply-adds: {peak:.0f} GFLOP/s", fontsize=7, ha="right")
    rows = [row for row in document["results"] if row["m"] == size]
    dense = max(row["dense_gflops"] for row in rows)
    axes.axhline(dense, color="0.2", lw=1, ls="--")
    axes.text(0.19, dense * 1.03, f"best dense BLAS: {dense:.0f}", fontsize=7)
    lanes = int(rows[0]["kernel"].split("-bit")[0].split()[-1]) // 32
    for row in rows:
        sharing = row["mask_sharing"]
        # Those that load alike stand side by side.
        x = intensity(sharing, lanes) * {8: 1.12, 32: 1.25}.get(sharing, 1.0)
        axes.plot(
            x,
            row["sparse_gflops"],
            MARKERS[row["pattern"]],
            color=COLOURS[sharing],
            ms=5,
            mec="white",
            mew=0.4,
        )
    for sharing, colour in COLOURS.items():
        axes.plot([], [], "o", color=colour, ms=5, label=f"{sharing} a mask")
    for pattern, marker in MARKERS.items():
        axes.plot([], [], marker, color="0.3", ms=5, ls="", label=pattern)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(0.18, 5)
    axes.set_ylim(8, 170)
    axes.set_xticks([0.25, 0.5, 1, 2, 4], ["0.25", "0.5", "1", "2", "4"])
    axes.set_yticks([10, 20, 50, 100], ["10", "20", "50", "100"])
    axes.minorticks_off()
    axes.set_xlabel("operations for each byte that a tile loads")
    axes.set_ylabel("GFLOP/s on kept weights, one core")
    axes.legend(fontsize=7, frameon=False, ncols=2, loc="lower right")
    axes.grid(color="0.92", lw=0.5)
    axes.set_axisbelow(True)
    return figure


def table(document: dict[str, Any]) -> str:
    """Rows of Markdown: a line for each product, and what differs between results in columns."""
    shown = {
        "m x k x n": lambda row: f"{row['m']} x {row['k']} x {row['n']}",
        "N:M": lambda row: row["pattern"],
        "rows a mask": lambda row: str(row["mask_sharing"]),
        "dense, ms": lambda row: f"{row['dense_seconds'] * 1e3:.3g}",
        "N:M, ms": lambda row: f"{row['sparse_seconds'] * 1e3:.3g}",
        "speedup": lambda row: f"{row['speedup']:.2f}",
        "half of the pairs": lambda row: f"{row['speedup_low']:.2f} to {row['speedup_high']:.2f}",
        "of M/N": lambda row: f"{100 * row['speedup'] / row['ideal']:.0f} %",
    }
    lines = [list(shown), ["---", "---", *["---:"] * (len(shown) - 2)]]
    lines += [[show(row) for show in shown.values()] for row in document["results"]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def estimated_table(document: dict[str, Any]) -> str:
    """The same of counted products, whose speedups are estimates."""
    cores = document["cores"]
    lines = [
        [
            "m x k x n",
            "N:M",
            "rows a mask",
            "per kept MAC",
            "dense / N:M",
            *(f"{c}*" for c in cores),
        ]
    ]
    lines.append(["---", "---", *["---:"] * (len(lines[0]) - 2)])
    lines += [
        [
            f"{row['m']} x {row['k']} x {row['n']}",
            row["pattern"],
            str(row["mask_sharing"]),
            f"{row['instructions_per_mac']:.3f}",
            f"{row['instruction_ratio']:.2f}",
            *(f"{row['estimated_speedup'][core]:.2f}" for core in cores),
        ]
        for row in document["results"]
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def filled(text: str) -> str:
    """A page whose marked tables are those of the results files."""

    def block(found: re.Match[str]) -> str:
        kind, name = found.groups()
        if kind == "results":
            shown = table(results_file.read(RESULTS / name))
        else:
            shown = estimated_table(results_file.read(ESTIMATES / name, results_file.ESTIMATED))
        return f"<!-- {kind}: {name} -->\n{shown}\n<!-- end -->"

    marks = r"<!-- (results|estimates): (\S+) -->\n.*?<!-- end -->"
    return re.sub(marks, block, text, flags=re.DOTALL)


def main() -> None:
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    figure = roofline(results_file.read(RESULTS / "epyc-1-thread.json"), 1024)
    FigureCanvasAgg(figure)
    IMAGES.mkdir(exist_ok=True)
    with rc_context({"svg.hashsalt": "nofm"}):
        for ending in ("svg", "png"):
            metadata = {"Date": None} if ending == "svg" else None
            figure.savefig(IMAGES / f"kernels-roofline.{ending}", dpi=200, metadata=metadata)


if __name__ == "__main__":
    main()
