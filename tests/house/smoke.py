"""Try an installed nofm as a user does: the command, the Python API, and bad input.

`tools/wheel_test.py` runs this with the interpreter of the environment to try, in a folder that
holds nothing else. It uses nothing but the standard library and nofm itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

NOFM = Path(sys.executable).parent / "nofm"
HEAVY = ("amaranth", "cocotb", "matplotlib", "onnx", "pandas", "torch")
TOTAL = {"cycles", "dense_cycles", "speedup", "energy_pj", "dram_bytes"}
LAYER = {
    *("layer", "stage", "m", "k", "n", "pattern", "dataflow", "cycles", "compute_cycles"),
    *("stall_cycles", "utilization", "dram_bytes", "energy_pj"),
}
STAGES = {"ff", "bp", "wu", "update", "prune"}


class Failed(Exception):
    """The installed package does not do what it must."""


def check(holds: bool, what: str) -> None:
    """Raise `Failed` with `what` must hold where it does not."""
    if not holds:
        raise Failed(what)


def command(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `nofm` with `arguments`; `Failed` unless it exits with `code`."""
    done = subprocess.run(
        [NOFM, *arguments], capture_output=True, text=True, timeout=600, check=False
    )
    line = " ".join(["nofm", *arguments])
    check(
        done.returncode == code,
        f"`{line}` exits with {code}, not {done.returncode}:\n{done.stdout}{done.stderr}",
    )
    check("Traceback" not in done.stderr, f"`{line}` shows no traceback:\n{done.stderr}")
    return done


def document(*arguments: str) -> dict[str, Any]:
    """The JSON document that `nofm ... --json` prints."""
    read: dict[str, Any] = json.loads(command(*arguments, "--json").stdout)
    return read


def package() -> None:
    """The package comes from this environment, and its import is light."""
    import nofm

    home = Path(nofm.__file__).resolve()
    check(home.is_relative_to(Path(sys.prefix).resolve()), f"{home} is inside {sys.prefix}")
    loaded = [name for name in HEAVY if name in sys.modules]
    check(not loaded, f"`import nofm` leaves out {', '.join(HEAVY)}, and not {loaded}")
    check((home.parent / "py.typed").exists(), "the package says that it is typed")


def help_text() -> None:
    """`nofm --help` names its commands."""
    text = command("--help").stdout
    for name in ("trace", "simulate"):
        check(name in text, f"`nofm --help` names {name}")


def simulate_network() -> None:
    """A stored network is simulated without torch, and BDWP is faster than dense."""
    result = document("simulate", "resnet18", "--method", "bdwp", "--pattern", "2:8")
    total, layers = result["total"], result["layers"]
    check(set(total) >= TOTAL, f"`total` has {sorted(TOTAL)}, not {sorted(total)}")
    for layer in layers:
        check(set(layer) >= LAYER, f"a layer has {sorted(LAYER)}, not {sorted(layer)}")
        check(layer["stage"] in STAGES, f"a stage is one of {sorted(STAGES)}, not {layer['stage']}")
    check(total["speedup"] > 1, f"BDWP 2:8 is faster than dense, not {total['speedup']}")
    check({"ff", "bp", "wu"} <= {layer["stage"] for layer in layers}, "all three stages are there")


def simulate_product() -> None:
    """One product is a workload."""
    shape = ["--gemm", "4096x1152x256", "--stage", "ff", "--pattern", "2:8", "--dataflow", "ws"]
    (layer,) = document("simulate", *shape, "--hardware", "sat-32x32")["layers"]
    check((layer["m"], layer["k"], layer["n"]) == (4096, 1152, 256), "the product has its sizes")
    check(0 < layer["utilization"] <= 1, f"utilisation is at most 1, not {layer['utilization']}")


def simulate_files() -> None:
    """`-o` writes tables, figures, the timeline and the report."""
    with tempfile.TemporaryDirectory() as folder:
        command("simulate", "resnet9", "--method", "bdwp", "--pattern", "2:8", "-o", folder)
        kinds = {path.suffix for path in Path(folder).rglob("*") if path.stat().st_size}
    wanted = {".csv", ".html", ".json", ".parquet", ".png", ".svg"}
    check(kinds >= wanted, f"`-o` writes {sorted(wanted)}, not {sorted(kinds)}")


def python_api() -> None:
    """The Python API gives the command's numbers."""
    import nofm

    result = nofm.simulate(
        "resnet18", batch=512, method="bdwp", pattern="2:8", hardware="sat-32x32"
    )
    arguments = "simulate resnet18 --batch 512 --method bdwp --pattern 2:8 --hardware sat-32x32"
    total = document(*arguments.split())["total"]
    here, there = int(result.layers["cycles"].sum()), total["cycles"]
    check(here == there, f"Python and the command agree on cycles, not {here} and {there}")


def bad_input() -> None:
    """Bad input is one line and exit code 2."""
    done = command("simulate", "resnet19", code=2)
    check(not done.stdout, f"bad input prints nothing on standard output, not {done.stdout!r}")
    check(len(done.stderr.splitlines()) == 1, f"bad input is one line, not:\n{done.stderr}")
    check("resnet18" in done.stderr, f"the line names the nearest network, not {done.stderr!r}")


CHECKS = (
    *(package, help_text, simulate_network, simulate_product),
    *(simulate_files, python_api, bad_input),
)


def main() -> int:
    failures = 0
    for one in CHECKS:
        try:
            one()
        except Exception as error:
            failures += 1
            print(f"smoke: {one.__name__}: FAILED: {type(error).__name__}: {error}")
        else:
            print(f"smoke: {one.__name__}: ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
