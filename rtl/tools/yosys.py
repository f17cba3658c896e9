"""Yosys from PyPI (`pyosys`), a script at a time, in a process of its own."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

from nofm.kernels.errors import InputError

# Yosys ends its process when a pass fails, and keeps its settings from one script to the next.
_RUN = """
import sys
from pyosys import libyosys
libyosys.run_pass("script " + sys.argv[1], libyosys.Design())
"""


def run(script: str, folder: Path, name: str) -> Path:
    """Run `script` in `folder`, and keep what Yosys printed.

    Args:
        script: commands, one a line; file names in it are relative to `folder`.
        folder: where it runs; made if it is missing.
        name: of this run: `<name>.ys` and `<name>.log` are written to `folder`.

    Returns:
        Path of the log.

    Raises:
        InputError: Yosys is not installed, or the script failed: with its error and the log's path.
    """
    if importlib.util.find_spec("pyosys") is None:
        raise InputError("Yosys is not installed: pip install 'nofm[synthesis]'")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.ys").write_text(script, "utf-8")
    log = folder / f"{name}.log"
    with log.open("w", encoding="utf-8") as file:
        command = [sys.executable, "-c", _RUN, f"{name}.ys"]
        done = subprocess.run(
            command, cwd=folder, stdout=file, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        raise InputError(f"Yosys failed: {first_error(log, done.returncode)} (see {log})")
    return log


def first_error(log: Path, code: int) -> str:
    """The first line of `log` that tells an error, or what is known without one."""
    found = re.search(r"^.*\bERROR: .*$", log.read_text("utf-8", "replace"), re.MULTILINE)
    return found[0].strip() if found else f"it ended with code {code}"
