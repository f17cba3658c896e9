"""What `import nofm` and `nofm --help` leave unloaded, seen in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest

IMPORT = "import nofm"
HELP = """
import contextlib, io, sys
from nofm.cli import main
sys.argv = ["nofm", "--help"]
with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
    main()
assert "simulate" in text.getvalue(), text.getvalue()
"""
# Methods speak of tensors, and compute with them, without importing torch.
MODELS = "import nofm.simulator.step, nofm.workloads.methods"
LEFT_OUT = {
    MODELS: ["amaranth", "cocotb", "matplotlib", "onnx", "torch"],
    IMPORT: ["amaranth", "cocotb", "matplotlib", "onnx", "pandas", "torch"],
    HELP: ["amaranth", "cocotb", "matplotlib", "numba", "onnx", "pandas", "torch"],
}


def loaded(code: str) -> set[str]:
    """The top-level packages that `code` leaves in `sys.modules`."""
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules})"
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("code", [IMPORT, HELP, MODELS], ids=["import", "help", "models"])
def test_heavy_libraries_stay_out(code: str) -> None:
    assert sorted(loaded(code) & set(LEFT_OUT[code])) == []


def test_the_probe_sees_what_is_loaded() -> None:
    assert "pandas" in loaded("import pandas.errors")
