"""Build the wheel as a release would, and try it in an empty environment, away from the sources.

The wheel is built from the source distribution, so both are known to be whole. It must hold every
file of `src/nofm`, links followed, and no other; the smoke test then runs against it. Torch and
ONNX are left out: what needs neither must work without them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="nofm-wheel-") as folder:
        away = Path(folder)
        wheel = build(away / "dist")
        wrong = sorted(packaged(wheel) ^ sources())
        if wrong:
            print(f"wheel: not the same files as src/nofm: {', '.join(wrong)}", file=sys.stderr)
            return 1
        print(f"wheel: {wheel.name} holds all of src/nofm", flush=True)
        python = install(wheel, away / "venv")
        shutil.copy(ROOT / "tests/house/smoke.py", away)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        return subprocess.run(
            [python, "smoke.py"], cwd=away, env=environment, check=False
        ).returncode


def build(output: Path) -> Path:
    """The path of the one wheel, built from the source distribution."""
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        output,
        ROOT,
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = output.glob("*.whl")
    return wheel


def packaged(wheel: Path) -> set[str]:
    """The files of the package in the wheel, `nofm/...`, without its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def sources() -> set[str]:
    """The files under `src/`, links followed, without what Python caches."""
    found = set[str]()
    for folder, subfolders, names in os.walk(ROOT / "src", followlinks=True):
        subfolders[:] = [name for name in subfolders if name != "__pycache__"]
        found |= {(Path(folder) / name).relative_to(ROOT / "src").as_posix() for name in names}
    return found


def install(wheel: Path, environment: Path) -> Path:
    """Install the wheel, pinned, into a new environment; its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "--disable-pip-version-check",
    ]
    constraints = ROOT / "constraints.txt"
    subprocess.run([*pip, "install", "--quiet", "-c", constraints, wheel], check=True)
    return python


if __name__ == "__main__":
    sys.exit(main())
